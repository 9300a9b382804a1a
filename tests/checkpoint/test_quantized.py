"""Quantized checkpoints widen to what their formats' formulas say, computed here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ggufkit.checkpoint import Checkpoint
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import CheckpointError
from tests.checkpoint.build import safetensors
from tests.llama import write_llama

MATRICES = (
    *(f"self_attn.{p}_proj" for p in "qkvo"),
    *(f"mlp.{p}_proj" for p in ("gate", "up", "down")),
)
RNG = np.random.default_rng(0)
Packed = dict[str, tuple[str, list[int], bytes]]


def entry(dtype: str, values: np.ndarray) -> tuple[str, list[int], bytes]:
    return dtype, list(values.shape), np.ascontiguousarray(values).tobytes()


def e4m3(code: int) -> float:
    """Return an 8-bit float: 1 sign, 4 exponent, 3 fraction bits, bias 7, no infinity."""
    code = int(code)
    sign, exponent, fraction = -1.0 if code >> 7 else 1.0, code >> 3 & 15, code & 7
    if exponent == 0:
        return sign * fraction / 8 * 2.0**-6
    return sign * (1 + fraction / 8) * 2.0 ** (exponent - 7)


E4M3 = np.array([e4m3(code) for code in range(256)], np.float32)


def pack_fp8(name: str, shape: tuple[int, int], kind: str) -> tuple[Packed, np.ndarray]:
    codes = RNG.integers(0, 0x7E, shape, np.uint8) | (RNG.integers(0, 2, shape, np.uint8) << 7)
    plain = E4M3[codes]
    rows, cols = shape
    suffix = "weight_scale"
    if kind == "block":
        suffix = "weight_scale_inv"
        scale = RNG.random((-(-rows // 128), -(-cols // 128)), np.float32) / 100
        wide = np.kron(scale, np.ones((128, 128), np.float32))[:rows, :cols]
    elif kind == "row":
        scale = RNG.random((rows, 1), np.float32) / 100
        wide = scale
    else:
        scale = np.float32(0.01).reshape(())
        wide = scale
    parts = {f"{name}.weight": entry("F8_E4M3", codes), f"{name}.{suffix}": entry("F32", scale)}
    if kind == "tensor":
        parts[f"{name}.input_scale"] = entry("F32", np.float32(3).reshape(()))
    return parts, plain * wide


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack codes along the first axis into 32-bit words, the lowest bits first."""
    bit, place = (np.arange(n, dtype=np.uint32)[:, None] for n in (bits, 32))
    ones = (codes[:, None].astype(np.uint32) >> bit & np.uint32(1)).reshape(-1, 32, codes.shape[1])
    words = (ones << place).sum(axis=1, dtype=np.uint32)
    return words.view(np.int32)


def pack_gptq(
    name: str, shape: tuple[int, int], bits: int, *, order: bool = False, v2: bool = False
) -> tuple[Packed, np.ndarray]:
    n_out, n_in = shape
    group_size, n_groups = 64, n_in // 64
    codes = RNG.integers(0, 2**bits, (n_in, n_out))
    zeros = RNG.integers(1, 2**bits, (n_groups, n_out))
    scales = (RNG.random((n_groups, n_out)) / 50).astype(np.float16)
    group = np.arange(n_in) // group_size
    if order:
        group = RNG.permutation(group)
    weight = np.empty((n_out, n_in), np.float32)
    for j in range(n_in):
        g = group[j]
        weight[:, j] = scales[g].astype(np.float32) * (codes[j] - zeros[g]).astype(np.float32)
    stored = zeros if v2 else zeros - 1
    parts = {
        f"{name}.qweight": entry("I32", pack_bits(codes, bits)),
        f"{name}.qzeros": entry("I32", pack_bits(stored.T, bits).T),
        f"{name}.scales": entry("F16", scales),
    }
    if order:
        parts[f"{name}.g_idx"] = entry("I32", group.astype(np.int32))
    return parts, weight


def pack_awq(name: str, shape: tuple[int, int]) -> tuple[Packed, np.ndarray]:
    n_out, n_in = shape
    n_groups = n_in // 128
    codes, zeros = RNG.integers(0, 16, (n_in, n_out)), RNG.integers(0, 16, (n_groups, n_out))
    scales = (RNG.random((n_groups, n_out)) / 50).astype(np.float16)

    def words(values: np.ndarray) -> np.ndarray:
        out = np.zeros((values.shape[0], n_out // 8), np.uint32)
        for column in range(n_out):
            nibble = [0, 4, 1, 5, 2, 6, 3, 7][column % 8]
            out[:, column // 8] |= values[:, column].astype(np.uint32) << np.uint32(4 * nibble)
        return out.view(np.int32)

    group = np.arange(n_in) // 128
    weight = (codes - zeros[group]).astype(np.float32) * scales.astype(np.float32)[group]
    parts = {
        f"{name}.qweight": entry("I32", words(codes)),
        f"{name}.qzeros": entry("I32", words(zeros)),
        f"{name}.scales": entry("F16", scales),
    }
    return parts, weight.T


NF4 = np.sort(np.append(RNG.standard_normal(15), 0)).astype(np.float32)


def pack_nf4(name: str, shape: tuple[int, int], *, nested: bool) -> tuple[Packed, np.ndarray]:
    n = shape[0] * shape[1]
    codes = RNG.integers(0, 16, n)
    n_blocks = n // 64
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(shape)}
    prefix = f"{name}.weight"
    packed = (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)[:, None]
    parts = {prefix: entry("U8", packed), f"{prefix}.quant_map": entry("F32", NF4)}
    if nested:
        inner, table = RNG.integers(0, 256, n_blocks, np.uint8), RNG.random(256, np.float32)
        scales = RNG.random(-(-n_blocks // 256), np.float32)
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}
        absmax = np.array([table[c] * scales[i // 256] for i, c in enumerate(inner)]) + 0.25
        parts[f"{prefix}.absmax"] = entry("U8", inner)
        parts[f"{prefix}.nested_absmax"] = entry("F32", scales)
        parts[f"{prefix}.nested_quant_map"] = entry("F32", table)
    else:
        absmax = RNG.random(n_blocks, np.float32)
        parts[f"{prefix}.absmax"] = entry("F32", absmax)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    parts[f"{prefix}.quant_state.bitsandbytes__nf4"] = entry("U8", text)
    return parts, (NF4[codes] * np.repeat(absmax, 64)).reshape(shape).astype(np.float32)


def pack_int8(name: str, shape: tuple[int, int]) -> tuple[Packed, np.ndarray]:
    codes = RNG.integers(-127, 128, shape, np.int64).astype(np.int8)
    scale = RNG.random(shape[0], np.float32)
    parts = {f"{name}.weight": entry("I8", codes), f"{name}.SCB": entry("F32", scale)}
    parts[f"{name}.weight_format"] = entry("U8", np.zeros((), np.uint8))
    return parts, codes.astype(np.float32) * (scale / np.float32(127))[:, None]


def gptq_config(bits: int, **more) -> dict:
    return {"quant_method": "gptq", "bits": bits, "group_size": 64, **more}


KINDS = {
    "fp8 blocks": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        lambda n, s: pack_fp8(n, s, "block"),
    ),
    "fp8 rows": ({"quant_method": "fp8"}, lambda n, s: pack_fp8(n, s, "row")),
    "fp8 tensor": ({"quant_method": "fp8"}, lambda n, s: pack_fp8(n, s, "tensor")),
    **{
        f"gptq {bits}": (gptq_config(bits), lambda n, s, bits=bits: pack_gptq(n, s, bits))
        for bits in (2, 3, 4, 8)
    },
    "gptq in another order": (gptq_config(4), lambda n, s: pack_gptq(n, s, 4, order=True)),
    "gptq v2": (
        gptq_config(4, checkpoint_format="gptq_v2"),
        lambda n, s: pack_gptq(n, s, 4, v2=True),
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128}, pack_awq),
    "nf4": ({"quant_method": "bitsandbytes"}, lambda n, s: pack_nf4(n, s, nested=False)),
    "nf4 nested": ({"quant_method": "bitsandbytes"}, lambda n, s: pack_nf4(n, s, nested=True)),
    "int8": ({"quant_method": "bitsandbytes"}, pack_int8),
}


def write(folder: Path, kind: str, kinds: dict = KINDS) -> tuple[Path, Path]:
    """Write a llama whose matrices are packed, and its twin with the dequantized_view weights."""
    config, pack = kinds[kind]
    packed, plain = (write_llama(folder / name / "Tiny") for name in ("packed", "plain"))
    checkpoint = Checkpoint.open(plain)
    one: Packed = {}
    other: Packed = {}
    for name in checkpoint.tensors:
        values = checkpoint.read(name)
        if name.removesuffix(".weight").endswith(MATRICES):
            parts, values = pack(name.removesuffix(".weight"), values.shape)
            one |= parts
        else:
            one[name] = entry("F32", values)
        other[name] = entry("F32", values)
    (packed / "model.safetensors").write_bytes(safetensors(dict(sorted(one.items()))))
    (plain / "model.safetensors").write_bytes(safetensors(dict(sorted(other.items()))))
    text = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps({**text, "quantization_config": config}))
    return packed, plain


@pytest.mark.parametrize("kind", KINDS)
def test_weights_widen_to_the_formats_formula(tmp_path: Path, kind: str) -> None:
    packed, plain = (Checkpoint.open(folder) for folder in write(tmp_path, kind))
    assert list(packed.tensors) == list(plain.tensors)
    assert packed.shapes == plain.shapes
    assert "dequantized" in packed.quantized
    for name in plain.tensors:
        wanted = plain.read(name)
        np.testing.assert_allclose(packed.read(name), wanted, rtol=3e-7, atol=1e-12)
        if wanted.ndim == 2:
            some = packed.read(name, slice(3, 77))
            assert np.array_equal(some, packed.read(name)[3:77])


@pytest.mark.parametrize("kind", ["fp8 blocks", "gptq 4", "awq", "nf4 nested", "int8"])
def test_ladders_are_those_of_the_widened_checkpoint(tmp_path: Path, kind: str) -> None:
    packed, plain = write(tmp_path, kind)
    ladders = [convert(f, f.parent / "out", ladder="Q8_0,F16") for f in (packed, plain)]
    for one, other in zip(*(ladder.paths for ladder in ladders), strict=True):
        same = np.frombuffer(one.read_bytes(), np.uint8) == np.frombuffer(
            other.read_bytes(), np.uint8
        )
        # float32 rounding in another order can move a weight by a step of its type
        assert np.count_nonzero(~same) <= same.size // 10_000, one.name


def test_an_unknown_method_is_named_with_those_known(tmp_path: Path, capsys) -> None:
    folder = write_llama(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "aqlm"}
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["convert", str(folder), "-o", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert "'aqlm'" in error
    assert "gptq, awq" in error


DAMAGE = {
    "gptq 4": ("scales", "scales", "qzeros"),
    "awq": ("qzeros", "qzeros", "scales"),
    "nf4": ("absmax", "absmax", "quant_map"),
    "fp8 blocks": ("weight_scale_inv",),
}


@pytest.mark.parametrize("kind", ["gptq 4", "awq", "nf4", "nf4 nested"])
def test_a_missing_part_is_named(tmp_path: Path, kind: str) -> None:
    from ggufkit.checkpoint.quantized import dequantized_view

    folder, _ = write(tmp_path, kind)
    config = json.loads((folder / "config.json").read_text())
    from ggufkit.checkpoint.shards import read_tensors

    tensors = read_tensors(folder)
    suffix = {"gptq 4": "qzeros", "awq": "scales"}.get(kind, "weight.absmax")
    gone = next(name for name in tensors if name.endswith(suffix))
    del tensors[gone]
    with pytest.raises(CheckpointError, match="is missing"):
        dequantized_view(config, tensors)


@pytest.mark.parametrize("kind", ["nf4", "nf4-nested", "fp4", "fp4-nested"])
def test_files_of_bitsandbytes_widen_to_what_it_says(kind: str) -> None:
    """``bitsandbytes.safetensors`` has what version 0.50 packs, and what it unpacks to."""
    from ggufkit.checkpoint.quantized import dequantized_view
    from ggufkit.checkpoint.safetensors import read_float32, read_header

    tensors = read_header(Path(__file__).parent / "bitsandbytes.safetensors")
    config = {"quantization_config": {"quant_method": "bitsandbytes"}}
    found, _ = dequantized_view(config, tensors)
    expected = read_float32(tensors[f"{kind}.expected"])
    np.testing.assert_allclose(read_float32(found[f"{kind}.weight"]), expected, rtol=1e-6)
    some = read_float32(found[f"{kind}.weight"], slice(5, 9))
    np.testing.assert_allclose(some, expected[5:9], rtol=1e-6)
