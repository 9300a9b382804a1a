"""Repositories of the Hub are planned without their weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufkit.toolbox.fit.fit import fit
from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    write_llama(tmp_path / "model", n_layers=4)
    folders = {"o/model": tmp_path / "model"}
    hostile = tmp_path / "hostile"
    write_llama(hostile)
    (hostile / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (hostile / "model.safetensors.index.json").write_text(json.dumps(index))
    folders["o/hostile"] = hostile
    with serve(Hub({name: {"main": folder} for name, folder in folders.items()})) as running:
        yield running


def run(hub: Hub, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: huggingface_hub reads its environment at import."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "ggufkit.cli.main", "fit", *args]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_rungs_are_those_of_the_whole_checkpoint(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path / "home", "o/model", "--json", "--ram", "1G", "--ladder", "Q2_K:F16")
    assert done.returncode == 0, done.stderr
    local = fit(tmp_path / "model", ladder="Q2_K:F16", ram="1G").as_dict()
    assert json.loads(done.stdout) == local
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert 0 < hub.sent["model.safetensors"] < 110_000 < size / 20
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_errors_say_what_to_do(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path / "home", "o/none", "--ram", "1G")
    assert done.returncode == 3
    assert "no such repository" in done.stderr
    done = run(hub, tmp_path / "home", "o/hostile", "--ram", "1G")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
