"""Files that are no language models are refused with the next step; projectors are named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from tests.llama import write_llama

DATA = {"v.weight": (np.zeros((2, 32), np.float32), ggufkit.TensorType.F32)}


@pytest.fixture(scope="module")
def ladder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ollama")
    ggufkit.convert(write_llama(folder / "Tiny", n_layers=1), folder / "out", ladder="Q8_0")
    return folder / "out"


def ollama(path: Path, *words: str) -> int:
    return main(["ollama", str(path), "--store", str(path.parent / "store"), "-q", *words])


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"general.architecture": "clip"}, "is a projector: import the language model"),
        ({"general.architecture": "clip", "general.type": "mmproj"}, "is a projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "with --adapter and this"),
        ({"general.architecture": "whisper"}, "is a whisper model, which Ollama does not run"),
        ({"general.architecture": "sd3"}, "'sd3 model', no model"),
        ({"general.name": "?"}, "'unknown model', no model"),
    ],
)
def test_what_is_no_language_model_is_refused(metadata, said, tmp_path: Path, capsys) -> None:
    ggufkit.save(tmp_path / "x.gguf", metadata, DATA)
    assert ollama(tmp_path / "x.gguf") == 3
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_an_importance_matrix_is_refused(tmp_path: Path, capsys) -> None:
    entry = ImatrixEntry(np.ones((1, 8), np.float32), np.ones(1, np.float32))
    Imatrix({"a.weight": entry}, "i").save(tmp_path / "i.gguf")
    assert ollama(tmp_path / "i.gguf") == 3
    assert "is an importance matrix" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mmproj-Tiny-F16.gguf", "a vision tower.gguf"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_projector_beside_the_model_is_named(name, as_folder, ladder, tmp_path, capsys) -> None:
    (model,) = ladder.glob("*.gguf")
    there = tmp_path / model.name
    there.write_bytes(model.read_bytes())
    ggufkit.save(tmp_path / name, {"general.architecture": "clip"}, DATA)
    assert ollama(tmp_path if as_folder else there, "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{name} next to {model.name} is a projector, which is not imported" in said


def test_nothing_is_said_without_a_projector(ladder: Path, capsys) -> None:
    assert ollama(ladder, "--dry-run") == 0
    assert "projector" not in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["parts", "my parts"])
def test_the_advice_for_a_split_works_as_written(folder, ladder, tmp_path, capsys) -> None:
    (model,) = ladder.glob("*.gguf")
    (tmp_path / folder).mkdir()
    parts = ggufkit.split(model, tmp_path / folder / "m", max_tensors=6)
    assert ollama(parts[1].path) == 3
    message = capsys.readouterr().err
    command = re.search(r": 'ggufkit (merge .+)' makes one file of them; then use (.+)$", message)
    assert command is not None
    assert main([*shlex.split(command[1]), "-q"]) == 0
    assert ollama(Path(command[2].strip()), "--name", "tiny") == 0
