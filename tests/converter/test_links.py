"""Links that lie where ggufkit writes: what they point to stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import OutputError
from tests.llama import write_llama

NAMES = (
    *("SHA256SUMS", "SHA256SUMS.new", ".ggufkit-SHA256SUMS.new", "ladder.json", "ladder.json.new"),
    *(".ggufkit-ladder.json.new", "M-1.5M-Q8_0.gguf", "M-1.5M-Q8_0.gguf.partial"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_a_ladder_is_not_written_through_links(tmp_path: Path, name: str, hard: bool) -> None:
    source, out, target = write_llama(tmp_path / "m"), tmp_path / "out", tmp_path / "target"
    target.write_bytes(b"precious")
    out.mkdir()
    (os.link if hard else os.symlink)(target, out / name)
    try:
        ladder = convert(source, out, ladder="Q8_0")
    except OutputError:
        pass
    else:
        assert all(path.is_file() and not path.is_symlink() for path in ladder.paths)
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("command", ["copy", "split", "convert", "merge"])
def test_no_command_writes_through_a_link(
    tmp_path: Path, command: str, force: tuple[str, ...], capsys: Any
) -> None:
    convert(write_llama(tmp_path / "m"), tmp_path / "m.gguf", ladder="BF16")
    target, out = tmp_path / "target", tmp_path / "out.gguf"
    target.write_bytes(b"precious")
    out.symlink_to(target)
    (tmp_path / "out-00001-of-00001.gguf").symlink_to(target)
    words = {
        "copy": ["copy", tmp_path / "m.gguf", out],
        "merge": ["merge", tmp_path / "m.gguf", out],
        "split": ["split", tmp_path / "m.gguf", tmp_path / "out"],
        "convert": ["convert", tmp_path / "m.gguf", "-o", out, "--ladder", "Q8_0"],
    }
    main([*map(str, words[command]), *force])
    assert target.read_bytes() == b"precious"
    assert "Traceback" not in capsys.readouterr().err
