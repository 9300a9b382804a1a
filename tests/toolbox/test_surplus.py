"""Bytes behind the last tensor: no fix and no edit in place throws them away."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.errors import BadLayoutError
from ggufkit.toolbox.checks.engine import fix
from tests.toolbox.faults import sound
from tests.toolbox.test_check import put

LATER = {
    "text": b"notes",
    "zeros, then data": bytes(5000) + b"x",
    "an archive": b"PK\x03\x04" * 20,
    "another GGUF": b"GGUF" + bytes(60),
    "another GGUF behind zeros": bytes(64) + b"GGUF" + bytes(60),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
@pytest.mark.parametrize("other_fault", [False, True])
def test_no_fix_drops_bytes_that_are_not_zero(
    later: bytes, other_fault: bool, tmp_path: Path
) -> None:
    model = sound()
    if other_fault:  # a fix that needs a larger header
        del model.pairs["general.file_type"]
        model.pairs["general.name"] = (8, "")
    path = put(tmp_path, {model.name: model.build() + later})
    before = path.read_bytes()
    found = [finding for finding in ggufkit.check(path) if finding.rule == "trailing-bytes"]
    assert [finding.fix for finding in found] == [None]
    main(["check", "--fix", "-q", str(path)])
    assert path.read_bytes().endswith(later)
    assert len(path.read_bytes()) >= len(before)


def test_edits_in_place_do_not_drop_them_either(tmp_path: Path) -> None:
    model = sound()
    path = put(tmp_path, {model.name: model.build() + b"notes"})
    before = path.read_bytes()
    for options in ({"values": {"general.name": "x" * 5000}}, {"drop_tensors": ["output.*"]}):
        with pytest.raises(BadLayoutError, match="tail -c"):
            ggufkit.edit(path, **options)
        with pytest.raises(BadLayoutError, match="tail -c"):
            ggufkit.edit(path, out=path, force=True, **options)
    assert path.read_bytes() == before
    out = tmp_path / "out.gguf"
    ggufkit.edit(path, out=out, values={"general.name": "x" * 5000})
    assert path.read_bytes() == before


@pytest.mark.parametrize("first_only", [False, True], ids=["all in parts", "first without tensors"])
def test_joined_parts_are_kept_and_taken_apart_as_the_message_says(
    first_only: bool, tmp_path: Path
) -> None:
    model = sound()
    whole = put(tmp_path, {model.name: model.build()})
    (tmp_path / "parts").mkdir()
    ggufkit.split(whole, tmp_path / "parts" / "m", max_tensors=8, no_tensor_first=first_only)
    parts = sorted((tmp_path / "parts").iterdir())
    assert len(parts) > 1
    joined = tmp_path / "my model.gguf"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    before = joined.read_bytes()
    found = ggufkit.check(joined)
    fix(found)
    assert joined.read_bytes() == before
    (message,) = [one.message for one in found if one.rule == "trailing-bytes"]
    head = re.search(r"'(head -c .+-first\.gguf'?)' and ", message)
    tail = re.search(r"'(tail -c .+-rest\.gguf'?)', and", message)
    assert head is not None
    assert tail is not None
    for command in (head[1], tail[1]):
        subprocess.run(command, shell=True, check=True)
    got = (tmp_path / "my model-first.gguf").read_bytes()
    assert got == parts[0].read_bytes()
    assert got + (tmp_path / "my model-rest.gguf").read_bytes() == before
