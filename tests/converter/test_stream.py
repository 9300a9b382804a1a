"""Ladders of repositories whose weights stay on the Hub."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama
from tests.torture import CHILD, ROOT, digests

LADDER = "Q2_K,Q4_K_M,Q8_0,F16"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("stream") / "Tiny", n_layers=4, hidden=512, ffn=1536)


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, str]:
    out = model.parent / "out"
    assert main(["convert", str(model), "-o", str(out), "--ladder", LADDER, "-q"]) == 0
    return digests(out)


@pytest.fixture
def hub(model: Path):
    with serve(Hub({"me/Tiny": {"main": model}})) as found:
        yield found


def start(hub: Hub, home: Path, *words: str) -> subprocess.Popen:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-c", CHILD.replace('"-j2"', '"-j2", "--stream"'), *words]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(child: subprocess.Popen) -> None:
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors


def size_of(folder: Path) -> int:
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


def test_every_weight_is_sent_once_and_none_is_stored(hub, model, expected, tmp_path) -> None:
    finish(start(hub, tmp_path / "home", "me/Tiny", str(tmp_path / "out"), LADDER))
    assert digests(tmp_path / "out") == expected
    weights = (model / "model.safetensors").stat().st_size
    assert weights <= hub.sent["model.safetensors"] + 70_000
    assert hub.sent["model.safetensors"] < 1.02 * weights + (1 << 16)  # the first look at the head
    assert size_of(tmp_path / "home") < 1_000_000 < weights


def test_faults_on_the_way_change_nothing(hub, expected, tmp_path: Path) -> None:
    hub.fault_rate = 0.05
    for i in range(3):
        finish(start(hub, tmp_path / "home", "me/Tiny", str(tmp_path / str(i)), LADDER))
        assert digests(tmp_path / str(i)) == expected
    assert hub.faults >= 3


def test_a_killed_run_fetches_only_the_rest(hub, model, expected, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = start(hub, tmp_path / "home", "me/Tiny", str(out), LADDER)
    weights = (model / "model.safetensors").stat().st_size
    while hub.sent.get("model.safetensors", 0) < weights // 2:
        assert child.poll() is None
        time.sleep(0.002)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    before = hub.sent["model.safetensors"]
    finish(start(hub, tmp_path / "home", "me/Tiny", str(out), LADDER))
    assert digests(out) == expected
    if before < weights:
        assert hub.sent["model.safetensors"] - before < weights


def test_a_folder_is_not_streamed(model: Path, capsys) -> None:
    assert main(["convert", str(model), "--stream", "--dry-run"]) == 3
    assert "only a repository" in capsys.readouterr().err
