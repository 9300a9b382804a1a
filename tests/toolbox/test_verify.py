"""Files that are what their source gives, and files that are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from ggufkit.errors import ConversionError, MissingFileError
from ggufkit.toolbox.verify import verify
from tests.llama import write_llama

LADDER = "Q2_K,Q4_K_M,Q6_K,Q8_0,F16"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("verify") / "Tiny")


@pytest.fixture(scope="module")
def ladder(source: Path) -> Path:
    ggufkit.convert(source, source.parent / "out", ladder=LADDER)
    return source.parent / "out"


@pytest.mark.parametrize("name", LADDER.split(","))
def test_a_ladders_files_are_what_its_source_gives(source: Path, ladder: Path, name: str) -> None:
    found = verify(next(ladder.glob(f"*-{name}.gguf")), source)
    assert found.same_file
    assert found.recipe == name
    assert found.n_tensors == 21


def test_an_importance_matrix_has_to_be_given(source: Path, tmp_path: Path) -> None:
    entry = ImatrixEntry(np.arange(256, dtype=np.float32)[None], np.ones(1, np.float32))
    matrix = Imatrix({"blk.0.attn_q.weight": entry}, "im.gguf")
    matrix.save(tmp_path / "im.gguf")
    path = tmp_path / "q.gguf"
    ggufkit.convert(source, path, ladder="Q2_K", imatrix=tmp_path / "im.gguf")
    assert verify(path, source, imatrix=tmp_path / "im.gguf").same_file
    without = verify(path, source)
    assert [m.name for m in without.mismatches] == ["blk.0.attn_q.weight"]
    assert "quantize.imatrix.file" in {key.key for key in without.metadata}


def test_every_corrupted_file_is_found_and_no_sound_one(source, ladder, tmp_path: Path) -> None:
    path = next(ladder.glob("*-Q4_K_M.gguf"))
    data = path.read_bytes()
    with ggufkit.open(path) as model:
        (part,) = model.parts
        places = [
            (name, part.data_offset + info.offset, info.nbytes, info.type.type_size)
            for name, info in model.tensors.items()
        ]
    rng = random.Random(0)
    for _ in range(20):
        name, start, size, block = rng.choice(places)
        at = start + rng.randrange(size)
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        (tmp_path / "x.gguf").write_bytes(damaged)
        (mismatch,) = verify(tmp_path / "x.gguf", source).mismatches
        assert mismatch.name == name
        assert mismatch.n_blocks == 1
        assert f"the first is block {(at - start) // block}" in mismatch.what


def test_another_recipe_differs_by_type(source: Path, ladder: Path) -> None:
    found = verify(next(ladder.glob("*-Q8_0.gguf")), source, recipe="Q4_K_M")
    assert not found.same_weights
    assert any("is Q8_0, the recipe says Q4_K" in m.what for m in found.mismatches)


def test_other_metadata_is_not_other_weights(source: Path, ladder: Path, tmp_path: Path) -> None:
    path = tmp_path / "named.gguf"
    path.write_bytes(next(ladder.glob("*-Q8_0.gguf")).read_bytes())
    ggufkit.edit(path, values={"general.name": "Other"})
    found = verify(path, source)
    assert found.same_weights
    assert not found.same_file
    assert [key.key for key in found.metadata] == ["general.name"]
    command = ["verify", str(path), "--source", str(source), "-q"]
    assert main(command) == 1
    assert main([*command, "--weights-only"]) == 0


def test_splits_are_verified_as_one_model(source: Path, ladder: Path, tmp_path: Path) -> None:
    ggufkit.split(next(ladder.glob("*-Q6_K.gguf")), tmp_path / "s", max_tensors=8)
    assert verify(next(tmp_path.glob("s-00001*")), source).same_weights


def test_a_file_that_does_not_say_its_type_needs_a_recipe(source, ladder, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(next(ladder.glob("*-Q8_0.gguf")).read_bytes())
    ggufkit.edit(path, delete=["general.file_type"])
    with pytest.raises(ConversionError, match="--recipe"):
        verify(path, source)
    assert verify(path, source, recipe="Q8_0").same_weights


def test_sums_beside_the_file(ladder: Path, tmp_path: Path, capsys) -> None:
    path = next(ladder.glob("*-Q8_0.gguf"))
    assert main(["verify", str(path), "-q"]) == 0
    assert "ok" in capsys.readouterr().out
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes()[:-1] + b"\xff")
    sums = str(ladder / "SHA256SUMS")
    assert main(["verify", str(copy), "--manifest", sums, "-q", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["files"] == {path.name: False}
    assert main(["verify", str(copy), "-q"]) == 3


def test_the_command_says_what_the_bytes_are(source: Path, ladder: Path, capsys) -> None:
    path = next(ladder.glob("*-Q4_K_M.gguf"))
    assert main(["verify", str(path), "--source", str(source), "-q"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Every byte is what llama.cpp's tools give for Q4_K_M of")


def test_oracle_files_are_verified(oracle: Path, tmp_path: Path) -> None:
    """The manifest of a file that llama-quantize made, and the file that verify confirms."""
    import subprocess
    import sys

    script = oracle / "checkpoints" / "materialize.py"
    subprocess.run([sys.executable, script, "qwen2", tmp_path / "qwen2"], check=True)
    info = json.loads((oracle / "expected" / "qwen2" / "info.json").read_text())
    wanted = json.loads((oracle / "expected" / "qwen2" / "Q4_K_M.json").read_text())
    path = tmp_path / "q.gguf"
    ggufkit.convert(tmp_path / "qwen2", path, ladder="Q4_K_M", pre=info["pre"], via="bf16")
    assert ggufkit.hash_file(path).files[path] == wanted["file_sha256"]
    assert verify(path, tmp_path / "qwen2", pre=info["pre"], via="bf16").same_file


def test_a_missing_manifest_is_named(ladder: Path, tmp_path: Path) -> None:
    from ggufkit.toolbox.hash import read_manifest

    with pytest.raises(MissingFileError):
        read_manifest(tmp_path / "absent")
