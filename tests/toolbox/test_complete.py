"""Commands given again say that they are complete; what a copy leaves out is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ggufkit
from ggufkit.cli.main import main
from tests import build
from tests.toolbox.faults import sound
from tests.toolbox.test_check import put

COMMANDS = {
    "merge": "merge s-00001-of-00002.gguf out.gguf",
    "split": "split m.gguf out --max-tensors 8",
    "copy": "copy m.gguf out.gguf",
    "convert-endian": "convert-endian m.gguf out.gguf big",
    "edit": "edit m.gguf -o out.gguf --set general.name=new",
}


def world(folder: Path, later: bytes = b"") -> None:
    put(folder, {"m.gguf": sound().build() + later})
    ggufkit.split(folder / "m.gguf", folder / "s", max_tensors=10)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("changed", [False, True])
def test_a_command_given_again(words, changed, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    world(tmp_path)
    assert main([*words.split(), "-q"]) == 0
    out = sorted(tmp_path.glob("out*"))[-1]
    if changed:  # the last weight
        with out.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
    before = out.read_bytes()
    capsys.readouterr()
    assert main([*words.split(), "-q"]) == (3 if changed else 0)
    said = capsys.readouterr()
    wanted = "nothing to change" if words.startswith("edit") else "Complete already: "
    assert ("has other content" in said.err) is changed
    assert (wanted in said.out) is not changed
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["split", "copy", "convert-endian", "edit"])
def test_what_a_copy_leaves_out_is_said(name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    world(tmp_path, b"notes")
    assert main([*COMMANDS[name].split(), "-q"]) == 0
    assert "left out of the copy: 5 bytes that are not zero" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize(("value", "kept"), [(1e-5, True), (0.5, True), (0.1234567891234, False)])
def test_a_fix_of_a_type_loses_no_digits(value: float, kept: bool, tmp_path: Path) -> None:
    key = "llama.attention.layer_norm_rms_epsilon"
    model = sound()
    model.pairs[key] = (build.F64, value)
    found = ggufkit.check(put(tmp_path, {model.name: model.build()}))
    (fix,) = [one.fix for one in found if one.rule == "wrong-value-type"]
    assert (fix is not None) is kept


@pytest.mark.parametrize(("alignment", "fixable"), [(32, True), (4096, False)])
def test_padding_that_may_be_data_is_not_cleared(
    alignment: int, fixable: bool, tmp_path: Path
) -> None:
    model = sound()
    model.pairs["general.alignment"] = (build.U32, alignment)
    model.alignment = alignment
    model.tensors["blk.0.x.bias"] = ([1], 0, bytes(4))
    path = put(tmp_path, {model.name: model.build()[:-8] + b"Jane Doe"})
    (found,) = [one for one in ggufkit.check(path) if one.rule == "dirty-padding"]
    assert (found.fix is not None) is fixable
    assert "blk.0.x.bias" in found.message
