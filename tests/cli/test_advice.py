"""Every command that a message advises is executed here, as it is written.

Where a message says FILE, NAME and so on, these are replaced as a reader would. A message with a
command that no situation here provokes fails the scan of the source.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import COMMANDS, build_parser, main
from ggufkit.errors import GGUFKitError
from ggufkit.toolbox.endian import convert_endian
from tests import build
from tests.converter.lora.adapters import load, write_case
from tests.llama import write_llama
from tests.toolbox.faults import EMBEDDING, FAULTS, Model, sound, weights
from tests.toolbox.test_check import put

PACKAGE = Path(ggufkit.__file__).parent
COMMAND = rf"ggufkit (?:{'|'.join(map(re.escape, COMMANDS))})\b"
#: What a reader writes for the words in capitals.
WORDS = {
    "OUT": "out.gguf", "NAME": "llama", "NUMBER": "0", "VALUE": "1", "ID": "2", "TOKENS": "2048",
    "TEMPLATE": "template.txt", "TEXT": "a", "SOURCE": "Tiny", "BASE": "base", "LADDER": "ladder",
    "KEY": "general.name", "BITS": "4.5", "ADAPTER": "adapter", "PART": "m-00001-of-00002.gguf",
}  # fmt: skip
#: Literals with a command that is no advice, or that needs what a test has not; all are parsed.
NOT_EXECUTED = {
    "cli/mixes.py": "help",
    "cli/converting.py": "help",
    "cli/main.py": "help",
    "publish/hub/model_card.py": "a card for readers of the Hub",
    "export/card.py": "says where a checkpoint comes from",
    "checkpoint/checkpoint.py": "lists a repository of the Hub",
    "converter/mix/sensitivity.py": "runs llama.cpp",
    "publish/recommend.py": "runs llama.cpp",
    "publish/evaluate.py": "'check FILE' after a crash of llama.cpp",
    "publish/ollama/blobs.py": "'hash --check', see test_hash.py",
    "converter/lora/merge.py": "'lora', see the adapter below",
    "architectures/left_out.py": "'mmproj', see tests/converter/test_left_out.py",
    "tokenizers/settle.py": "executed in tests/tokenizers/test_settle.py",
}


def said(*words: object, capsys) -> str:
    """Run a command and return all that it says, on one line."""
    capsys.readouterr()
    main(list(map(str, words)))
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


def commands_in(message: str) -> list[str]:
    """Return the commands that a message advises, without their quotes."""
    quoted = re.findall(rf"['`]({COMMAND}(?:[^'`]|(?<==)'[^']*'|(?<= )'[^']*')*)['`]", message)
    return [command.removeprefix("ggufkit ") for command in quoted]


def follow(command: str, words: dict[str, str]) -> list[str]:
    """Return the words of a command with those in capitals replaced."""
    found = {**WORDS, **words}
    names = "|".join(found)
    return [
        re.sub(rf"(?<![\w.-])({names})(?![\w.])", lambda match: found[match[1]], word)
        for word in shlex.split(command)
    ]


def _file(folder: Path, model: Model) -> Path:
    return put(folder, {model.name: model.build()})


# --- situations: each returns a message, and what its words in capitals stand for


def _turned(folder: Path) -> Path:
    out = folder / "big.gguf"
    convert_endian(_file(folder, sound()), out, "big")
    return out


def big_endian(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    path = _turned(folder)
    return said("inspect", path, capsys=capsys), {"FILE": str(path)}


def big_endian_checked(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    return next(f.message for f in ggufkit.check(_turned(folder)) if f.rule == "big-endian"), {}


def big_endian_copied(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    path = _turned(folder)
    return said("copy", path, folder / "c.gguf", capsys=capsys), {"FILE": str(path)}


def not_utf8(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    model = sound()
    model.pairs["x.text"] = (build.STR, b"\xff")
    path = _file(folder, model)
    return said("inspect", path, capsys=capsys), {"FILE": str(path)}


def nested(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    model = sound()
    model.array("x.n", build.ARR, [build.array(build.U8, [1])])
    path = _file(folder, model)
    return said("edit", path, "--set", "a.b:u8=1", capsys=capsys), {"FILE": str(path)}


def unknown_rule(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    return said("check", _file(folder, sound()), "--ignore", "nope", capsys=capsys), {}


def unknown_token(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    path = _file(folder, sound())
    words = ["edit", path, "--special-token", "eos=no such"]
    return said(*words, capsys=capsys), {"FILE": str(path)}


def unknown_type(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    tiny = write_llama(folder / "Tiny", n_layers=1)
    return said("convert", tiny, "--tensor-type", "attn=Q9", capsys=capsys), {}


def no_recipe(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    tiny = write_llama(folder / "Tiny", n_layers=1, ffn=256)
    (folder / "r.json").write_text("{}")
    return said("convert", tiny, "--recipe", folder / "r.json", capsys=capsys), {}


def folder_of_gguf(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    there = folder / "models"
    ggufkit.convert(write_llama(folder / "Tiny", n_layers=1), there, ladder="Q8_0")
    return said("convert", there, capsys=capsys), {}


def unknown_class(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    tiny = write_llama(folder / "Tiny", n_layers=1)
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "architectures": ["NewForCausalLM"]}))
    return said("convert", tiny, capsys=capsys), {}


def an_adapter(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    case = load("llama-alphas")
    base, adapter = write_case(case, folder)
    tiny = write_llama(folder / "Tiny", n_layers=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((tiny / name).read_bytes())
    return said("convert", adapter, capsys=capsys), {"OUT": "merged"}


def split_for_ollama(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    parts = ggufkit.split(_file(folder, sound()), folder / "m", max_tensors=10)
    return said("ollama", parts[1].path, "--store", folder / "s", capsys=capsys), {}


def importance_for_ollama(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    write_llama(folder / "Tiny", n_layers=1, ffn=256)
    ones = ImatrixEntry(np.ones((1, 256), np.float32), np.ones(1, np.float32))
    Imatrix({"blk.0.ffn_up.weight": ones}, "i.gguf").save(folder / "i.gguf")
    words = ["ollama", folder / "i.gguf", "--store", folder / "s"]
    return said(*words, capsys=capsys), {"FILE": "i.gguf"}


def joined_parts(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    parts = ggufkit.split(_file(folder, sound()), folder / "m", max_tensors=10)
    path = folder / "joined.gguf"
    path.write_bytes(b"".join(part.path.read_bytes() for part in parts))
    return said("check", path, "--no-weights", capsys=capsys), {}


def interrupted_edit(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    path = _file(folder, sound())
    path.with_name(f"{path.name}.edit-journal").write_bytes(b"GGUFKIT\1torn")
    return said("inspect", path, capsys=capsys), {}


def many_long_names(folder: Path, capsys) -> tuple[str, dict[str, str]]:
    model = sound()
    for name in ("x" * 64, "x" * 65, f"blk.0.{'y' * 60}.weight", "blk é " * 11):
        model.tensors[name] = weights(EMBEDDING)
    found = ggufkit.check(_file(folder, model))
    return next(f.message for f in found if f.rule == "bad-tensor-name"), {}


SITUATIONS: list[Callable[..., tuple[str, dict[str, str]]]] = [
    big_endian, big_endian_checked, big_endian_copied, not_utf8, nested, unknown_rule,
    unknown_token, unknown_type, no_recipe, folder_of_gguf, unknown_class, an_adapter,
    split_for_ollama, importance_for_ollama, joined_parts, interrupted_edit, many_long_names,
]  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
def test_the_advice_of_messages_works(situation, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message, words = situation(tmp_path, capsys)
    commands = commands_in(message)
    assert commands, message
    for command in commands:
        code = main(follow(command, words))
        # what check finds makes its exit code, not whether it worked
        assert code in ((0, 1) if command.startswith("check") else (0,)), command


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_advice_of_check_works(fault, tmp_path: Path, monkeypatch) -> None:
    path = put(tmp_path, fault.make())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template.txt").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    before = path.read_bytes()
    for finding in ggufkit.check(path):
        for command in commands_in(finding.message):
            path.write_bytes(before)
            words = {"FILE": str(finding.path)}
            assert main([*follow(command, words), "-q"]) == 0, command


# --- the scan


def literals() -> Iterator[tuple[str, list[str]]]:
    """Yield each text in the source that has a command: its file, and its fixed pieces."""
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith("cli/commands/") and where != "cli/commands/inspect.py":
            continue  # help
        tree = ast.parse(path.read_text())
        inner = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in inner | docs:
                continue
            pieces = _pieces(node)
            if re.search(COMMAND, "\0".join(pieces)):
                yield where, pieces


def _pieces(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [str(v.value) for v in node.values if isinstance(v, ast.Constant)]
    return []


def test_each_message_with_a_command_is_provoked_here(tmp_path: Path, capsys, monkeypatch) -> None:
    messages = []
    for i, situation in enumerate(SITUATIONS):
        folder = tmp_path / str(i)
        folder.mkdir()
        monkeypatch.chdir(folder)
        messages.append(situation(folder, capsys)[0])
    for i, fault in enumerate(FAULTS):
        folder = tmp_path / f"fault{i}"
        folder.mkdir()
        try:
            messages += [f.message for f in ggufkit.check(put(folder, fault.make()))]
        except GGUFKitError as error:
            messages.append(str(error))
    whole = " ".join(" ".join(messages).split())
    unknown = [
        (where, pieces)
        for where, pieces in literals()
        if where not in NOT_EXECUTED
        and not re.search(".*?".join(re.escape(" ".join(p.split())) for p in pieces), whole)
    ]
    assert unknown == []


def test_no_message_advises_python() -> None:
    for where, pieces in literals():
        assert "strict=" not in "".join(pieces), where
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                text = "".join(p for part in ast.walk(node) for p in _pieces(part))
                assert not re.search(r"\bstrict=|\blenient=|ggufkit\.\w+\(", text), path


def test_commands_that_are_not_executed_are_parsed() -> None:
    parser = build_parser()
    for where, pieces in literals():
        for command in commands_in("x".join(pieces)):
            if where not in NOT_EXECUTED or where.endswith("card.py"):
                continue
            if NOT_EXECUTED[where] == "help":
                continue
            parser.parse_args(follow(command, {"FILE": "x", "BITS": "4"}))
