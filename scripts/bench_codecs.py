"""Encoding and decoding speed of every type on one thread: numpy, kernels, ggml's C, gguf-py.

All on the same weights, in the same run, in million weights per second: the best of a few runs
that take about SECONDS each. "x ggml" is the kernels' speed over ggml's reference C
(``ggml_quantize_chunk``, ``dequantize_row_*``), "x gguf" over gguf-py, a dash where it can't.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gguf
import numpy as np
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.codecs import CODECS, dequantize, quantize
from ggufkit.types import TensorType
from tests.ggml import Ggml, load_ggml

N_COLS = 2048
SECONDS = 0.2


def rate(work: Callable[[int], object]) -> float:
    """Return million weights per second of `work(n_rows)`, with as many rows as take SECONDS."""
    n_rows, best = 8, 0.0
    work(1)
    while True:
        start = time.perf_counter()
        work(n_rows)
        seconds = time.perf_counter() - start
        best = max(best, n_rows * N_COLS / seconds / 1e6)
        if seconds >= SECONDS / 2 or n_rows == MAX_ROWS:
            break
        n_rows = min(MAX_ROWS, max(2 * n_rows, int(n_rows * SECONDS / max(seconds, 1e-4))))
    for _ in range(2):
        start = time.perf_counter()
        work(n_rows)
        best = max(best, n_rows * N_COLS / (time.perf_counter() - start) / 1e6)
    return best


MAX_ROWS = 4096


def forced(level: str, work: Callable[[int], object]) -> float | None:
    """Measure `work` with GGUFKIT_KERNELS=level; None where it can't be done."""
    before = os.environ.get(kernels.VARIABLE)
    os.environ[kernels.VARIABLE] = level
    try:
        return rate(work)
    finally:
        os.environ.pop(kernels.VARIABLE)
        if before is not None:
            os.environ[kernels.VARIABLE] = before


def attempt(work: Callable[[int], object]) -> float | None:
    """Measure what may not exist for this type."""
    try:
        return rate(work)
    except (NotImplementedError, AttributeError, KeyError, ValueError):
        return None


def ggml_decoder(ggml: Ggml, tensor_type: TensorType) -> Callable[..., None]:
    """Return ggml's function (data, out, n_weights); AttributeError where there is none."""
    name = tensor_type.name.lower()
    name = name.removesuffix("k") + "K" if name.endswith("_k") else name
    rows = {"f16": "ggml_fp16_to_fp32_row", "bf16": "ggml_bf16_to_fp32_row"}
    function = getattr(ggml.lib, rows.get(name, f"dequantize_row_{name}"))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return function


def in_gguf_py(tensor_type: TensorType) -> gguf.GGMLQuantizationType:
    """Return gguf-py's name for a type; ValueError where it is newer than gguf-py."""
    return gguf.GGMLQuantizationType(int(tensor_type))


def encoding(
    ggml: Ggml,
    tensor_type: TensorType,
    values: NDArray[np.float32],
    importance: NDArray[np.float32] | None,
) -> list[float | None]:
    """Return the four speeds of encoding."""

    def ours(n: int) -> None:
        quantize(values[:n], tensor_type, importance=importance)

    native = forced(kernels.active(), ours) if kernels.encoder(tensor_type) else None
    return [
        forced("none", ours),
        native,
        attempt(lambda n: ggml.quantize(values[:n], tensor_type, importance)),
        attempt(lambda n: gguf.quantize(values[:n], in_gguf_py(tensor_type)))
        if importance is None
        else None,
    ]


def decoding(ggml: Ggml, tensor_type: TensorType, data: NDArray[np.uint8]) -> list[float | None]:
    """Return the four speeds of decoding."""
    out = np.empty((len(data), N_COLS), np.float32)

    def ours(n: int) -> None:
        dequantize(data[:n], tensor_type, out=out[:n])

    def by_ggml(n: int) -> None:
        decode = ggml_decoder(ggml, tensor_type)
        decode(data.ctypes.data, out.ctypes.data, n * N_COLS)

    native = forced(kernels.active(), ours) if kernels.decoder(tensor_type) else None
    return [
        forced("none", ours),
        native,
        attempt(by_ggml),
        attempt(lambda n: gguf.dequantize(data[:n], in_gguf_py(tensor_type))),
    ]


def line(name: str, speeds: list[float | None]) -> str:
    """Format one row of the table."""
    _, native, ggml, gguf_py = speeds
    cells = ["-" if s is None else f"{s:.4g}" for s in speeds]
    cells += [f"{native / s:.1f}" if native and s else "-" for s in (ggml, gguf_py)]
    return f"{name:<18}" + "".join(f"{cell:>9}" for cell in cells)


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="tensor types (default: all with a kernel)")
    parser.add_argument("--encode", action="store_true", help="only encoding")
    parser.add_argument("--decode", action="store_true", help="only decoding")
    args = parser.parse_args()
    names = args.types or [t.name for t in TensorType if t in CODECS and kernels.decoder(t)]
    both = args.encode == args.decode
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((MAX_ROWS, N_COLS)) * 0.02).astype(np.float32)
    importance = rng.random(N_COLS).astype(np.float32)
    ggml = load_ggml()
    print(f"kernels: {kernels.active()}; million weights per second, one thread")
    titles = ("numpy", "kernels", "ggml C", "gguf-py", "x ggml", "x gguf")
    print(f"{'':<18}" + "".join(f"{title:>9}" for title in titles))
    for name in names:
        tensor_type = TensorType[name]
        codec = CODECS[tensor_type]
        if both or args.encode:
            if not codec.needs_importance:
                print(line(name, encoding(ggml, tensor_type, values, None)), flush=True)
            if tensor_type.is_quantized:
                speeds = encoding(ggml, tensor_type, values, importance)
                print(line(f"{name} importance", speeds), flush=True)
        if both or args.decode:
            data = quantize(values, tensor_type, importance=importance)
            print(line(f"{name} decode", decoding(ggml, tensor_type, data)), flush=True)


if __name__ == "__main__":
    main()
