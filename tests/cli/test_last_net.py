"""What the command line does when the machine refuses, or ggufkit has a bug: one line."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import BUG, main
from tests.llama import write_llama

PROGRAM = [sys.executable, "-c", "import sys; from ggufkit.cli.entry import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in 21 parts; the first of them."""
    folder = tmp_path_factory.mktemp("split")
    write_llama(folder / "model")
    arguments = ["--ladder", "Q8_0", "--split-max-tensors", "1", "-q"]
    assert main(["convert", str(folder / "model"), "-o", str(folder / "out"), *arguments]) == 0
    return min((folder / "out").glob("*.gguf"))


def run(*arguments: object, limit: Callable[[], None] | None = None, **options: Any) -> Any:
    env = {**os.environ, "GGUFKIT_DEBUG": ""}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        check=False,
        text=True,
        env=env,
        preexec_fn=limit,
        timeout=120,
        **{"capture_output": "stdout" not in options, **options},
    )


def one_line(text: str) -> str:
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1, text
    return text


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))


@pytest.mark.parametrize("command", [("inspect",), ("hash",), ("inspect", "--json")], ids=" ".join)
def test_too_many_parts_for_the_allowed_files(split: Path, command: tuple[str, ...]) -> None:
    done = run(*command, split, limit=few_files)
    assert done.returncode == 3
    said = one_line(done.stderr)
    assert "ulimit -n" in said
    assert "missing" not in said


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_check_opens_one_part_at_a_time(split: Path, options: tuple[str, ...]) -> None:
    done = run("check", split, *options, limit=few_files)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [("inspect",), ("inspect", "--json"), ("types",)])
def test_standard_output_that_is_full(split: Path, command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        files = [split] if command[0] == "inspect" else []
        done = run(*command, *files, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert "no space left" in one_line(done.stderr).lower()


@pytest.mark.parametrize("descriptors", [(1,), (2,), (0, 1, 2)])
def test_streams_that_are_closed(split: Path, descriptors: tuple[int, ...]) -> None:
    def close() -> None:
        for number in descriptors:
            os.close(number)

    out = split.parent / f"copy{len(descriptors)}{descriptors[0]}.gguf"
    done = run("copy", split, out, "--force", limit=close)
    assert done.returncode == 0
    assert out.read_bytes()[:4] == b"GGUF"
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away(split: Path) -> None:
    done = subprocess.run(
        f"{' '.join(map(repr, PROGRAM))} inspect {split} --json | head -c 1",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("megabytes", [220, 300, 400])
def test_little_memory(split: Path, tmp_path: Path, megabytes: int) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    model = split.parents[1] / "model"
    done = run("convert", model, "-o", tmp_path, "--ladder", "Q4_K_M", limit=little)
    assert done.returncode in (0, 3)
    assert "Traceback" not in done.stderr
    assert bool(list(tmp_path.glob("*.gguf"))) == (done.returncode == 0)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 3, "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files", "x"), 3, "x: Too many open files; allow"),
        (OSError(errno.EIO, "Input/output error"), 3, "Input/output error"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (TypeError("wrong\x1b[31m"), BUG, r"a bug in ggufkit: TypeError: wrong\x1b[31m; please"),
        (RecursionError("too deep"), BUG, "a bug in ggufkit: RecursionError"),
        (AssertionError(), BUG, "a bug in ggufkit: AssertionError"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_whatever_a_command_raises(
    error: BaseException,
    code: int,
    said: str,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("ggufkit.cli.commands.types.run", fail)
    monkeypatch.setenv("GGUFKIT_DEBUG", "")
    assert main(["types", *(["--json"] if as_json else [])]) == code
    shown = capsys.readouterr()
    assert said in one_line(shown.err)
    if as_json and code != 130:
        assert json.loads(shown.out)["error"] == type(error).__name__


def test_a_bug_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise TypeError

    monkeypatch.setattr("ggufkit.cli.commands.types.run", fail)
    monkeypatch.setenv("GGUFKIT_DEBUG", "1")
    with pytest.raises(TypeError):
        main(["types"])


def test_an_interrupt_while_the_program_is_loaded() -> None:
    program = "import builtins\nown = builtins.__import__\n"
    program += "def interrupted(name, *rest):\n    if name == 'ggufkit.cli.main':\n"
    program += "        raise KeyboardInterrupt\n    return own(name, *rest)\n"
    program += "from ggufkit.cli import entry\nbuiltins.__import__ = interrupted\n"
    program += "import sys; sys.exit(entry.main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "ggufkit: interrupted\n")


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.gguf"
    for command in (("inspect",), ("check",), ("hash",), ("inspect", "--json")):
        done = subprocess.run(
            [*PROGRAM, *command, name], check=False, capture_output=True, env={**os.environ}
        )
        assert done.returncode == 3
        assert b"Traceback" not in done.stderr
        assert b"caf" in done.stderr
