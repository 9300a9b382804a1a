"""Splitting as llama.cpp's two programs do, and reading the parts as one."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufkit.errors import (
    BadLayoutError,
    BadValueError,
    FormatError,
    LimitExceededError,
    MissingFileError,
    MissingTensorError,
)
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.split import (
    CONVERTER,
    GGUF_SPLIT,
    parse_part_name,
    parse_size,
    part_name,
    plan_split,
)
from ggufkit.gguf.writer import write
from ggufkit.types import TensorType, ValueType

TYPES = {"u16": ValueType.UINT16, "i32": ValueType.INT32}
KEYS = {"split.no", "split.count", "split.tensors.count"}


def options_of(words):
    options = {}
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word == "--split-max-tensors":
            options["max_tensors"] = int(value)
        elif word == "--split-max-size":
            options["max_bytes"] = parse_size(value)
        elif word == "--no-tensor-first-split":
            options["no_tensor_first"] = True
    return options


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("record", "source", "style"),
    [("source.split", "source.bf16", CONVERTER), ("split", "source.bf16", GGUF_SPLIT)],
)
def test_parts_are_those_of_llama_cpp(oracle, name, record, source, style):
    folder = oracle / "expected" / name
    whole = json.loads((folder / f"{source}.json").read_text())
    tensors = [
        (tensor["name"], tuple(reversed(tensor["shape"])), TensorType[tensor["type"]])
        for tensor in whole["tensors"]
    ]
    metadata = Metadata({"general.architecture": "llama"})
    stem = "cs" if record == "source.split" else "split"
    for want in json.loads((folder / f"{record}.json").read_text()).values():
        parts = plan_split(
            metadata, tensors, style=style, **options_of(want.get("options", want.get("command")))
        )
        assert len(parts) == len(want["files"])
        for index, (part, file) in enumerate(zip(parts, want["files"], strict=True)):
            assert part_name(stem, index, len(parts)) == file["file"]
            assert [tensor.name for tensor in part.tensors] == file["tensors"]
            keys = [(key, part.metadata[key]) for key in part.metadata if key in KEYS]
            assert keys == [(pair["key"], pair["value"]) for pair in file["kv"]]
            for pair in file["kv"]:
                assert part.metadata.type_of(pair["key"]) is TYPES[pair["type"]]
            layout = plan_layout(part.metadata, part.tensors)
            if index:
                assert len(part.metadata) == file["n_kv"]
                assert layout.file_size == file["file_size"]


TENSOR = ("a", (1,), TensorType.F32)


def test_a_model_that_fits_is_not_split_by_the_converter():
    metadata = Metadata()
    (part,) = plan_split(metadata, [TENSOR], max_bytes=1000)
    assert part.metadata is metadata
    (part,) = plan_split(metadata, [TENSOR], max_bytes=1000, style=GGUF_SPLIT)
    assert part.metadata["split.count"] == 1
    assert "split.count" not in metadata


def test_a_tensor_above_the_limit_gets_a_part_of_its_own():
    tensors = [
        ("a", (8,), TensorType.F32),
        ("b", (64,), TensorType.F32),
        ("c", (8,), TensorType.F32),
    ]
    parts = plan_split(Metadata(), tensors, max_bytes=100)
    assert [len(part.tensors) for part in parts] == [1, 1, 1]


def test_there_are_no_more_parts_than_a_uint16_counts():
    with pytest.raises(LimitExceededError):
        plan_split(Metadata(), [TENSOR] * 65536, max_tensors=1)


@given(
    st.lists(st.integers(1, 100), max_size=20),
    st.integers(0, 400),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from([CONVERTER, GGUF_SPLIT]),
)
def test_parts_hold_every_tensor_once_in_order_within_the_limits(
    sizes, max_bytes, max_tensors, no_tensor_first, style
):
    tensors = [(f"t{n}", (size,), TensorType.F32) for n, size in enumerate(sizes)]
    parts = plan_split(
        Metadata(), tensors, max_bytes=max_bytes, max_tensors=max_tensors,
        no_tensor_first=no_tensor_first, style=style,
    )  # fmt: skip
    assert [(t.name, t.shape, t.type) for part in parts for t in part.tensors] == tensors
    assert not (no_tensor_first and parts[0].tensors)
    for part in parts[no_tensor_first:]:
        assert part.tensors or not tensors
        if max_tensors:
            assert len(part.tensors) <= max_tensors
        if max_bytes and len(part.tensors) > 1:
            assert sum(4 * tensor.shape[0] for tensor in part.tensors) <= max_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), ("5K", 5000), ("300M", 300_000_000), ("2G", 2_000_000_000)]
)
def test_sizes_are_powers_of_1000(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0G", "-1G", "1.5G", "2g", "2GB", "G", " 1G", "٣G"])
def test_other_sizes_are_refused(text):
    with pytest.raises(BadValueError):
        parse_size(text)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model-Q8_0-00001-of-00003.gguf", ("model-Q8_0", 0, 3)),
        ("a-00002-of-00003-00001-of-00002.gguf", ("a-00002-of-00003", 0, 2)),
        ("model-1-of-3.gguf", None),
        ("model-00001-of-00003.gguf.partial", None),
        ("-00001-of-00003.gguf", None),
        ("model.gguf", None),
    ],
)
def test_names_of_parts(name, found):
    assert parse_part_name(name) == found
    if found:
        assert part_name(*found) == name


DATA = {f"t{number}": np.full(8, number, np.float32) for number in range(5)}


def write_parts(folder, stem="m", count=3, metadata=None, **changes):
    tensors = [(name, (8,), TensorType.F32) for name in DATA]
    metadata = metadata or Metadata({"general.architecture": "llama"})
    parts = plan_split(metadata, tensors, max_tensors=2)
    for index, part in enumerate(parts):
        for key, value in changes.get(f"part{index}", {}).items():
            part.metadata[key] = value
        layout = plan_layout(part.metadata, part.tensors)
        path = folder / part_name(stem, index, count)
        write(path, layout, [DATA[tensor.name] for tensor in part.tensors])


@pytest.mark.parametrize("opened", range(3))
def test_any_part_opens_the_whole_model(tmp_path, opened):
    write_parts(tmp_path)
    with open_gguf(tmp_path / part_name("m", opened, 3)) as model:
        assert list(model) == list(DATA)
        assert dict(model.metadata) == {"general.architecture": "llama"}
        assert len(model.parts) == 3
        assert model.path == tmp_path / part_name("m", 0, 3)
        assert model.file_size == sum(path.stat().st_size for path in tmp_path.iterdir())
        for name, array in DATA.items():
            assert model[name].data.tobytes() == array.tobytes()
            assert model.read_bytes(model.tensors[name], 4, 8) == array.tobytes()[4:12]
        assert model.part_of("t4").path == tmp_path / part_name("m", 2, 3)
        with pytest.raises(MissingTensorError):
            model["t5"]


def test_a_file_that_is_not_split_opens_the_same_way(tmp_path):
    layout = plan_layout(Metadata({"general.name": "x"}), [TENSOR])
    write(tmp_path / "x.gguf", layout, [np.ones(1, np.float32)])
    with open_gguf(tmp_path / "x.gguf") as model:
        assert model.metadata["general.name"] == "x"
        assert (model.version, model.alignment) == (3, 32)
        assert model["a"].data.view(np.float32).tolist() == [1.0]


def test_a_missing_part_is_named(tmp_path):
    write_parts(tmp_path)
    (tmp_path / part_name("m", 1, 3)).unlink()
    with pytest.raises(MissingFileError, match=r"part 2 of 3 .*m-00002-of-00003\.gguf"):
        open_gguf(tmp_path / part_name("m", 0, 3))


def test_a_renamed_part_is_told_to_get_its_name_back(tmp_path):
    write_parts(tmp_path)
    (tmp_path / part_name("m", 0, 3)).rename(tmp_path / "other.gguf")
    with pytest.raises(BadLayoutError, match="NAME-00001-of-00003"):
        open_gguf(tmp_path / "other.gguf")


def test_swapped_parts_are_named(tmp_path):
    write_parts(tmp_path)
    one, two = (tmp_path / part_name("m", index, 3) for index in (1, 2))
    shutil.copy(one, tmp_path / "keep")
    two.rename(one)
    (tmp_path / "keep").rename(two)
    with pytest.raises(BadLayoutError, match=r"00002-of-00003.*split\.no is 2, expected 1"):
        open_gguf(tmp_path / part_name("m", 0, 3))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"part1": {"split.count": 4}}, BadLayoutError, r"00002-of.*split\.count is 4"),
        ({"part2": {"split.tensors.count": 9}}, BadLayoutError, r"00003-of.*tensors\.count is 9"),
        ({"part1": {"split.no": 7}}, BadValueError, r"00002-of.*split\.no is 7"),
        (
            {f"part{n}": {"split.tensors.count": 6} for n in range(3)},
            BadLayoutError,
            "hold 5 tensors",
        ),
    ],
)
def test_parts_that_disagree_are_named(tmp_path, changes, error, text):
    write_parts(tmp_path, **changes)
    with pytest.raises(error, match=text):
        open_gguf(tmp_path / part_name("m", 0, 3))


def test_a_tensor_in_two_parts_is_refused(tmp_path):
    write_parts(tmp_path)
    parts = [Metadata({"split.no": n, "split.count": 2, "split.tensors.count": 2}) for n in (0, 1)]
    for index, metadata in enumerate(parts):
        write(
            tmp_path / part_name("d", index, 2), plan_layout(metadata, [TENSOR]), [np.ones(1, "f4")]
        )
    with pytest.raises(BadLayoutError, match=r"is in d-00001-of-00002\.gguf too"):
        open_gguf(tmp_path / part_name("d", 1, 2))


@pytest.mark.parametrize("kind", ["no number", "count is text"])
def test_keys_of_a_split_are_checked(tmp_path, kind):
    metadata = Metadata()
    if kind == "no number":
        metadata["split.count"] = 2
    else:
        metadata["split.no"] = 0
        metadata.set("split.count", "2", ValueType.STRING)
    path = tmp_path / part_name("m", 0, 2)
    write(path, plan_layout(metadata, []), [])
    with pytest.raises(FormatError, match="UINT16"):
        open_gguf(path)


def test_the_result_of_a_merge_is_one_file(tmp_path):
    # llama-gguf-split --merge leaves split.count 0 behind.
    metadata = Metadata({"split.no": 0, "split.tensors.count": 1, "split.count": 0})
    write(tmp_path / "m.gguf", plan_layout(metadata, [TENSOR]), [np.ones(1, "f4")])
    with open_gguf(tmp_path / "m.gguf") as model, GGUFFile.open(tmp_path / "m.gguf") as file:
        assert list(model.tensors.values()) == list(file.tensors.values())
