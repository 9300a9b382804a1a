"""Ladders of repositories whose weights stay on the Hub."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from tests.architectures.checkpoints import write_checkpoint
from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama
from tests.torture import CHILD, ROOT, digests

pytestmark = pytest.mark.torture

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


STREAM = CHILD.replace('"-j2"', '"-j2", "--stream"')


def start(hub: Hub, home: Path, *words: str, code: str = STREAM) -> subprocess.Popen:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-c", code, *words]
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
    assert hub.sent["model.safetensors"] < 1.02 * weights
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


def test_requests_wait_for_one_another_no_longer_than_the_network_does(
    hub, expected, tmp_path: Path
) -> None:
    hub.delay = 0.5
    n_before = len(hub.requests)
    began = time.monotonic()
    code = CHILD.replace('"-j2"', '"--stream"')
    finish(start(hub, tmp_path / "home", "me/Tiny", str(tmp_path / "out"), LADDER, code=code))
    seconds = time.monotonic() - began
    assert digests(tmp_path / "out") == expected
    n_ranges = sum("model.safetensors" in line for line in hub.requests[n_before:])
    assert n_ranges > 30
    assert seconds < hub.delay * n_ranges / 2, "one request after the other"


@pytest.fixture(scope="module")
def transposed(model: Path) -> Path:
    """A checkpoint whose matrices are stored with rows as columns, each of many tasks."""
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 256, "n_head": 4,
        "n_layer": 2, "n_positions": 128, "vocab_size": 320,
    }  # fmt: skip
    shapes = {"wte.weight": (320, 256), "wpe.weight": (128, 256)}
    shapes |= {"ln_f.weight": (256,), "ln_f.bias": (256,)}
    sizes = {"attn.c_attn": (256, 768), "attn.c_proj": (256, 256)}
    sizes |= {"mlp.c_fc": (256, 1024), "mlp.c_proj": (1024, 256)}
    for i in range(2):
        for name, (rows, cols) in sizes.items():
            shapes |= {f"h.{i}.{name}.weight": (rows, cols), f"h.{i}.{name}.bias": (cols,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{i}.{name}.weight": (256,), f"h.{i}.{name}.bias": (256,)}
    folder = model.parent / "Transposed"
    write_checkpoint(folder, config, {name: ("F32", shape) for name, shape in shapes.items()})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder)
    return folder


@pytest.mark.parametrize(("cache", "once"), [("4M", True), ("0", False)])
def test_what_several_tasks_need_is_kept(
    transposed: Path, tmp_path: Path, cache: str, once: bool
) -> None:
    weights = (transposed / "model.safetensors").stat().st_size
    code = "from ggufkit.converter.planning import plan\nplan.CHUNK_WEIGHTS = 1 << 14\n" + CHILD
    code = code.replace('"-j2"', f'"-j2", "--no-self-test", "--stream", "--cache", "{cache}"')
    with serve(Hub({"me/Transposed": {"main": transposed}})) as hub:
        finish(
            start(
                hub,
                tmp_path / "home",
                "me/Transposed",
                str(tmp_path / "out"),
                "Q8_0,F16",
                code=code,
            )
        )
    assert (hub.sent["model.safetensors"] < 1.02 * weights) == once
    again = tmp_path / "again"
    words = ["--ladder", "Q8_0,F16", "--no-self-test", "-q"]
    assert main(["convert", str(transposed), "-o", str(again), *words]) == 0
    assert set(digests(again).values()) == set(digests(tmp_path / "out").values())


def test_memory_is_what_was_announced(hub, tmp_path: Path) -> None:
    code = CHILD.replace("sys.exit(main(", "code = (main(").replace('"-q", "-j2"', '"--stream"')
    code += "status = open('/proc/self/status').read()\n"
    code += "print(status.split('VmHWM:')[1].split()[0], file=sys.stderr)"
    child = start(hub, tmp_path / "home", "me/Tiny", str(tmp_path / "out"), LADDER, code=code)
    _, errors = child.communicate(timeout=120)
    said = re.search(r"about ([\d.]+) MB of memory, ([\d.]+) MB to fetch", errors)
    assert said, errors
    peak = int(errors.split()[-1]) * 1024
    assert float(said[1]) * 1e6 / 4 < peak < float(said[1]) * 1e6


def test_a_folder_is_not_streamed(model: Path, capsys) -> None:
    assert main(["convert", str(model), "--stream", "--dry-run"]) == 3
    assert "only a repository" in capsys.readouterr().err
