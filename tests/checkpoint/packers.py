"""Packs weights by the public descriptions of the formats: parts, and what they stand for."""

from __future__ import annotations

import numpy as np

from tests.checkpoint.test_quantized import E4M3, RNG, Packed, entry, pack_bits, pack_fp8

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
Shape = tuple[int, int]
Pair = tuple[Packed, np.ndarray]


def halves(shape: Shape, size: float = 1 / 50) -> np.ndarray:
    """Return float16 scales."""
    return ((RNG.random(shape) + 0.01) * size).astype(np.float16)


def ct_pack(
    name: str, shape: Shape, bits: int, size: int, *, zero: bool = False, order: bool = False
) -> Pair:
    rows, cols = shape
    low = 1 << bits - 1
    codes = RNG.integers(-low, low, shape)
    zeros = RNG.integers(-low, low, (rows, cols // size)) if zero else np.zeros((rows, 1), int)
    scales = halves((rows, cols // size))
    group = np.arange(cols) // size
    if order:
        group = RNG.permutation(group)
    picked = zeros[:, group] if zero else zeros
    plain = (codes - picked).astype(np.float32) * scales.astype(np.float32)[:, group]
    prefix = f"{name}.weight"
    parts = {
        f"{prefix}_packed": entry("I32", pack_bits((codes + low).T, bits).T),
        f"{prefix}_scale": entry("F16", scales),
        f"{prefix}_shape": entry("I64", np.array(shape, np.int64)),
    }
    if zero:
        parts[f"{prefix}_zero_point"] = entry("I32", pack_bits(zeros + low, bits))
    if order:
        parts[f"{prefix}_g_idx"] = entry("I32", group.astype(np.int32))
    return parts, plain


def ct_int8(name: str, shape: Shape) -> Pair:
    codes, scales = RNG.integers(-127, 128, shape).astype(np.int8), halves((shape[0], 1))
    parts = {f"{name}.weight": entry("I8", codes), f"{name}.weight_scale": entry("F16", scales)}
    return parts, codes.astype(np.float32) * scales.astype(np.float32)


def fp4_codes(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return packed bytes and the values of their codes."""
    codes = RNG.integers(0, 16, shape)
    return (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8), E2M1[codes]


def mxfp4(name: str, shape: Shape) -> Pair:
    packed, values = fp4_codes(shape)
    exponents = RNG.integers(115, 125, (shape[0], shape[1] // 32)).astype(np.uint8)
    wide = np.repeat(2.0 ** (exponents.astype(int) - 127), 32, axis=1)
    prefix = f"{name}.weight"
    parts = {f"{prefix}_packed": entry("U8", packed), f"{prefix}_scale": entry("U8", exponents)}
    return parts, (values * wide).astype(np.float32)


def nvfp4(name: str, shape: Shape, *, modelopt: bool) -> Pair:
    packed, values = fp4_codes(shape)
    scales = RNG.integers(0x20, 0x60, (shape[0], shape[1] // 16)).astype(np.uint8)
    wide = np.repeat(E4M3[scales], 16, axis=1)
    factor = np.float32(0.003)
    prefix = f"{name}.weight"
    if modelopt:
        ours = {prefix: entry("U8", packed), f"{prefix}_scale_2": entry("F32", factor)}
        ours[f"{name}.input_scale"] = entry("F32", np.float32(2))
    else:
        ours = {
            f"{prefix}_packed": entry("U8", packed),
            f"{prefix}_global_scale": entry("F32", (1 / factor).reshape(1)),
        }
    parts = {**ours, f"{prefix}_scale": entry("F8_E4M3", scales)}
    return parts, (values * wide * float(factor)).astype(np.float32)


def modelopt_fp8(name: str, shape: Shape) -> Pair:
    parts, plain = pack_fp8(name, shape, "tensor")
    return parts, plain


def text(value: str) -> tuple[str, list[int], bytes]:
    return entry("U8", np.frombuffer(value.encode(), np.uint8))


def number(value: int) -> tuple[str, list[int], bytes]:
    return entry("I32", np.array(value, np.int32))


def hqq(name: str, shape: Shape, bits: int, axis: int, size: int = 64) -> Pair:
    n = shape[0] * shape[1]
    grid = (n // size, size) if axis else (size, n // size)
    codes = RNG.integers(0, 2**bits, grid)
    per_group = (grid[0], 1) if axis else (1, grid[1])
    scales, zeros = halves(per_group), RNG.random(per_group).astype(np.float16) * 2**bits
    plain = (codes - zeros.astype(np.float32)) * scales.astype(np.float32)
    each = {8: 1, 4: 2, 3: 10, 2: 4, 1: 8}[bits]
    padded = np.zeros((-(-grid[0] // each) * each, grid[1]), np.int64)
    padded[: grid[0]] = codes
    step = len(padded) // each
    packed = sum(
        padded[k * step : (k + 1) * step] << bits * (each - 1 - k) for k in range(each)
    )  # fmt: skip
    kind, form = ("I32", np.int32) if bits == 3 else ("U8", np.uint8)
    parts = {
        f"{name}.W_q": entry(kind, np.asarray(packed).astype(form)),
        f"{name}.scale": entry("F16", scales),
        f"{name}.zero": entry("F16", zeros),
        f"{name}.shape": entry("I64", np.array(shape, np.int64)),
        f"{name}.axis": number(axis),
        f"{name}.group_size": number(size),
        f"{name}.nbits": number(bits),
        f"{name}.packing": text("3bit_32" if bits == 3 else f"{bits}bit_u8"),
        f"{name}.compute_dtype": text("torch.float16"),
    }
    return parts, plain.reshape(shape).astype(np.float32)


def torchao_int4(name: str, shape: Shape, *, symmetric: bool) -> Pair:
    rows, cols = shape
    signed = RNG.integers(-8, 8, shape)
    scales = halves((cols // 128, rows))
    added = np.zeros_like(scales) if symmetric else halves(scales.shape)
    codes = signed & 15
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8).view(np.int8)
    wide, more = (np.repeat(v.astype(np.float32).T, 128, axis=1) for v in (scales, added))
    stem = f"{name}._weight_"
    parts = {
        f"{stem}qdata": entry("I8", packed),
        f"{stem}scale": entry("F16", scales),
        f"{stem}zero_point": entry("F16", added),
    }
    return parts, signed.astype(np.float32) * wide + more


def torchao_int8(name: str, shape: Shape) -> Pair:
    parts, plain = ct_int8(name, shape)
    codes, scales = parts.values()
    stem = f"{name}._weight_"
    return {f"{stem}qdata": codes, f"{stem}scale": scales}, plain


def torchao_float8(name: str, shape: Shape) -> Pair:
    parts, plain = pack_fp8(name, shape, "row")
    codes, scales = parts.values()
    stem = f"{name}._weight_"
    return {f"{stem}qdata": codes, f"{stem}scale": scales}, plain


def ct_config(form: str, **weights: object) -> dict:
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"weights": weights, "targets": ["Linear"]}},
    }


_PACK = ct_config("pack-quantized", num_bits=4, group_size=64)
_TORCHAO = {"quant_method": "torchao"}

KINDS = {
    **{
        f"ct pack {bits}": (
            ct_config("pack-quantized", num_bits=bits, group_size=64),
            lambda n, s, bits=bits: ct_pack(n, s, bits, 64),
        )
        for bits in (2, 3, 4, 8)
    },
    "ct pack channel": (
        ct_config("pack-quantized", num_bits=4),
        lambda n, s: ct_pack(n, s, 4, s[1]),
    ),
    "ct pack zeros": (_PACK, lambda n, s: ct_pack(n, s, 4, 64, zero=True)),
    "ct pack order": (_PACK, lambda n, s: ct_pack(n, s, 4, 64, order=True)),
    "ct int8": (ct_config("int-quantized", num_bits=8), ct_int8),
    "ct fp8": (ct_config("float-quantized", num_bits=8), lambda n, s: pack_fp8(n, s, "row")),
    "ct nvfp4": (
        ct_config("nvfp4-pack-quantized", num_bits=4),
        lambda n, s: nvfp4(n, s, modelopt=False),
    ),
    "ct mxfp4": (ct_config("mxfp4-pack-quantized", num_bits=4, group_size=32), mxfp4),
    "modelopt nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        lambda n, s: nvfp4(n, s, modelopt=True),
    ),
    "modelopt fp8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, modelopt_fp8),
    "modelopt of old": (None, lambda n, s: nvfp4(n, s, modelopt=True)),
    **{
        f"hqq {bits} axis {axis}": (
            {"quant_method": "hqq"},
            lambda n, s, bits=bits, axis=axis: hqq(n, s, bits, axis),
        )
        for bits in (8, 4, 3, 2, 1)
        for axis in (0, 1)
    },
    "torchao int4": (_TORCHAO, lambda n, s: torchao_int4(n, s, symmetric=False)),
    "torchao int4 symmetric": (_TORCHAO, lambda n, s: torchao_int4(n, s, symmetric=True)),
    "torchao int8": (_TORCHAO, torchao_int8),
    "torchao float8": (_TORCHAO, torchao_float8),
}
