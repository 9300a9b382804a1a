"""``--architecture FILE.py``: a model converted by an architecture from a file of the user's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source
from ggufkit.errors import ConversionError
from tests.llama import write_llama

MINE = '''
"""A llama by another name, with an hparam of its own."""
from dataclasses import replace
from ggufkit.architectures.llama import LLAMA
from ggufkit.mapping.spec import Hparam
from ggufkit.types import ValueType
OWN = Hparam("own_count", "num_hidden_layers", type=ValueType.UINT32)
MINE = replace(LLAMA, name="mine", hparams=(*LLAMA.hparams, OWN))
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "model")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "my_model.py"
    path.write_text(MINE)
    return path


def test_the_file_takes_precedence_over_the_packages_own(
    source: Path, given: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ["convert", str(source), "--architecture", str(given), "--ladder", "F16", "-o", str(out)]
    assert main(line) == 0
    (path,) = out.glob("*.gguf")
    model = ggufkit.open(path)
    assert model.metadata["general.architecture"] == "mine"
    layers = json.loads((source / "config.json").read_text())["num_hidden_layers"]
    assert model.metadata["mine.own_count"] == layers
    manifest = json.loads((out / "ladder.json").read_text())
    said = manifest["files"][path.name]["source"]["architecture"]
    digest = hashlib.sha256(given.read_bytes()).hexdigest()
    assert said == {"file": "my_model.py", "sha256": digest}


def test_a_vocabulary_is_written_by_it_too(source: Path, given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    assert main(["vocabulary", str(source), "--architecture", str(given), "-o", str(out)]) == 0
    assert ggufkit.open(out).metadata["general.architecture"] == "mine"


def test_another_file_is_another_source(source: Path, given: Path) -> None:
    before = open_source(source, architecture=given).origin["identity"]
    assert before == open_source(source, architecture=given).origin["identity"]
    given.write_text(MINE + "# changed\n")
    assert before != open_source(source, architecture=given).origin["identity"]
    assert before != open_source(source).origin["identity"]


def test_it_excludes_a_generic_one(source: Path, given: Path) -> None:
    with pytest.raises(ConversionError, match="--architecture and --generic"):
        open_source(source, architecture=given, generic=True)


def test_a_gguf_file_has_its_architecture(source: Path, given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    ggufkit.convert(source, out, ladder="F16")
    with pytest.raises(ConversionError, match="--architecture"):
        open_source(out, architecture=given)


def test_what_fails_in_the_file_is_one_error(source: Path, given: Path, capsys) -> None:
    given.write_text("1 / 0")
    assert main(["convert", str(source), "--architecture", str(given)]) == 3
    assert "my_model.py: ZeroDivisionError: division by zero" in capsys.readouterr().err
