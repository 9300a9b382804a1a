"""Sums of the payload, in the form of llama-gguf-hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import xxhash

import ggufkit
from ggufkit.cli.main import main
from ggufkit.errors import FormatError
from ggufkit.toolbox.payload import payload_lines, read_payload_manifest
from tests.llama import write_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    ggufkit.convert(write_llama(folder / "Tiny"), folder / "m.gguf", ladder="Q4_K_M")
    return folder / "m.gguf"


def test_lines_are_sums_of_the_tensors_bytes(model: Path) -> None:
    lines = payload_lines(model, ["xxh64", "sha1", "sha256"])
    whole = b""
    with ggufkit.open(model) as file:
        for i, (name, tensor) in enumerate(file.items()):
            data = tensor.data.tobytes()
            whole += data
            xxh, sha1, sha256 = lines[3 * i : 3 * i + 3]
            assert str(xxh) == f"xxh64     {xxhash.xxh64(data).hexdigest()}  m.gguf:{name}"
            assert sha1.digest == hashlib.sha1(data).hexdigest()
            assert sha256.digest == hashlib.sha256(data).hexdigest()
    assert [line.name for line in lines[-3:]] == ["m.gguf"] * 3
    assert lines[-1].digest == hashlib.sha256(whole).hexdigest()


def test_sums_stay_when_metadata_changes(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m.gguf"
    copy.write_bytes(model.read_bytes())
    ggufkit.edit(copy, values={"general.name": "Other"})
    assert payload_lines(copy) == payload_lines(model)


def test_the_command_checks_what_it_printed(model: Path, tmp_path: Path, capsys) -> None:
    assert main(["hash", "--xxh64", str(model), "-q"]) == 0
    manifest = tmp_path / "sums"
    manifest.write_text("manifest  x\n" + capsys.readouterr().out)
    copy = tmp_path / "m.gguf"
    data = bytearray(model.read_bytes())
    copy.write_bytes(data)
    assert main(["hash", "--check", str(manifest), "-q"]) == 0
    data[-100] ^= 1
    copy.write_bytes(data)
    capsys.readouterr()
    assert main(["hash", "--check", str(manifest), "-q"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.endswith("different")] == [
        "m.gguf:output_norm.weight: different" if "output_norm" in out[-2] else out[-2],
        "m.gguf: different",
    ]
    copy.unlink()
    assert main(["hash", "--check", str(manifest), "-q"]) == 1
    assert "m.gguf: missing" in capsys.readouterr().out


def test_other_files_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    with pytest.raises(FormatError):
        read_payload_manifest(tmp_path / "x")
