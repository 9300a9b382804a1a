"""Tensors without weights, with one or too many dimensions: refused by name, or written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

import ggufkit
from ggufkit.checkpoint import Checkpoint
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.toolbox.endian import convert_endian
from ggufkit.types import TensorType
from tests import build
from tests.checkpoint.build import safetensors
from tests.checkpoint.test_folder_kinds import write_adapter
from tests.checkpoint.test_quantized import entry
from tests.llama import write_llama

DOWN = "model.layers.0.mlp.down_proj.weight"


def llama_with(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    checkpoint = Checkpoint.open(write_llama(folder))
    entries = {each: entry("F32", checkpoint.read(each)) for each in checkpoint.tensors}
    entries[name] = entry("F32", np.zeros(shape, np.float32))
    (folder / "model.safetensors").write_bytes(safetensors(dict(sorted(entries.items()))))
    return folder


@pytest.mark.parametrize("ladder", ["F16", "Q4_K_M"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (DOWN, (64, 0)),
        (DOWN, (0, 512)),
        (DOWN, (0,)),
        (DOWN, (0, 0)),
        ("model.norm.weight", (0,)),
        ("model.embed_tokens.weight", (320, 0)),
        (DOWN, (1, 1, 1, 256, 512)),
    ],
)
def test_a_checkpoints_tensor_that_can_not_be_is_refused(
    tmp_path: Path, name: str, shape: tuple, ladder: str, capsys
) -> None:
    folder = llama_with(tmp_path / "m", name, shape)
    words = ["convert", str(folder), "-o", str(tmp_path / "out"), "--ladder", ladder]
    assert main(words) == 3
    error = capsys.readouterr().err
    assert name in error
    assert str(shape) in error
    assert not list(tmp_path.glob("out/*"))


def test_a_tensor_without_weights_that_nothing_knows_is_refused(tmp_path: Path, capsys) -> None:
    folder = llama_with(tmp_path / "m", "marker", (0,))
    assert main(["convert", str(folder), "-o", str(tmp_path / "out")]) == 3
    assert "marker" in capsys.readouterr().err


@pytest.mark.parametrize("half", ["A", "B"])
def test_an_empty_half_of_an_adapter_is_refused(tmp_path: Path, half: str, capsys) -> None:
    base = write_llama(tmp_path / "base")
    folder = write_adapter(tmp_path / "a", base)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    shapes = {"A": (2, 256), "B": (256, 2), half: (2, 0) if half == "A" else (0, 2)}
    entries = {name.format(h): entry("F32", np.zeros(s, np.float32)) for h, s in shapes.items()}
    (folder / "adapter_model.safetensors").write_bytes(safetensors(entries))
    for words in (
        ["lora", str(folder), "--base", str(base), "-o", str(tmp_path / "x.gguf")],
        ["convert", str(base), "--merge-lora", str(folder), "-o", str(tmp_path / "y.gguf")],
    ):
        assert main(words) == 3
        assert "holds no weights" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.gguf"))


ODD = {
    "marker of [0]": [0],
    "64 rows of none": [0, 64],
    "no rows of 64": [64, 0],
    "scalar": [],
    "four dimensions": [2, 2, 2, 2],
    "ones": [1, 1, 1, 32],
}


def write_gguf(path: Path, ne: list[int], name: str = "odd") -> Path:
    tensors, data = [], b""
    for each, shape in (("blk.0.ffn_up.weight", [256, 4]), (name, ne), ("last", [32])):
        tensors.append(build.tensor(each, shape, 0, len(data)))
        values = np.arange(int(np.prod(shape)), dtype="<f4").tobytes()
        data += values + bytes(-len(values) % 32)
    pairs = [build.pair("general.architecture", build.STR, "made-up")]
    path.write_bytes(build.file(pairs, tensors, data))
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {t.name: t.data.tobytes() for t in GGUFReader(path).tensors}


@pytest.mark.parametrize("ladder", ["F32", "F16", "Q8_0", "Q4_K"])
@pytest.mark.parametrize("kind", ODD)
def test_a_gguf_sources_odd_tensor_is_copied(tmp_path: Path, kind: str, ladder: str) -> None:
    source = write_gguf(tmp_path / "m.gguf", ODD[kind])
    (path,) = convert(source, tmp_path / "out", ladder=ladder).paths
    before, after = contents(source), contents(path)
    assert before.keys() == after.keys()
    assert after["last"] == before["last"]
    if len(ODD[kind]) < 2 or ladder == "F32":
        assert after["odd"] == before["odd"]


@pytest.mark.parametrize("kind", ODD)
def test_other_commands_keep_it(tmp_path: Path, kind: str) -> None:
    source = write_gguf(tmp_path / "m.gguf", ODD[kind])
    made = {name: tmp_path / f"{name}.gguf" for name in ("copied", "edited", "swapped", "back")}
    for words in (
        ["copy", str(source), str(made["copied"])],
        ["edit", str(source), "-o", str(made["edited"]), "--set", "general.name=x"],
        ["convert-endian", str(source), str(made["swapped"]), "big"],
        ["split", str(source), str(tmp_path / "part"), "--max-tensors", "1"],
        ["merge", str(tmp_path / "part-00001-of-00003.gguf"), str(tmp_path / "whole.gguf")],
        ["diff", str(source), str(tmp_path / "whole.gguf")],
        ["hash", str(source)],
        ["inspect", str(source)],
        ["compare", str(source), str(source)],
    ):
        assert main(words) == 0, words
    convert_endian(made["swapped"], made["back"], "little")
    for path in (made["copied"], made["edited"], made["back"], tmp_path / "whole.gguf"):
        assert contents(path) == contents(source), path


def test_too_many_dimensions_and_too_long_names_are_refused(tmp_path: Path, capsys) -> None:
    for path in (
        write_gguf(tmp_path / "five.gguf", [2, 2, 2, 2, 2], "fiveD"),
        write_gguf(tmp_path / "long.gguf", [32], "n" * 64),
    ):
        assert main(["convert", str(path), "-o", str(tmp_path / "out")]) == 3
        error = capsys.readouterr().err
        assert "fiveD" in error or "nnn" in error
    assert not (tmp_path / "out").exists()
    assert convert(write_gguf(tmp_path / "63.gguf", [32], "n" * 63), tmp_path / "o", ladder="F16")


@pytest.mark.parametrize("name", ["marker", "blk.0.ffn_down.weight"])
@pytest.mark.parametrize("shape", [(0,), (64, 0)])
def test_no_checkpoint_is_made_of_a_tensor_without_weights(
    tmp_path: Path, name: str, shape: tuple, capsys
) -> None:
    (path,) = convert(write_llama(tmp_path / "m"), tmp_path / "m.gguf", ladder="F32").paths
    with ggufkit.open(path) as model:
        tensors = {n: (ggufkit.dequantize(model[n]), TensorType.F32) for n in model.tensors}
        tensors[name] = (np.zeros(shape, np.float32), TensorType.F32)
        ggufkit.save(tmp_path / "odd.gguf", model.metadata, tensors)
    assert main(["export-hf", str(tmp_path / "odd.gguf"), str(tmp_path / "hf")]) == 3
    error = capsys.readouterr().err
    assert f"{name!r} has shape {shape}" in error
    assert not (tmp_path / "hf").exists()
