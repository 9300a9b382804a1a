"""Whole files, byte for byte, against those of convert_hf_to_gguf.py and llama-quantize."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ggufkit.converter.ladder import convert
from ggufkit.converter.planning.recipes import RECIPES
from ggufkit.converter.planning.type_selection import TypeOptions
from tests.converter.manifests import ORACLE_MODELS, describe_difference, options_of, read_manifest

MODELS = list(ORACLE_MODELS)


@pytest.fixture(scope="session")
def checkpoint(oracle: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that writes one of the oracle's checkpoints and returns its folder."""
    root = tmp_path_factory.mktemp("checkpoints")

    def write(model: str, shards: int = 1) -> Path:
        folder = root / str(shards) / model
        if not folder.exists():
            script = oracle / "checkpoints" / "materialize.py"
            command = [sys.executable, script, model, folder, "--shards", str(shards)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return folder

    return write


def pre_of(oracle: Path, model: str) -> str:
    info = json.loads((oracle / "expected" / model / "info.json").read_text())
    return info["pre"]


def check_file(path: Path, expected: Path) -> None:
    want = read_manifest(expected)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != want["file_sha256"]:
        pytest.fail(f"{expected.parent.name}/{expected.name}: {describe_difference(path, want)}")


@pytest.mark.parametrize("model", MODELS)
def test_the_classes_are_those_of_the_checkpoints(oracle: Path, model: str) -> None:
    config = json.loads((oracle / "checkpoints" / model / "config.json").read_text())
    assert config["architectures"] == [ORACLE_MODELS[model]]


@pytest.mark.parametrize("model", MODELS)
def test_the_converters_own_files(oracle: Path, checkpoint, tmp_path: Path, model: str) -> None:
    pre = pre_of(oracle, model)
    ladder = convert(checkpoint(model), tmp_path, ladder="F32,BF16,F16", pre=pre)
    for path, outtype in zip(ladder.paths, ["f16", "bf16", "f32"], strict=True):
        check_file(path, oracle / "expected" / model / f"source.{outtype}.json")


@pytest.mark.parametrize("model", MODELS)
def test_every_rung(oracle: Path, checkpoint, tmp_path: Path, model: str) -> None:
    folder = oracle / "expected" / model
    rungs = [path.stem for path in folder.glob("*.json") if path.stem in RECIPES]
    rungs = [name for name in rungs if RECIPES[name].base.is_quantized]
    assert len(rungs) >= 14
    source, pre = checkpoint(model), pre_of(oracle, model)
    ladder = convert(source, tmp_path, ladder=",".join(rungs), pre=pre, via="bf16")
    assert len(ladder.paths) == len(rungs)
    for rung, path in zip(ladder.plan.rungs, ladder.paths, strict=True):
        check_file(path, folder / f"{rung.name}.json")


@pytest.mark.parametrize("model", MODELS)
def test_every_rung_with_importance_or_options(
    oracle: Path, checkpoint, tmp_path: Path, model: str
) -> None:
    folder = oracle / "expected" / model
    paths = [p for p in sorted(folder.glob("*.*.json")) if p.stem.split(".")[0] in RECIPES]
    assert len(paths) >= 5
    source, pre = checkpoint(model), pre_of(oracle, model)
    for expected in paths:
        words = read_manifest(expected)["options"]
        options, imatrix = options_of(words)
        out = tmp_path / f"{expected.stem}.gguf"
        convert(
            source,
            out,
            ladder=expected.stem.split(".")[0],
            pre=pre,
            via="bf16",
            options=options,
            imatrix=None if imatrix is None else folder / imatrix,
        )
        check_file(out, expected)


def test_sharded_checkpoints_keep_the_converters_order(
    oracle: Path, checkpoint, tmp_path: Path
) -> None:
    expected = oracle / "expected" / "llama-deep" / "source.bf16.shards3.json"
    source = checkpoint("llama-deep", shards=3)
    convert(source, tmp_path / "out.gguf", ladder="BF16", pre="llama-bpe")
    check_file(tmp_path / "out.gguf", expected)


@pytest.mark.parametrize("model", ["llama", "qwen2", "gemma3"])
def test_a_gguf_source_gives_the_same_rungs(
    oracle: Path, checkpoint, tmp_path: Path, model: str
) -> None:
    source = tmp_path / "bf16.gguf"
    convert(checkpoint(model), source, ladder="BF16", pre=pre_of(oracle, model))
    ladder = convert(source, tmp_path / "out", ladder="Q2_K,Q4_K_M,Q8_0")
    for rung, path in zip(ladder.plan.rungs, ladder.paths, strict=True):
        check_file(path, oracle / "expected" / model / f"{rung.name}.json")


@pytest.mark.parametrize("name", ["F16", "BF16", "F32"])
def test_float_rungs_of_a_gguf_source(oracle: Path, checkpoint, tmp_path: Path, name: str) -> None:
    source = tmp_path / "bf16.gguf"
    convert(checkpoint("llama"), source, ladder="BF16", pre="default")
    convert(source, tmp_path / "out.gguf", ladder=name)
    check_file(tmp_path / "out.gguf", oracle / "expected" / "llama" / f"{name}.json")


def test_options_are_read_from_the_manifest() -> None:
    words = ["--pure", "--imatrix", "imatrix.gguf"]
    assert options_of(words) == (TypeOptions(pure=True), "imatrix.gguf")
