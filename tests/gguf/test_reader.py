"""Opening good files, and what a reader has to survive while in use."""

import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest

from ggufkit.errors import (
    BadValueError,
    MissingFileError,
    MissingTensorError,
    TruncatedError,
    UnsupportedVersionError,
)
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.types import TensorType, ValueType
from tests import build

SHAPES = {
    "a.weight": (2, 64),
    "b.weight": (2, 32),
    "scalar": (),
    "empty": (0, 32),
    "c.weight": (2, 2, 3),
    "d.weight": (256,),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(build.small())
    return path


def test_metadata_and_tensors_of_a_small_file(path):
    with GGUFFile.open(path) as file:
        assert file.version == 3
        assert file.path == path
        assert dict(file.metadata) == {
            "general.architecture": "llama",
            "x.u8": 200,
            "x.i16": -2,
            "x.u32": 2**32 - 1,
            "x.f32": 0.5,
            "x.bool": True,
            "x.i64": -(2**63),
            "x.f64": 0.1,
            "tokenizer.ggml.tokens": ["<s>", "é", ""],
            "tokenizer.ggml.scores": [0.0, -1.5],
        }
        assert {name: info.shape for name, info in file.tensors.items()} == SHAPES
        assert file["a.weight"].data.shape == (2, 256)
        assert file["b.weight"].data.tolist() == [[0x11] * 34] * 2
        assert file["scalar"].data.tolist() == [0x22] * 4
        assert file["empty"].data.shape == (0, 34)
        assert file["c.weight"].data.tolist() == [[[0x33] * 6] * 2] * 2
        assert file["d.weight"].data.tolist() == [0x44] * 144
        assert file.surplus == 0


def test_the_reader_of_gguf_py_agrees(path):
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with GGUFFile.open(path) as ours:
        assert list(ours) == list(theirs)
        for name, tensor in ours.items():
            assert tensor.data.tobytes() == theirs[name].data.tobytes()
            assert ours.data_offset + tensor.info.offset == theirs[name].data_offset
            assert tensor.info.type == theirs[name].tensor_type.value


def test_files_of_gguf_py_are_read(tmp_path):
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_token_list(["a", "é"])
    writer.add_token_scores([0.5, -1.0])
    data = np.arange(96, dtype=np.float32).reshape(3, 32)
    writer.add_tensor("x", data)
    writer.add_tensor("y", data.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GGUFFile.open(path) as file:
        assert dict(file.metadata) == {
            "general.architecture": "llama",
            "llama.block_count": 3,
            "tokenizer.ggml.tokens": ["a", "é"],
            "tokenizer.ggml.scores": [0.5, -1.0],
        }
        assert np.array_equal(file["x"].data.view(np.float32), data)
        assert np.array_equal(file["y"].data.view(np.float16), data.astype(np.float16))


@pytest.mark.parametrize(("version", "order"), [(2, "<"), (3, ">")])
def test_version_2_and_big_endian_files_hold_the_same(path, version, order):
    other = GGUFFile.from_buffer(build.small(order, version), strict=order == "<")
    with GGUFFile.open(path) as file:
        assert other.version == version
        assert other.byte_order == order
        assert dict(other.metadata) == dict(file.metadata)
        assert other.tensors == file.tensors
        assert other.metadata.encoded() == file.metadata.encoded()


def test_big_endian_weights_are_not_misread():
    with pytest.raises(UnsupportedVersionError, match="big-endian"):
        GGUFFile.from_buffer(build.small(">"))


@pytest.mark.parametrize(
    ("head", "text"),
    [(b"GGUF\1\0\0\0", "version 1 .*convert"), (b"GGUF\0\0\0\2", "version 2, expected")],
)
def test_versions_nobody_reads_have_a_clear_text(head, text):
    with pytest.raises(UnsupportedVersionError, match=text):
        GGUFFile.from_buffer(head + bytes(100))


def test_the_alignment_of_the_metadata_counts(tmp_path):
    pairs = [build.pair("general.alignment", build.U32, 64)]
    tensors = [build.tensor("a", [1], 0, 0), build.tensor("b", [1], 0, 64)]
    content = build.file(pairs, tensors, b"aaaa" + bytes(60) + b"bbbb" + bytes(60), alignment=64)
    file = GGUFFile.from_buffer(content)
    assert file.alignment == 64
    assert file["b"].data.tobytes() == b"bbbb"


def test_tensors_and_metadata_outlive_the_file(path):
    with GGUFFile.open(path) as file:
        tensor, metadata = file["b.weight"], file.metadata
    assert tensor.data.tolist() == [[0x11] * 34] * 2
    assert metadata["tokenizer.ggml.tokens"] == ["<s>", "é", ""]
    with pytest.raises(ValueError, match="closed"):
        file["a.weight"]


def test_views_can_not_be_written_to(path):
    with GGUFFile.open(path) as file:
        for tensor in file.values():
            with pytest.raises(ValueError, match="read-only"):
                tensor.data[...] = 0
    buffer = bytearray(build.small())
    with pytest.raises(ValueError, match="read-only"):
        GGUFFile.from_buffer(buffer)["d.weight"].data[...] = 0


def test_a_missing_tensor_is_a_key_error_of_ours(path):
    with GGUFFile.open(path) as file:
        assert file.get("nothing") is None
        with pytest.raises(MissingTensorError, match="nothing"):
            file["nothing"]


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo", "device"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = {"folder": tmp_path, "device": "/dev/zero"}.get(kind, tmp_path / "x.gguf")
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(MissingFileError):
        GGUFFile.open(path)


def test_read_bytes_reads_a_stretch(path):
    with GGUFFile.open(path) as file:
        info = file.tensors["a.weight"]
        whole = file["a.weight"].data.tobytes()
        assert file.read_bytes(info) == whole
        assert file.read_bytes(info, 100, 7) == whole[100:107]
        assert file.read_bytes(info, 512) == b""
        assert GGUFFile.from_buffer(build.small()).read_bytes(info, 9, 3) == whole[9:12]
        for start, size in [(-1, 2), (0, 513), (513, 0), (1, -1)]:
            with pytest.raises(TruncatedError):
                file.read_bytes(info, start, size)


def test_read_bytes_notices_a_file_that_shrinks(path):
    with GGUFFile.open(path) as file:
        os.truncate(path, file.data_offset + 100)
        assert len(file.read_bytes(file.tensors["a.weight"], 0, 100)) == 100
        with pytest.raises(TruncatedError, match="changed while in use"):
            file.read_bytes(file.tensors["a.weight"])


def test_what_follows_the_last_tensor_is_told():
    content = build.small()
    assert GGUFFile.from_buffer(content + b"more").surplus == 4
    assert GGUFFile.from_buffer(content[:-16]).surplus == -16
    with pytest.raises(TruncatedError, match=r"d\.weight"):
        GGUFFile.from_buffer(content[:-17])


def test_no_descriptor_stays_open(path):
    bad = path.with_name("bad.gguf")
    bad.write_bytes(build.small()[:200])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with GGUFFile.open(path) as file:
            assert len(file["a.weight"].data) == 2
        with pytest.raises(TruncatedError):
            GGUFFile.open(bad)
    del file
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_lenient_reader_keeps_what_is_not_utf8(tmp_path):
    pairs = [
        build.pair(b"\xffkey", build.STR, b"a\xff"),
        build.pair("x.tokens", build.ARR, build.array(build.STR, [b"\xfe", "b"])),
        build.pair("x.nested", build.ARR, build.array(build.ARR, [build.array(build.U8, [1])])),
    ]
    content = build.file(pairs)
    with pytest.raises(BadValueError, match=r"not UTF-8.*ggufkit check FILE"):
        GGUFFile.from_buffer(content)
    file = GGUFFile.from_buffer(content, strict=False)
    assert file.metadata["\udcffkey"] == "a\udcff"
    assert file.metadata["x.tokens"] == ["\udcfe", "b"]
    assert file.metadata["x.nested"] == [[1]]
    assert plan_layout(file.metadata, []).header == content


def test_strings_in_arrays_are_checked_when_first_used():
    tokens = build.pair("x.tokens", build.ARR, build.array(build.STR, [b"\xfe"]))
    file = GGUFFile.from_buffer(build.file([tokens]))
    assert file.metadata.type_of("x.tokens") is ValueType.ARRAY
    assert file.metadata.n_items_of("x.tokens") == 1
    with pytest.raises(BadValueError, match="UTF-8"):
        file.metadata["x.tokens"]


def test_huge_files_are_opened_without_reading_them(tmp_path):
    path = tmp_path / "sparse.gguf"
    shape = (1 << 20, 768)  # 3 GiB of F32
    layout = plan_layout(Metadata(), [(name, shape, TensorType.F32) for name in "abc"])
    with path.open("wb") as out:
        out.write(layout.header)
        out.truncate(layout.file_size)
        out.seek(layout.file_size - 4)
        out.write(b"last")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with GGUFFile.open(path) as file:
        assert file["c"].data[-1, -4:].tobytes() == b"last"
        assert file.read_bytes(file.tensors["c"], file.tensors["c"].nbytes - 4) == b"last"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # KiB on Linux


def test_metadata_needs_no_numpy(path):
    code = (
        "import sys; from ggufkit.gguf.reader import GGUFFile; "
        f"f = GGUFFile.open({str(path)!r}); f.metadata['tokenizer.ggml.tokens']; "
        "sys.exit('numpy' in sys.modules)"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_threads_read_one_file(path):
    with GGUFFile.open(path) as file, ThreadPoolExecutor(4) as pool:
        info = file.tensors["b.weight"]
        read = list(pool.map(lambda _: file.read_bytes(info), range(200)))
    assert set(read) == {b"\x11" * 68}
