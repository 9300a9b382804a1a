from __future__ import annotations

import json
import os
import struct
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ggufkit.checkpoint.safetensors import read_float32, read_header, read_raw
from ggufkit.errors import CheckpointError, UnsupportedDtypeError
from tests.checkpoint.build import f32, raw, safetensors

# Not a dependency; where it is installed, what we accept must be what it accepts.
LIBRARY = import_module("safetensors") if find_spec("safetensors") else None


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return path


def entry(dtype: Any = "F32", shape: Any = (1,), span: Any = (0, 4)) -> bytes:
    value = {"a": {"dtype": dtype, "shape": shape, "data_offsets": span}}
    return json.dumps(value).encode()


def test_tensors_are_sorted_by_name_as_strings(tmp_path: Path) -> None:
    names = ["layers.2", "layers.10", "layers.1", "lm_head", "B"]
    path = write(tmp_path, safetensors({name: f32(2) for name in names}, metadata={"a": "b"}))
    assert list(read_header(path)) == ["B", "layers.1", "layers.10", "layers.2", "lm_head"]


def test_every_element_of_every_readable_dtype(tmp_path: Path) -> None:
    bf16 = np.array([0x3F80, 0xC2F7, 0x0001, 0x7F80, 0x8000], "<u2")
    entries = {
        "bf16": ("BF16", [5], bf16.tobytes()),
        "f16": ("F16", [3], np.array([1.5, -65504, 6e-8], "<f2").tobytes()),
        "f32": ("F32", [2], np.array([np.pi, -0.0], "<f4").tobytes()),
        "f64": ("F64", [2], np.array([np.pi, 1e300], "<f8").tobytes()),
        "i64": ("I64", [2], np.array([-3, 2**24 + 1], "<i8").tobytes()),
        "bool": ("BOOL", [2], b"\x00\x01"),
    }
    tensors = read_header(write(tmp_path, safetensors(entries)))
    values = {name: read_float32(tensor) for name, tensor in tensors.items()}
    assert all(value.dtype == np.float32 for value in values.values())
    assert values["bf16"].view(np.uint32).tolist() == [int(b) << 16 for b in bf16]
    assert values["f16"].tolist() == [1.5, -65504.0, float(np.float16(6e-8))]
    assert values["f32"].tolist() == [float(np.float32(np.pi)), 0.0]
    assert np.signbit(values["f32"][1])
    assert values["f64"].tolist() == [float(np.float32(np.pi)), float("inf")]
    assert values["i64"].tolist() == [-3.0, 2.0**24]
    assert values["bool"].tolist() == [0.0, 1.0]
    assert read_raw(tensors["bf16"]).tolist() == bf16.tolist()


@pytest.mark.parametrize("rows", [slice(None), slice(2, 5), slice(0, 0), slice(-2, None)])
def test_rows_are_those_of_numpy(tmp_path: Path, rows: slice) -> None:
    tensors = read_header(write(tmp_path, safetensors({"before": f32(3), "x": f32(7, 2, 3)})))
    expected = np.arange(42, dtype=np.float32).reshape(7, 2, 3)[rows]
    assert np.array_equal(read_float32(tensors["x"], rows), expected)


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    entries = {"scalar": f32(start=7), "empty": f32(0, 3), "row": f32(3, 0)}
    tensors = read_header(write(tmp_path, safetensors(entries)))
    assert read_float32(tensors["scalar"]).shape == ()
    assert read_float32(tensors["scalar"]) == 7
    assert read_float32(tensors["empty"], slice(0, 4)).shape == (0, 3)
    assert read_float32(tensors["row"], slice(1, 3)).shape == (2, 0)


def test_fp8_is_listed_but_refused(tmp_path: Path) -> None:
    path = write(tmp_path, safetensors({"w": ("F8_E4M3", [4], b"\0" * 4)}))
    tensor = read_header(path)["w"]
    with pytest.raises(UnsupportedDtypeError, match="'w' is stored as F8_E4M3"):
        read_float32(tensor)


def test_a_file_that_changes_after_it_was_opened_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, safetensors({"x": f32(4)}))
    tensor = read_header(path)["x"]
    os.utime(path, ns=(1, 1))
    with pytest.raises(CheckpointError, match="changed during the conversion"):
        read_float32(tensor)
    path.unlink()
    with pytest.raises(CheckpointError, match="can't be read"):
        read_float32(tensor)


PADDED = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode() + b"   "


@pytest.mark.parametrize(
    "data",
    [raw(b"{}"), raw(PADDED, b"\0"), raw(entry(shape=[0], span=[0, 0]))],
    ids=["no tensors", "4-bit elements and padding", "empty tensor"],
)
def test_accepted(tmp_path: Path, data: bytes) -> None:
    read_header(write(tmp_path, data))


MALFORMED = {
    "empty file": (b"", "0 bytes, too short for a safetensors file"),
    "seven bytes": (b"\0" * 7, "7 bytes, too short"),
    "header length 0": (raw(b""), "does not start with"),
    "header length 2^63": (struct.pack("<Q", 2**63) + b"{}", "at most 100000000"),
    "header just above the limit": (struct.pack("<Q", 100_000_001), "at most 100000000"),
    "header longer than the file": (struct.pack("<Q", 100) + b"{}", "truncated"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "not JSON": (raw(b"{hello}"), "not valid JSON"),
    "a list": (raw(b"[]"), "does not start with"),
    "leading space": (raw(b" {}"), "does not start with"),
    "deep JSON": (raw(b'{"a":' + b"[" * 200_000), "nested too deep|not valid JSON"),
    "endless number": (raw(b'{"a":' + b"1" * 5000 + b"}"), "not valid JSON"),
    "duplicate name": (raw(b'{"a":' + entry()[6:-1] + b"," + entry()[1:], bytes(4)), "twice"),
    "metadata not strings": (raw(b'{"__metadata__": {"a": 1}}'), "__metadata__"),
    "entry is a number": (raw(b'{"a": 1}'), "must be a JSON object"),
    "no offsets": (raw(b'{"a": {"dtype": "F32", "shape": [1]}}'), "data_offsets"),
    "unknown dtype": (raw(entry(dtype="F33"), bytes(4)), "unknown dtype 'F33'"),
    "dtype is a list": (raw(entry(dtype=["F32"]), bytes(4)), "unknown dtype"),
    "negative shape": (raw(entry(shape=[-1]), bytes(4)), "list of non-negative integers"),
    "shape of floats": (raw(entry(shape=[1.0]), bytes(4)), "list of non-negative integers"),
    "shape of booleans": (raw(entry(shape=[True]), bytes(4)), "list of non-negative integers"),
    "three offsets": (raw(entry(span=[0, 4, 8]), bytes(4)), "data_offsets"),
    "offsets reversed": (raw(entry(span=[4, 0]), bytes(4)), "data_offsets"),
    "shape overflows": (raw(entry(shape=[2**62, 2**62]), bytes(4)), "too large"),
    "size contradicts shape": (raw(entry(shape=[2]), bytes(4)), "takes 8 bytes"),
    "half a byte": (raw(entry(dtype="F4", span=[0, 1]), bytes(1)), "takes 0.5 bytes"),
    "hole at the start": (raw(entry(span=[4, 8]), bytes(8)), "leaves a hole"),
    "trailing bytes": (raw(entry(), bytes(5)), "belong to no tensor"),
    "data cut short": (raw(entry(), bytes(3)), "truncated"),
    "overlap": (raw(entry()[:-1] + b',"b":' + entry()[6:], bytes(4)), "overlaps"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(tmp_path: Path, case: str) -> None:
    data, message = MALFORMED[case]
    with pytest.raises(CheckpointError, match=message):
        read_header(write(tmp_path, data))


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    data = safetensors({"a": f32(3), "b": f32(2, 2)})
    for n in range(len(data)):
        with pytest.raises(CheckpointError):
            read_header(write(tmp_path, data[:n]))


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    """Well-formed files in which a few header characters or offsets were changed."""
    dtypes = st.sampled_from(["F32", "BF16", "U8", "F64"])
    sizes = {"F32": 4, "BF16": 2, "U8": 1, "F64": 8}
    header: dict[str, Any] = {}
    end = 0
    for i in range(draw(st.integers(0, 4))):
        dtype, shape = draw(dtypes), draw(st.lists(st.integers(0, 3), max_size=3))
        n = int(np.prod(shape, dtype=int)) * sizes[dtype]
        header[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + n]}
        end += n
    if header and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(header)))
        field = draw(st.sampled_from(["shape", "data_offsets", "dtype"]))
        bad = st.lists(st.integers(-1, 40), max_size=3) | st.sampled_from(["F16", "I8", 3, None])
        header[name][field] = draw(bad)
    text = bytearray(json.dumps(header).encode() + b" " * draw(st.integers(0, 3)))
    if draw(st.booleans()):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return raw(bytes(text), b"\1" * (end + draw(st.sampled_from([0, 0, 0, 1, -1]))))


@given(mutated_files())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_checkpoint_errors_and_never_more_than_the_library_accepts(
    tmp_path: Path, data: bytes
) -> None:
    path = write(tmp_path, data)
    try:
        ours = {name: (t.dtype, list(t.shape)) for name, t in read_header(path).items()}
    except CheckpointError:
        return
    if LIBRARY is not None:
        theirs = {name: (t["dtype"], t["shape"]) for name, t in LIBRARY.deserialize(data)}
        assert ours == theirs
