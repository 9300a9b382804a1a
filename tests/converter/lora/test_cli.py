"""``ggufkit lora``, and the options of ``convert`` beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from tests.architectures.test_vision import CASES
from tests.architectures.test_vision import write_case as write_vision
from tests.checkpoint.hub_server import Hub, serve
from tests.converter.lora.adapters import load, write_case
from tests.converter.test_hub import run


def test_lora_writes_a_file_and_says_what_is_in_it(tmp_path: Path, capsys) -> None:
    base, adapter = write_case(load("llama-alphas"), tmp_path)
    command = ["lora", str(adapter), "--base", str(base), "-o", str(tmp_path / "a.gguf")]
    assert main([*command, "--dry-run", "--json"]) == 0
    assert not (tmp_path / "a.gguf").exists()
    facts = json.loads(capsys.readouterr().out)
    assert facts["architecture"] == "llama"
    assert (facts["n_weights_adapted"], facts["ranks"], facts["alpha"]) == (6, [8], 16.0)
    assert main(command) == 0
    assert (tmp_path / "a.gguf").stat().st_size == facts["n_bytes"]
    assert "2 weights have another alpha" in capsys.readouterr().out
    written = (tmp_path / "a.gguf").read_bytes()
    assert main(command) == 0
    assert "Complete already" in capsys.readouterr().out
    (tmp_path / "a.gguf").write_bytes(b"mine")
    assert main(command) == 3
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "a.gguf").read_bytes() == b"mine"
    assert main([*command, "--force"]) == 0
    assert (tmp_path / "a.gguf").read_bytes() == written


def test_an_adapter_may_be_on_the_hub(tmp_path: Path) -> None:
    base, adapter = write_case(load("phi3"), tmp_path)
    hub = Hub({"someone/phi3": {"main": adapter}})
    command = ["lora", "someone/phi3", "--base", base]
    with serve(hub):
        run([*command, "-o", tmp_path / "hub"], tmp_path / "cache", hub.url)
    assert hub.fetched == {"adapter_config.json", "adapter_model.safetensors"}
    assert main(["lora", str(adapter), "--base", str(base)]) == 0
    local = adapter / "Phi3-F32-LoRA.gguf"
    assert (tmp_path / "hub" / local.name).read_bytes() == local.read_bytes()


def test_an_adapter_without_a_base_asks_for_it(tmp_path: Path, capsys) -> None:
    case = load("phi3")
    case["adapter"]["base_model_name_or_path"] = None
    _, adapter = write_case(case, tmp_path)
    assert main(["lora", str(adapter)]) == 3
    assert "--base" in capsys.readouterr().err


def test_convert_names_an_adapter_that_is_not_there(tmp_path: Path, capsys) -> None:
    base, _ = write_case(load("phi3"), tmp_path)
    assert main(["convert", str(base), "--merge-lora", str(tmp_path / "none"), "--dry-run"]) == 3
    assert "adapter_config.json" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "name"), [("--mmproj", "F16"), ("--mmproj=q8_0", "Q8_0")])
def test_convert_writes_what_sees(option: str, name: str, tmp_path: Path, capsys) -> None:
    folder = write_vision(CASES["gemma3"], tmp_path / "gemma3")
    command = ["convert", str(folder), option, "-o", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    path = tmp_path / "out" / f"mmproj-Gemma3-{name}.gguf"
    assert facts["path"] == str(path)
    assert facts["projector"] == "gemma3"
    assert path.stat().st_size == facts["n_bytes"]
    assert main([*command, "--dry-run"]) == 0
    assert "gemma3" in capsys.readouterr().out
