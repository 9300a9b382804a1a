"""Tensors of types that are newer than the table: refused, or listed and copied as they are."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.codecs import CODECS
from ggufkit.errors import BadLayoutError, BadValueError, UnknownTensorTypeError
from ggufkit.types import TensorType

NEWER = 77


def write_file(path: Path, *, last: bool) -> bytes:
    """Write a file with a tensor of a type to come, last or in the middle; return its data."""
    data = bytes(range(96))
    tensors = {
        "a.weight": (np.arange(8, dtype=np.float32), TensorType.F32),
        "b.weight": (np.frombuffer(data, "<f4"), TensorType.F32),
        "c.weight": (np.ones((2, 32), np.float32), TensorType.Q8_0),
    }
    if last:
        del tensors["c.weight"]
    ggufkit.save(path, {"general.architecture": "llama"}, tensors)
    written = path.read_bytes()
    old = b"b.weight" + struct.pack("<IQI", 1, 24, 0)
    assert written.count(old) == 1
    path.write_bytes(written.replace(old, b"b.weight" + struct.pack("<IQI", 1, 24, NEWER)))
    return data


@pytest.mark.parametrize("last", [False, True])
def test_a_strict_reader_refuses_and_a_lenient_one_lists(tmp_path: Path, last: bool) -> None:
    path = tmp_path / "new.gguf"
    data = write_file(path, last=last)
    with pytest.raises(BadValueError, match="unknown type 77"):
        ggufkit.open(path)
    with ggufkit.open(path, strict=False) as file:
        info = file.tensors["b.weight"]
        assert (info.type.name, int(info.type), info.nbytes) == ("TYPE_77", NEWER, len(data))
        assert file["b.weight"].data.tobytes() == data
        with pytest.raises(UnknownTensorTypeError):
            ggufkit.dequantize(file["b.weight"])
        assert ggufkit.dequantize(file["a.weight"]).tolist() == list(range(8))
    assert info.type not in CODECS
    assert info.type not in list(TensorType)


@pytest.mark.parametrize("last", [False, True])
def test_inspect_lists_and_edit_copies_it(tmp_path: Path, last: bool) -> None:
    path, out = tmp_path / "new.gguf", tmp_path / "out.gguf"
    data = write_file(path, last=last)
    command = [sys.executable, "-m", "ggufkit.cli.main"]
    listed = subprocess.run(
        [*command, "inspect", path, "--lenient", "--json", "--tensors"],
        check=True,
        capture_output=True,
    )
    assert "TYPE_77" in {tensor["type"] for tensor in json.loads(listed.stdout)["tensors"]}
    shown = subprocess.run(
        [*command, "inspect", path, "--lenient"], check=True, capture_output=True, text=True
    )
    assert "TYPE_77" in shown.stdout
    name = "general.name=" + "a long name " * 20
    subprocess.run(
        [*command, "edit", path, "-o", out, "--lenient", "--set", name, "-q"], check=True
    )
    with ggufkit.open(out, strict=False) as file:
        assert file["b.weight"].data.tobytes() == data
        assert int(file.tensors["b.weight"].type) == NEWER
        assert file.metadata["general.name"] == name.partition("=")[2]


def test_an_offset_that_runs_backwards_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    write_file(path, last=False)
    data = bytearray(path.read_bytes())
    at = data.index(b"c.weight") + len("c.weight") + struct.calcsize("<IQQI")
    for offset in (0, 33, 2**63, 2**64 - 32):
        data[at : at + 8] = struct.pack("<Q", offset)
        path.write_bytes(data)
        with pytest.raises((BadLayoutError, ggufkit.GGUFKitError)):
            ggufkit.open(path, strict=False)


@pytest.mark.parametrize("type_", TensorType, ids=lambda t: t.name)
def test_every_type_survives_a_file(tmp_path: Path, type_: TensorType) -> None:
    rng = np.random.default_rng(int(type_))
    codec = CODECS[type_]
    data = rng.integers(0, 256, (3, type_.row_size(512)), dtype=np.uint8)
    data.view(codec.layout)[...] = np.zeros((), codec.layout)
    if codec.encode is not None:
        rows = rng.standard_normal((3, 512)).astype(np.float32)
        data = ggufkit.quantize(rows, type_, importance=np.ones(512, np.float32))
    shape_bytes = data if type_ is not TensorType.I8 else data.view(np.int8)
    path = ggufkit.save(
        tmp_path / "t.gguf", {"general.architecture": "x"}, {"t": (shape_bytes, type_)}
    )
    with ggufkit.open(path) as file:
        assert file.tensors["t"].type is type_
        got, want = ggufkit.dequantize(file["t"]), ggufkit.dequantize(data, type_)
        assert got.tobytes() == want.reshape(got.shape).tobytes()
