"""What --search thorough gains over ggml's search: squared error and speed, per type."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import ggufkit
from ggufkit.codecs import dequantize, quantize
from ggufkit.codecs.affine_form import FORMS


def sample(path: Path | None) -> np.ndarray:
    """Return rows of weights: of a GGUF file's largest block tensor, or random with outliers."""
    if path is not None:
        with ggufkit.open(path) as file:
            infos = [i for i in file.tensors.values() if "ffn" in i.name and len(i.shape) == 2]
            info = max(infos, key=lambda i: i.n_weights if i.shape[1] % 256 == 0 else 0)
            return ggufkit.dequantize(file[info.name])
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((128, 4096)) * 0.05).astype(np.float32)
    rows[rng.random(rows.shape) < 0.002] *= 8
    return rows


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="GGUF file to take weights from")
    rows = sample(parser.parse_args().file)
    importance = np.random.default_rng(2).random(rows.shape[1]).astype(np.float32) ** 2
    print(f"{rows.size / 1e6:.1f} M weights, squared error less than with ggml's search")
    print("| type | plain | with importance | M weights/s |")
    print("|---|---|---|---|")
    for tensor_type in FORMS:
        gains = []
        for given in (None, importance):
            weight = 1.0 if given is None else given.astype(np.float64)
            errors = []
            for search in ("ggml", "thorough"):
                start = time.perf_counter()
                data = quantize(rows, tensor_type, importance=given, search=search)
                rate = rows.size / (time.perf_counter() - start)
                error = dequantize(data, tensor_type).astype(np.float64) - rows
                errors.append((error**2 * weight).sum())
            gains.append(1 - errors[1] / errors[0] if errors[0] else 0.0)
        print(f"| {tensor_type.name} | {gains[0]:.1%} | {gains[1]:.1%} | {rate / 1e6:.1f} |")


if __name__ == "__main__":
    main()
