"""Make the MLX files of tests/checkpoint/quantized: what mlx packs, and what it unpacks that to.

Run it where mlx 0.32 is (`pip install "mlx[cpu]"` on Linux); the repository does not need it. Each
file has the parts of ``layer.weight``, and as ``expected`` what ``mlx.core.dequantize`` makes of
them with scales and biases in float32; its metadata has the ``quantization`` of config.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx

OUT = Path(__file__).parents[1] / "tests" / "checkpoint" / "quantized"
SHAPE = (12, 256)


def save(bits: int, group_size: int, dtype: mx.Dtype, shape: tuple[int, ...] = SHAPE) -> None:
    mx.random.seed(bits * group_size)
    weight = (mx.random.normal(shape) / 20).astype(dtype)
    settings = {"group_size": group_size, "bits": bits}
    codes, scales, biases = mx.quantize(weight, **settings)
    wide = (scales.astype(mx.float32), biases.astype(mx.float32))
    kind = str(dtype).rpartition(".")[2]
    name = f"mlx-{bits}-{group_size}-{kind}" + ("-stack" if len(shape) > 2 else "")
    parts = {"layer.weight": codes, "layer.scales": scales, "layer.biases": biases}
    parts["expected"] = mx.dequantize(codes, *wide, **settings)
    metadata = {"config": json.dumps({"quantization": settings})}
    mx.save_safetensors(str(OUT / f"{name}.safetensors"), parts, metadata)


def main() -> None:
    mx.set_default_device(mx.cpu)
    for bits in (2, 3, 4, 5, 6, 8):
        save(bits, 64, mx.bfloat16)
    for group_size in (32, 128):
        save(4, group_size, mx.float16)
    save(5, 32, mx.float16)
    save(3, 32, mx.float16)
    save(4, 64, mx.float16, (10, 4, 64))


if __name__ == "__main__":
    main()
