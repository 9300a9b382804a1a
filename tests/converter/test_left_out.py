"""What of a checkpoint has no place in the file: its content decides, and it is said once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from ggufkit.checkpoint.safetensors import read_header
from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source
from ggufkit.errors import ConversionError
from tests.architectures.test_converted import CASES, patch_vocabulary, write_case

HEAD = "lm_head.weight"


def write_with_head(folder: Path, name: str, monkeypatch, *, equal: bool, **config) -> tuple:
    """A checkpoint with an output, equal to the embeddings or not; the output's name and bytes."""
    case = json.loads(CASES[name].read_text())
    patch_vocabulary(monkeypatch, case)
    embeddings = next(
        n for n in case["checkpoint"] if n.endswith(("embed_tokens.weight", "ings.weight"))
    )
    head = f"language_model.{HEAD}" if embeddings.startswith("language_model.") else HEAD
    case["checkpoint"][head] = case["checkpoint"][embeddings]
    case["config"] |= config
    write_case(folder, case)
    tensors = read_header(folder / "model.safetensors")
    raw = bytearray((folder / "model.safetensors").read_bytes())
    spans = [slice(t.offset, t.offset + t.nbytes) for t in (tensors[embeddings], tensors[head])]
    if equal:
        raw[spans[1]] = raw[spans[0]]
        (folder / "model.safetensors").write_bytes(raw)
    return head, bytes(raw[spans[1]])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("gemma3-vision", {}),
        ("gemma3", {"tie_word_embeddings": False}),
        ("gemma3", {"tie_word_embeddings": True}),
        ("gemma3n-text", {}),
        ("mamba", {}),
        ("ernie4_5_moe", {"tie_word_embeddings": True}),
    ],
)
def test_an_output_that_is_not_the_embeddings_is_written(
    name: str, config: dict, tmp_path: Path, monkeypatch, capsys
) -> None:
    head, data = write_with_head(tmp_path / "m", name, monkeypatch, equal=False, **config)
    out = tmp_path / "out" / "m.gguf"
    assert main(["convert", str(tmp_path / "m"), "-o", str(out), "--ladder", "BF16"]) == 0
    written = next(t for t in GGUFReader(out).tensors if t.name == "output.weight")
    assert written.data.tobytes() == data[: written.data.nbytes]
    if config.get("tie_word_embeddings", True):
        assert f"{head} differs from" in " ".join(capsys.readouterr().out.split())
        origin = json.loads((tmp_path / "out" / "ladder.json").read_text())
        assert "are tied" in origin["files"]["m.gguf"]["source"]["notes"][0]


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "gemma3-vision", "cohere2", "mamba"])
def test_a_copy_of_the_embeddings_is_left_out_and_said(
    name: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    head, _ = write_with_head(tmp_path / "m", name, monkeypatch, equal=True)
    out = tmp_path / "out" / "m.gguf"
    assert main(["convert", str(tmp_path / "m"), "-o", str(out), "--ladder", "BF16"]) == 0
    assert "output.weight" not in {t.name for t in GGUFReader(out).tensors}
    assert f"1 tensor ({head}): the output weights" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["gemma", "gemma2", "cohere", "cohere2"])
def test_an_output_that_llama_cpp_has_no_place_for_is_refused(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    write_with_head(tmp_path / "m", name, monkeypatch, equal=False)
    with pytest.raises(ConversionError, match=f"{HEAD} differs from .* remove it"):
        open_source(tmp_path / "m", self_test=False)


def test_one_weight_is_a_difference(tmp_path: Path, monkeypatch) -> None:
    write_with_head(tmp_path / "m", "gemma3", monkeypatch, equal=True)
    path = tmp_path / "m" / "model.safetensors"
    header = read_header(path)[HEAD]
    raw = np.fromfile(path, np.uint8)
    raw[header.offset + header.nbytes - 2] ^= 1
    raw.tofile(path)
    assert "output.weight" in {t.name for t in open_source(tmp_path / "m", self_test=False).tensors}


LEFT_OUT = {
    "gemma3-vision": ("vision_tower", 39, "ggufkit mmproj"),
    "qwen3_5-vision": ("model.visual", 21, "ggufkit mmproj"),
    "gemma3n": ("model.audio_tower", 4, "can't convert"),
    "idefics3": ("model.vision_model", 38, "ggufkit mmproj"),
    "bert": ("pooler.dense", 2, "tasks"),
    "t5": ("shared.weight", 2, "embeddings"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_named_once(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    start, count, why = LEFT_OUT[name]
    case = json.loads(CASES[name].read_text())
    patch_vocabulary(monkeypatch, case)
    write_case(tmp_path / "m", case)
    out = tmp_path / "out" / "m.gguf"
    assert main(["convert", str(tmp_path / "m"), "-o", str(out), "--ladder", "F16"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count(f"Left out: {count} tensors") == 1
    files = json.loads((tmp_path / "out" / "ladder.json").read_text())["files"]
    (group,) = files["m.gguf"]["source"]["left_out"]
    assert group["count"] == count
    assert why in group["why"]
    assert why in shown
    assert any(line.startswith(start) for line in group["tensors"])


def test_buffers_are_only_in_the_record(tmp_path: Path, monkeypatch, capsys) -> None:
    case = json.loads(CASES["llama"].read_text())
    patch_vocabulary(monkeypatch, case)
    case["checkpoint"]["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [8])
    write_case(tmp_path / "m", case)
    out = tmp_path / "out" / "m.gguf"
    assert main(["convert", str(tmp_path / "m"), "-o", str(out), "--ladder", "F16"]) == 0
    assert "inv_freq" not in capsys.readouterr().out
    assert "inv_freq" in (tmp_path / "out" / "ladder.json").read_text()


def test_no_output_in_spite_of_the_config_is_said(tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES["llama"].read_text())
    patch_vocabulary(monkeypatch, case)
    del case["checkpoint"][HEAD]
    for tied, said in ((False, True), (True, False)):
        case["config"]["tie_word_embeddings"] = tied
        write_case(tmp_path / "m", case)
        origin = open_source(tmp_path / "m", self_test=False).origin
        assert ("has no lm_head.weight" in str(origin.get("notes"))) == said


@pytest.mark.parametrize("head", ["score.weight", "v_head.weight", "classifier.weight"])
def test_a_head_without_a_place_is_refused_as_such(head: str, tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES["llama"].read_text())
    patch_vocabulary(monkeypatch, case)
    case["checkpoint"][head] = ("BF16", [2, 64])
    write_case(tmp_path / "m", case)
    with pytest.raises(ConversionError, match=f"{head} is the head of a classifier or a reward"):
        open_source(tmp_path / "m", self_test=False)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["Transformer", "Pooling", "Dense", "Normalize"], "2_Dense (Dense)"),
        (["Transformer", "Pooling", "Dense", "Dense"], "2_Dense (Dense), 3_Dense (Dense)"),
        (["Transformer", "Pooling", "LayerNorm"], "2_LayerNorm (LayerNorm)"),
        (["Transformer", "Pooling", "Normalize"], ""),
    ],
)
def test_modules_after_the_pooling_are_said(
    kinds: list[str], said: str, tmp_path: Path, monkeypatch
) -> None:
    case = json.loads(CASES["embeddinggemma"].read_text())
    patch_vocabulary(monkeypatch, case)
    modules = [
        {
            "idx": i,
            "type": f"sentence_transformers.models.{kind}",
            "path": f"{i}_{kind}" if i else "",
        }
        for i, kind in enumerate(kinds)
    ]
    case["files"] = {"modules.json": modules, "1_Pooling/config.json": {"pooling_mode": "mean"}}
    write_case(tmp_path / "m", case)
    notes = str(open_source(tmp_path / "m", self_test=False).origin.get("notes", ""))
    assert said in notes
    assert bool(said) == ("are left out" in notes)
