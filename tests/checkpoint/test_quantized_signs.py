"""Quantized weights without a quantization_config: dequantized by their tensors, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf import dequantize as gguf_dequantize

from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.safetensors import read_header
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert, open_source
from ggufkit.errors import CheckpointError, GGUFKitError
from tests.architectures.test_converted import CASES, patch_vocabulary, write_case
from tests.checkpoint.build import safetensors
from tests.checkpoint.packers import KINDS
from tests.checkpoint.test_quantized import KINDS as OLDER
from tests.checkpoint.test_quantized import RNG, entry, pack_int8, write
from tests.llama import write_llama

ALL = {**OLDER, **KINDS}
MLX = {path.stem: path for path in (Path(__file__).parent / "quantized").glob("mlx-*.safetensors")}
#: The number of bits or the meaning of zero points is in the config alone.
UNTOLD = [kind for kind in ALL if kind.startswith("gptq")]


def without_config(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    config.pop("compression_config", None)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in UNTOLD])
def test_tensors_alone_tell_the_method(tmp_path: Path, kind: str) -> None:
    packed, plain = write(tmp_path, kind, ALL)
    found, wanted = Checkpoint.open(without_config(packed)), Checkpoint.open(plain)
    assert found.shapes == wanted.shapes
    assert "dequantized" in found.quantized
    for name in wanted.tensors:
        np.testing.assert_allclose(found.read(name), wanted.read(name), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("kind", UNTOLD)
def test_gptq_without_its_settings_is_refused_and_read_with_those_beside(
    tmp_path: Path, kind: str
) -> None:
    packed, plain = write(tmp_path, kind, ALL)
    with pytest.raises(CheckpointError, match=r"GPTQ.*quantize_config\.json"):
        Checkpoint.open(without_config(packed))
    settings = {k: v for k, v in ALL[kind][0].items() if k != "quant_method"}
    (packed / "quantize_config.json").write_text(json.dumps(settings))
    found, wanted = Checkpoint.open(packed), Checkpoint.open(plain)
    for name in wanted.tensors:
        np.testing.assert_allclose(found.read(name), wanted.read(name), rtol=3e-7, atol=1e-12)


def llama_with(folder: Path, dtype: str, more: dict | None = None) -> Path:
    """A llama one of whose matrices is stored in `dtype`, with other tensors next to it."""
    folder = write_llama(folder)
    checkpoint = Checkpoint.open(folder)
    name = "model.layers.0.mlp.down_proj.weight"
    entries = {n: entry("F32", checkpoint.read(n)) for n in checkpoint.tensors}
    shape = checkpoint.shapes[name]
    size = {"I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I32": 4, "U32": 4, "I64": 8}[dtype]
    data = RNG.integers(1, 100, (*shape, size), np.uint8).tobytes()
    entries[name] = (dtype, list(shape), data)
    entries |= more or {}
    (folder / "model.safetensors").write_bytes(safetensors(dict(sorted(entries.items()))))
    return folder


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "F8_E5M2", "I32", "U32", "I64"])
def test_codes_are_never_taken_for_weights(tmp_path: Path, dtype: str, capsys) -> None:
    folder = llama_with(tmp_path / "m", dtype)
    assert main(["convert", str(folder), "-o", str(tmp_path / "out"), "--ladder", "F16"]) == 3
    error = capsys.readouterr().err
    assert "model.layers.0.mlp.down_proj.weight" in error
    assert dtype in error
    assert not list(tmp_path.glob("out/*.gguf"))


PART = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("dtype", "part", "method"),
    [
        ("U8", f"{PART}.weight.absmax", "bitsandbytes"),
        ("I8", f"{PART}.weight_scales", "EETQ"),
        ("I8", f"{PART}.weight._data", "Quanto"),
        ("I32", f"{PART}.codebooks", "AQLM"),
    ],
)
def test_methods_that_cannot_be_read_are_named(tmp_path: Path, dtype, part, method) -> None:
    folder = llama_with(tmp_path / "m", dtype, {part: entry("F32", np.ones(4, np.float32))})
    with pytest.raises(CheckpointError, match=f"{method}.*original model"):
        Checkpoint.open(folder)


def test_parts_that_the_named_method_does_not_explain_are_refused(tmp_path: Path) -> None:
    packed, _ = write(tmp_path, "int8", {"int8": ({"quant_method": "awq"}, pack_int8)})
    with pytest.raises(CheckpointError, match=r"awq, but .*SCB .* of bitsandbytes"):
        Checkpoint.open(packed)


def test_a_method_without_quantized_weights_is_said(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    origin = open_source(folder, self_test=False).origin
    assert "quantized" not in origin
    assert "(bitsandbytes), but none is" in " ".join(origin["notes"])


def mlx_parts(bits: int, size: int, shape: tuple[int, int]) -> tuple[dict, np.ndarray]:
    """A matrix of a number of columns that mlx's file has, made of its rows."""
    kind = "float16" if (bits, size) in ((4, 32), (4, 128), (3, 32), (5, 32)) else "bfloat16"
    stored = read_header(MLX[f"mlx-{bits}-{size}-{kind}"])
    raw = MLX[f"mlx-{bits}-{size}-{kind}"].read_bytes()
    parts = {}
    for part, tensor in stored.items():
        rows = [raw[tensor.offset :][: tensor.nbytes]]
        each = tensor.nbytes // tensor.shape[0]
        n_rows = shape[0] * shape[1] // 256
        data = (rows[0] * (n_rows // tensor.shape[0] + 1))[: n_rows * each]
        columns = tensor.shape[1] * shape[1] // 256
        parts[part] = (tensor.dtype, [shape[0], columns], data)
    wide = np.frombuffer(parts.pop("expected")[2], "<f4").reshape(shape)
    return parts, wide


def write_mlx(folder: Path, *, settings: dict | None, other: str = "") -> tuple[Path, Path]:
    """A llama in 4 bits, embeddings and output too, and its plain twin; `other` is in 6 bits."""
    packed, plain = (write_llama(folder / name / "Tiny") for name in ("packed", "plain"))
    checkpoint = Checkpoint.open(plain)
    one, two = {}, {}
    for name, shape in checkpoint.shapes.items():
        values = checkpoint.read(name)
        stem = name.removesuffix(".weight")
        if len(shape) == 2:
            bits, size = (6, 64) if stem == other else (4, 32)
            parts, values = mlx_parts(bits, size, shape)
            one |= {part.replace("layer", stem, 1): content for part, content in parts.items()}
        else:
            one[name] = entry("F32", values)
        two[name] = entry("F32", values)
    (packed / "model.safetensors").write_bytes(safetensors(dict(sorted(one.items()))))
    (plain / "model.safetensors").write_bytes(safetensors(dict(sorted(two.items()))))
    if settings is not None:
        config = json.loads((packed / "config.json").read_text())
        # mlx-lm writes the same under both keys
        config |= {"quantization": settings, "quantization_config": settings}
        (packed / "config.json").write_text(json.dumps(config))
    return packed, plain


@pytest.mark.parametrize("other", ["", "lm_head", "model.layers.1.mlp.up_proj"])
def test_mlx_converts_with_settings_per_module(tmp_path: Path, other: str) -> None:
    settings = {"group_size": 32, "bits": 4}
    if other:
        settings[other] = {"group_size": 64, "bits": 6}
    packed, plain = write_mlx(tmp_path, settings=settings, other=other)
    files = [convert(f, f.parent / "x.gguf", ladder="F32").paths[0] for f in (packed, plain)]
    for one, two in zip(*(GGUFReader(path).tensors for path in files), strict=True):
        assert np.array_equal(one.data, two.data), one.name


def test_q4_1_has_mlx_weights_of_4_bits_without_rounding(tmp_path: Path) -> None:
    packed, plain = write_mlx(tmp_path, settings={"group_size": 32, "bits": 4})
    ladder = convert(packed, tmp_path / "out", ladder="Q4_1")
    assert "Q4_1 keeps 16 tensors" in ladder.plan.source.origin["quantized"]
    wide = convert(plain, tmp_path / "wide.gguf", ladder="F32").paths[0]
    exact = {tensor.name: tensor.data for tensor in GGUFReader(wide).tensors}
    kept = [t for t in GGUFReader(ladder.paths[0]).tensors if t.tensor_type.name == "Q4_1"]
    assert len(kept) >= 14
    for tensor in kept:
        decoded = gguf_dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(decoded, exact[tensor.name]), tensor.name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, "quantized by MLX.*take config.json from the same repository"),
        ({"bits": 4}, "group_size None"),
        ({"bits": 7, "group_size": 64}, "bits 7"),
        ({"bits": 8, "group_size": 32}, "scales.*expected"),
        ({"bits": 4, "group_size": 64}, "expected"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mode 'mxfp4'"),
    ],
)
def test_mlx_without_the_right_settings_is_refused(tmp_path: Path, settings, said) -> None:
    packed, _ = write_mlx(tmp_path, settings=settings)
    with pytest.raises(CheckpointError, match=said):
        Checkpoint.open(packed)


def test_a_convolution_that_mlx_has_transposed_is_refused(tmp_path: Path) -> None:
    packed, _ = write_mlx(tmp_path, settings={"group_size": 32, "bits": 4})
    path = packed / "model-2.safetensors"
    path.write_bytes(safetensors({"model.conv1d.weight": entry("F32", np.ones((8, 4, 1), "<f4"))}))
    with pytest.raises(GGUFKitError, match="MLX transposes convolutions"):
        Checkpoint.open(packed)


@pytest.mark.parametrize("name", ["mamba", "qwen3_next", "lfm2"])
def test_so_is_one_of_a_model_that_mlx_has_saved_in_16_bits(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    case = json.loads(CASES[name].read_text())
    patch_vocabulary(monkeypatch, case)
    moved = {n: s for n, s in case["checkpoint"].items() if "conv" in n and len(s[1]) == 3}
    assert moved
    for each, (dtype, (channels, one, width)) in moved.items():
        assert one == 1
        case["checkpoint"][each] = (dtype, [channels, width, 1])
    write_case(tmp_path / "m", case)
    with pytest.raises(CheckpointError, match="MLX transposes convolutions"):
        open_source(tmp_path / "m", self_test=False)
