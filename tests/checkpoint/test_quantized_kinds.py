"""Every kind of quantized checkpoint, packed by hand: dequantized_view, converted, and damaged."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf import dequantize as gguf_dequantize

from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.quantized import METHODS, dequantized_view
from ggufkit.checkpoint.safetensors import read_float32
from ggufkit.checkpoint.shards import read_tensors
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import CheckpointError, GGUFKitError
from tests.checkpoint.packers import KINDS
from tests.checkpoint.test_quantized import KINDS as OLDER
from tests.checkpoint.test_quantized import write

ALL = {**OLDER, **KINDS}
#: Kinds whose grid a type has: written without rounding.
EXACT = {
    **dict.fromkeys(("ct pack 4", "ct pack channel", "torchao int4 symmetric"), "Q4_0"),
    **dict.fromkeys(("ct pack 8", "ct int8", "torchao int8"), "Q8_0"),
    "ct mxfp4": "MXFP4",
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_widen_to_the_formats_formula(tmp_path: Path, kind: str) -> None:
    packed, plain = (Checkpoint.open(folder) for folder in write(tmp_path, kind, KINDS))
    assert list(packed.tensors) == list(plain.tensors)
    assert packed.shapes == plain.shapes
    assert "dequantized" in packed.quantized
    for name in plain.tensors:
        wanted = plain.read(name)
        np.testing.assert_allclose(packed.read(name), wanted, rtol=3e-7, atol=1e-7)
        if wanted.ndim == 2:
            assert np.array_equal(packed.read(name, slice(3, 77)), packed.read(name)[3:77])


@pytest.mark.parametrize("kind", ALL)
def test_a_whole_conversion_gives_a_file_with_these_weights(tmp_path: Path, kind: str) -> None:
    """The file is read back by gguf-py, and compared with the weights of the format's formula."""
    packed, plain = write(tmp_path, kind, ALL)
    assert main(["convert", str(packed), "-o", str(tmp_path / "a.gguf"), "--ladder", "F32"]) == 0
    convert(plain, tmp_path / "b.gguf", ladder="F32")
    files = [GGUFReader(tmp_path / f"{name}.gguf").tensors for name in "ab"]
    for one, other in zip(*files, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.data, other.data, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("kind", EXACT)
def test_a_grid_that_a_type_has_is_not_rounded(tmp_path: Path, kind: str) -> None:
    packed, _ = write(tmp_path, kind, KINDS)
    ladder = convert(
        packed, tmp_path / "out", ladder={"MXFP4": "MXFP4_MOE"}.get(EXACT[kind], EXACT[kind])
    )
    assert f"{EXACT[kind]} keeps" in ladder.plan.source.origin["quantized"]
    convert(packed, tmp_path / "wide.gguf", ladder="F32")
    wide = {t.name: t.data for t in GGUFReader(tmp_path / "wide.gguf").tensors}
    exact = 0
    for tensor in GGUFReader(ladder.paths[0]).tensors:
        if tensor.tensor_type.name == EXACT[kind] and tensor.name.startswith("blk."):
            decoded = gguf_dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(decoded, wide[tensor.name])
            exact += 1
    assert exact == 14 or EXACT[kind] == "MXFP4"  # MXFP4_MOE has it for experts alone


def test_what_was_asked_for_goes_before_the_grid(tmp_path: Path) -> None:
    packed, plain = write(tmp_path, "ct pack 4", KINDS)
    one, other = (
        convert(f, f.parent / "x.gguf", ladder="Q4_0", via="f16").paths[0] for f in (packed, plain)
    )
    files = [np.frombuffer(path.read_bytes(), np.uint8) for path in (one, other)]
    assert np.count_nonzero(files[0] != files[1]) <= files[0].size // 10_000


def parts_of(folder: Path) -> tuple[dict, dict]:
    return json.loads((folder / "config.json").read_text()), dict(read_tensors(folder))


# The kind, a part, and what becomes of it: None it is gone, else changed fields of its entry.
DAMAGE = [
    ("ct pack 4", ".weight_scale", None),
    ("ct pack 4", ".weight_shape", None),
    ("ct pack 4", ".weight_scale", {"shape": (3, 5)}),
    ("ct pack 4", ".weight_packed", {"shape": (7, 9)}),
    ("ct pack 4", ".weight_packed", {"shape": (7,)}),
    ("ct pack 4", ".weight_packed", {"dtype": "I64"}),
    ("ct pack 4", ".weight_shape", {"shape": (3,)}),
    ("ct pack zeros", ".weight_zero_point", {"shape": (1, 1)}),
    ("ct pack order", ".weight_g_idx", {"shape": (4,)}),
    ("ct int8", ".weight", {"shape": (4, 4, 4)}),
    ("ct int8", ".weight_scale", {"shape": (3, 1)}),
    ("ct fp8", ".weight_scale", {"shape": (3, 1)}),
    ("ct nvfp4", ".weight_global_scale", None),
    ("ct nvfp4", ".weight_scale", {"shape": (4, 4)}),
    ("ct mxfp4", ".weight_scale", {"shape": (4, 4)}),
    ("modelopt nvfp4", ".weight_scale_2", None),
    ("modelopt nvfp4", ".weight_scale_2", {"shape": (7,)}),
    ("modelopt nvfp4", ".weight_scale", None),
    ("hqq 4 axis 1", ".scale", None),
    ("hqq 4 axis 1", ".shape", None),
    ("hqq 4 axis 1", ".packing", None),
    ("hqq 4 axis 1", ".zero", {"shape": (5, 1)}),
    ("hqq 3 axis 0", ".W_q", {"shape": (5, 1)}),
    ("torchao int4", "_scale", None),
    ("torchao int4", "_scale", {"shape": (2, 2)}),
    ("torchao int4", "_qdata", {"shape": (2, 2, 2)}),
    ("torchao int8", "_scale", {"shape": (3, 1)}),
    ("torchao float8", "_scale", {"shape": (7, 3)}),
]


@pytest.mark.parametrize(("kind", "suffix", "change"), DAMAGE)
def test_parts_that_do_not_fit_are_one_error(tmp_path: Path, kind, suffix, change) -> None:
    config, tensors = parts_of(write(tmp_path, kind, KINDS)[0])
    name = next(n for n in tensors if "q_proj" in n and n.endswith(suffix))
    if change is None:
        del tensors[name]
    else:
        tensors[name] = replace(tensors[name], **change)
    with pytest.raises(CheckpointError) as error:
        dequantized_view(config, tensors)
    assert "q_proj" in str(error.value)


# The kind, a part, and the numbers that are written over its own.
LIES = [
    ("ct pack 4", ".weight_shape", [1 << 62, 1 << 62]),
    ("ct pack 4", ".weight_shape", [-1, 256]),
    ("ct pack 4", ".weight_shape", [256, 0]),
    ("hqq 4 axis 1", ".shape", [1 << 40, 1 << 40]),
    ("hqq 4 axis 1", ".shape", [-256, -256]),
    ("hqq 4 axis 1", ".group_size", [0]),
    ("hqq 4 axis 1", ".group_size", [-64]),
    ("hqq 4 axis 1", ".group_size", [(1 << 31) - 1]),
    ("hqq 4 axis 1", ".axis", [7]),
    ("hqq 4 axis 1", ".packing", b"5bit_ux"),
    ("ct pack order", ".weight_g_idx", [-5]),
    ("ct pack order", ".weight_g_idx", [1 << 30]),
]


@pytest.mark.parametrize(("kind", "suffix", "values"), LIES)
def test_numbers_that_lie_are_one_error_and_take_no_memory(
    tmp_path: Path, kind: str, suffix: str, values
) -> None:
    folder, _ = write(tmp_path, kind, KINDS)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    tensor = next(
        t for n, t in read_tensors(folder).items() if "q_proj" in n and n.endswith(suffix)
    )
    form = {"I32": "<i4", "I64": "<i8"}.get(tensor.dtype)
    new = values if form is None else np.array(values, form).tobytes()
    data[tensor.offset : tensor.offset + len(new)] = new
    path.write_bytes(data)
    weight = f"{tensor.name.partition('q_proj')[0]}q_proj.weight"
    tracemalloc.start()
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(folder).read(weight)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "q_proj" in str(error.value)
    with pytest.raises(GGUFKitError):
        convert(folder, tmp_path / "out.gguf", ladder="Q8_0")
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"format": "marlin-24"},
        {"format": "pack-quantized", "sparsity_config": {"format": "sparse-24-bitmask"}},
        {"format": "pack-quantized", "config_groups": {"a": {"weights": {"group_size": [3]}}}},
        {"format": "pack-quantized", "config_groups": {"a": {"weights": {"group_size": -7}}}},
        {"format": "pack-quantized", "config_groups": {"a": {"weights": {"block_structure": 9}}}},
        {"format": ["x"], "config_groups": 5},
    ],
)
def test_odd_configs_are_one_error(tmp_path: Path, config: dict) -> None:
    whole, tensors = parts_of(write(tmp_path, "ct pack 4", KINDS)[0])
    whole["quantization_config"] = {"quant_method": "compressed-tensors", **config}
    with pytest.raises(CheckpointError, match=r"config\.json"):
        dequantized_view(whole, tensors)


def test_scales_of_another_group_size_are_noticed(tmp_path: Path) -> None:
    whole, tensors = parts_of(write(tmp_path, "ct pack 4", KINDS)[0])
    weights = whole["quantization_config"]["config_groups"]["group_0"]["weights"]
    weights["group_size"] = 128
    with pytest.raises(CheckpointError, match="8 groups for 512 columns"):
        dequantized_view(whole, tensors)


def test_all_kinds_are_named_where_one_is_unknown(tmp_path: Path) -> None:
    whole, tensors = parts_of(write(tmp_path, "ct pack 4", KINDS)[0])
    whole["quantization_config"] = {"quant_method": "quip"}
    with pytest.raises(CheckpointError, match="'quip'") as error:
        dequantized_view(whole, tensors)
    assert all(name in str(error.value) for name in METHODS)


def test_layouts_of_one_kind_of_hardware_are_refused(tmp_path: Path) -> None:
    whole, tensors = parts_of(write(tmp_path, "torchao int8", KINDS)[0])
    for name, tensor in tensors.items():
        if name.endswith("_qdata"):
            tensors[name] = replace(tensor, dtype="I32", shape=(2, 2, 32, 4))
    with pytest.raises(CheckpointError, match="known are plain int4, int8, intx and float8"):
        dequantized_view(whole, tensors)


def test_a_scale_that_float16_lacks_is_rounded_as_ever(tmp_path: Path) -> None:
    packed, _ = write(tmp_path, "ct pack 4", KINDS)
    tensors = Checkpoint.open(packed).tensors
    tensor = tensors["model.layers.0.self_attn.q_proj.weight"]
    packing = tensor.packing
    assert packing.blocks(0, 4) is not None
    wide = replace(packing.scale, dtype="BF16")  # the same bits are other, larger numbers
    assert replace(packing, scale=wide).blocks(0, 4) is None
    assert read_float32(tensor).shape == (256, 256)
