"""Weights that lie on Q4_0's grid are noticed, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import dequantize, quantize

from ggufkit.checkpoint import Checkpoint
from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source
from ggufkit.converter.planning.qat_grid import is_quantization_aware
from tests.checkpoint.build import safetensors
from tests.llama import write_llama


def bfloat16(values: np.ndarray) -> tuple[str, list[int], bytes]:
    rows = values.reshape(-1, values.shape[-1]).astype(np.float32)
    return "BF16", list(values.shape), quantize(rows, Type.BF16).tobytes()


def write(folder: Path, type_: Type | None) -> Path:
    """Write a llama in BF16 whose weights have been through `type_`."""
    write_llama(folder)
    checkpoint, rng = Checkpoint.open(folder), np.random.default_rng(0)
    entries = {}
    for name in checkpoint.tensors:
        values = checkpoint.read(name)
        if values.ndim == 2:
            values = (rng.standard_normal(values.shape) / 30).astype(np.float32)
            if type_ is not None:
                values = dequantize(quantize(values, type_), type_)
        entries[name] = bfloat16(values)
    (folder / "model.safetensors").write_bytes(safetensors(entries))
    return folder


@pytest.mark.parametrize(
    ("type_", "found"), [(Type.Q4_0, True), (Type.Q5_0, False), (Type.Q8_0, False), (None, False)]
)
def test_the_grid_is_seen_through_bfloat16(tmp_path: Path, type_, found: bool) -> None:
    assert is_quantization_aware(open_source(write(tmp_path / "Tiny", type_))) is found


def test_the_plan_says_it(tmp_path: Path, capsys) -> None:
    folder = write(tmp_path / "Tiny", Type.Q4_0)
    assert main(["convert", str(folder), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "lie on the grid of Q4_0" in " ".join(capsys.readouterr().out.split())


def test_zeros_and_weights_that_are_no_numbers_lie_on_no_grid(tmp_path: Path) -> None:
    folder = write(tmp_path / "Tiny", None)
    for value in (0.0, np.nan):
        checkpoint = Checkpoint.open(folder)
        entries = {
            name: bfloat16(np.full(shape, value)) for name, shape in checkpoint.shapes.items()
        }
        (folder / "model.safetensors").write_bytes(safetensors(entries))
        assert not is_quantization_aware(open_source(folder))
