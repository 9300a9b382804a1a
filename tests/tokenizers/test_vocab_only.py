"""`ggufkit convert --vocab-only`, byte for byte against ``convert_hf_to_gguf.py --vocab-only``."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.errors import ConversionError, OutputError
from ggufkit.gguf.reader import GGUFFile
from tests.checkpoint.hub_server import Hub, serve
from tests.converter.files import write_file
from tests.llama import write_llama
from tests.tokenizers.published import rebuild

# SHA-256 of the converter's files. For the oracle's checkpoints the detection of pre-tokenizers,
# which does not know these, was replaced by a constant; for the published ones nothing was.
_FIXTURE = json.loads((Path(__file__).parent / "vocab_only.json").read_text())
EXPECTED, PUBLISHED = _FIXTURE["oracle"], _FIXTURE["published"]


def check(folder: Path, out: Path, oracle: Path, weights: str) -> None:
    info = json.loads((oracle / "expected" / folder.name / "info.json").read_text())
    pre = None if info["pre"] == "default" else info["pre"]
    data = write_file(VocabularySource.open(folder, pre=pre), out).read_bytes()
    expected = EXPECTED[folder.name]
    assert (len(data), hashlib.sha256(data).hexdigest()) == (expected["bytes"], expected[weights])


@pytest.mark.parametrize("name", EXPECTED)
def test_the_converters_own_file_without_weights(oracle: Path, tmp_path: Path, name: str) -> None:
    check(oracle / "checkpoints" / name, tmp_path / "v.gguf", oracle, "without_weights")


@pytest.mark.parametrize("name", ["bert", "llama", "phi3", "qwen2"])
def test_weights_that_are_there_tell_the_file_type(oracle: Path, tmp_path: Path, name: str) -> None:
    script = oracle / "checkpoints" / "materialize.py"
    command = [sys.executable, script, name, tmp_path / name]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    check(tmp_path / name, tmp_path / "v.gguf", oracle, "with_weights")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_vocabularies_give_the_converters_own_file(
    oracle: Path, tmp_path: Path, name: str
) -> None:
    folder = rebuild(oracle, name, tmp_path / name)
    data = write_file(VocabularySource.open(folder), tmp_path / "v.gguf").read_bytes()
    assert hashlib.sha256(data).hexdigest() == PUBLISHED[name]


def test_the_file_is_named_as_the_converter_names_it(tmp_path: Path, capsys) -> None:
    folder = write_llama(tmp_path / "Tiny-1M")
    (folder / "model.safetensors").unlink()
    command = ["convert", str(folder), "--vocab-only", "-o", str(tmp_path / "out")]
    assert main([*command, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    path = tmp_path / "out" / "Tiny-vocab.gguf"
    assert planned["path"] == str(path)
    assert not path.exists()
    assert main(command) == 0
    assert str(planned["tokens"]) in capsys.readouterr().out
    assert path.stat().st_size == planned["bytes"]
    with GGUFFile.open(path) as file:
        assert len(file.metadata["tokenizer.ggml.tokens"]) == planned["tokens"]  # type: ignore[arg-type]
        assert not file.tensors


def test_a_file_that_is_there_stays_without_force(tmp_path: Path, capsys) -> None:
    folder = write_llama(tmp_path / "Tiny-1M")
    out = tmp_path / "v.gguf"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--force"):
        write_file(VocabularySource.open(folder), out)
    assert out.read_bytes() == b"mine"
    assert main(["convert", str(folder), "--vocab-only", "-o", str(out), "--force"]) == 0
    assert out.read_bytes().startswith(b"GGUF")


def test_a_gguf_file_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is for checkpoints"):
        VocabularySource.open(tmp_path / "x.gguf")


def test_no_weights_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub({"someone/Tiny-1M": {"main": write_llama(tmp_path / "Tiny-1M")}})
    out = tmp_path / "v.gguf"
    command = [sys.executable, "-m", "ggufkit.cli.main", "convert", "someone/Tiny-1M"]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        subprocess.run([*command, "--vocab-only", "-o", out], check=True, capture_output=True)
    assert "model.safetensors" not in hub.fetched
    assert out.read_bytes().startswith(b"GGUF")
