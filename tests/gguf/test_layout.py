"""Layouts, byte for byte against files of other writers."""

import json

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufkit.errors import BadLayoutError, BadValueError, FormatError, LimitExceededError
from ggufkit.gguf.layout import TensorInfo, align, plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.types import TensorType, ValueType
from tests import build

NAMES = ["bert", "deepseek_v2", "gemma3", "gpt2", "llama-oddcols", "mixtral", "qwen3_moe"]
TYPES = ("source.bf16", "Q4_K_M", "Q2_K", "Q8_0")


def set_again(metadata):
    """A copy made through the decoded values."""
    again = Metadata()
    for key, value in metadata.items():
        stored = metadata.type_of(key)
        stored = metadata.item_type_of(key) if stored is ValueType.ARRAY else stored
        again.set(key, value, stored)
    return again


@pytest.mark.parametrize("name", NAMES)
def test_tensors_lie_where_llama_cpp_puts_them(oracle, name):
    for file_type in TYPES:
        path = oracle / "expected" / name / f"{file_type}.json"
        if not path.exists():
            continue
        want = json.loads(path.read_text())
        tensors = [
            (tensor["name"], tuple(reversed(tensor["shape"])), TensorType[tensor["type"]])
            for tensor in want["tensors"]
        ]
        layout = plan_layout(Metadata(), tensors)
        assert [info.offset for info in layout.tensors] == [t["offset"] for t in want["tensors"]]
        assert [info.nbytes for info in layout.tensors] == [t["nbytes"] for t in want["tensors"]]
        assert layout.file_size - layout.data_offset == want["file_size"] - want["data_offset"]


@pytest.mark.parametrize("name", ["bert-bge", "gpt-2", "llama-spm"])
def test_real_vocabularies_are_laid_out_byte_for_byte(oracle, name):
    path = oracle / "tokenizers" / f"ggml-vocab-{name}.gguf"
    with GGUFFile.open(path) as file:
        header = plan_layout(set_again(file.metadata), []).header
    content = path.read_bytes()
    # Files without tensors end without padding.
    assert header == content + bytes(-len(content) % 32)


@pytest.mark.parametrize("name", NAMES)
def test_imatrix_files_are_laid_out_byte_for_byte(oracle, name):
    path = oracle / "expected" / name / "imatrix.gguf"
    with GGUFFile.open(path) as file:
        tensors = [(info.name, info.shape, info.type) for info in file.tensors.values()]
        layout = plan_layout(set_again(file.metadata), tensors)
        assert layout.header == path.read_bytes()[: layout.data_offset]
        assert layout.file_size == path.stat().st_size
        assert layout.tensors == tuple(file.tensors.values())


def test_the_header_is_that_of_the_format():
    metadata = Metadata({"general.architecture": "llama"})
    layout = plan_layout(metadata, [("a", (2, 64), TensorType.F32), ("b", (32,), TensorType.Q8_0)])
    assert layout.header == build.file(
        [build.pair("general.architecture", build.STR, "llama")],
        [build.tensor("a", [64, 2], 0, 0), build.tensor("b", [32], 8, 512)],
    )
    assert layout.data_offset == len(layout.header)
    assert layout.file_size == layout.data_offset + 512 + 64


def test_version_2_differs_in_its_number_only():
    three = plan_layout(Metadata(), [("a", (1,), TensorType.F32)]).header
    two = plan_layout(Metadata(), [("a", (1,), TensorType.F32)], version=2).header
    assert two == three[:4] + b"\2" + three[5:]
    with pytest.raises(BadValueError):
        plan_layout(Metadata(), [], version=1)


@given(st.integers(0, 2**70), st.sampled_from([8, 32, 64, 4096]))
def test_align_is_the_next_multiple(offset, alignment):
    aligned = align(offset, alignment)
    assert aligned % alignment == 0
    assert offset <= aligned < offset + alignment


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_an_alignment_in_the_metadata_is_followed(alignment, tmp_path):
    metadata = Metadata({"general.alignment": alignment})
    layout = plan_layout(metadata, [("a", (3,), TensorType.F32), ("b", (3,), TensorType.F32)])
    assert layout.data_offset % alignment == 0
    assert layout.tensors[1].offset == align(12, alignment)
    path = tmp_path / "x.gguf"
    path.write_bytes(layout.header + bytes(layout.file_size - layout.data_offset))
    assert [int(t.data_offset) for t in gguf.GGUFReader(path).tensors] == [
        layout.data_offset,
        layout.data_offset + layout.tensors[1].offset,
    ]


def test_an_alignment_the_metadata_does_not_state_is_refused():
    assert plan_layout(Metadata(), [], alignment=32).alignment == 32
    with pytest.raises(BadLayoutError, match=r"general\.alignment"):
        plan_layout(Metadata(), [], alignment=64)


@pytest.mark.parametrize("alignment", [0, 1, 4, 13, 24, 2**21, 2**31])
def test_bad_alignments_are_refused(alignment):
    with pytest.raises(BadLayoutError):
        plan_layout(Metadata({"general.alignment": alignment}), [])


def test_an_alignment_of_another_type_is_refused():
    metadata = Metadata()
    metadata.set("general.alignment", 32, ValueType.UINT64)
    with pytest.raises(BadLayoutError, match="UINT32"):
        plan_layout(metadata, [])


@pytest.mark.parametrize(
    ("name", "shape", "tensor_type", "error"),
    [
        ("", (1,), TensorType.F32, BadValueError),
        ("a\0b", (1,), TensorType.F32, BadValueError),
        ("n" * 64, (1,), TensorType.F32, BadValueError),
        ("é" * 32, (1,), TensorType.F32, BadValueError),
        ("a", (1, 1, 1, 1, 1), TensorType.F32, LimitExceededError),
        ("a", (-1,), TensorType.F32, BadLayoutError),
        ("a", (33,), TensorType.Q8_0, BadLayoutError),
        ("a", (), TensorType.Q8_0, BadLayoutError),
        ("a", (2**62,), TensorType.F32, LimitExceededError),
        ("a", (2**62,), TensorType.Q8_1, LimitExceededError),
        ("a", (2**32, 2**32, 0), TensorType.F32, LimitExceededError),
    ],
)
def test_what_no_reader_takes_is_not_laid_out(name, shape, tensor_type, error):
    with pytest.raises(error) as caught:
        plan_layout(Metadata(), [(name, shape, tensor_type)])
    assert isinstance(caught.value, FormatError)


def test_names_are_used_once():
    tensors = [("a", (1,), TensorType.F32)] * 2
    with pytest.raises(BadLayoutError, match="'a'"):
        plan_layout(Metadata(), tensors)


# gguf-py says 40 bytes for Q8_1; ggml's block_q8_1 has 36.
@pytest.mark.parametrize("tensor_type", [t for t in TensorType if t is not TensorType.Q8_1])
def test_sizes_are_those_of_gguf_py(tensor_type):
    try:
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor_type)]
    except ValueError:
        pytest.skip("newer than this gguf-py")
    info = TensorInfo("a", (3, 2 * block), tensor_type, 0)
    assert info.nbytes == 6 * size
    assert info.data_shape == (3, 2 * size)
    assert info.n_weights == 6 * block


def test_shapes_of_numpy_integers_are_taken():
    shape = tuple(np.array([2, 64]))
    assert plan_layout(Metadata(), [("a", shape, TensorType.F32)]).tensors[0].nbytes == 512
