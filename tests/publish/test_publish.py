"""Ladders that are published while they are made: the Hub gets all, the disk holds little."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source, plan_ladder
from ggufkit.converter.planning.planner import SplitLimits
from ggufkit.converter.planning.resources import estimate_resources, peak_bytes
from tests.checkpoint.hub_server import Hub, downloads
from tests.llama import write_llama
from tests.publish.upload_server import UploadHub, uploads
from tests.serving import serving
from tests.torture import ROOT, digests

pytestmark = pytest.mark.torture

REPO = "me/Tiny-GGUF"
LADDER = "Q2_K,Q4_K_M,Q8_0,BF16"
SPLITS = ("--split-max-tensors", "8")
CHILD = """
import sys
from ggufkit.cli.main import main
from ggufkit.converter.execution import outputs
outputs.NOTE_SECONDS = 0.02
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("push") / "Tiny", n_layers=8, hidden=512, ffn=1536)


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, str]:
    """What a run that publishes nothing leaves in its folder."""
    out = model.parent / "out"
    assert main(["convert", str(model), "-o", str(out), "--ladder", LADDER, *SPLITS, "-q"]) == 0
    return digests(out)


@contextmanager
def serve(hub: Hub, upload: UploadHub) -> Iterator[None]:
    """Serve repositories to read, and take uploads to all others."""
    reads, takes = downloads(hub), uploads(upload)

    class Both(takes, reads):  # type: ignore[misc, valid-type]
        def do_GET(self) -> None:  # noqa: N802 - what http.server calls it
            is_read = any(repo in self.path for repo in hub.repos)
            (reads if is_read and "-GGUF" not in self.path else takes).do_GET(self)

    with serving(Both) as url:
        hub.url = upload.url = url
        yield


@pytest.fixture
def servers(model: Path) -> Iterator[tuple[Hub, UploadHub]]:
    hub, upload = Hub({"me/Tiny": {"main": model}}), UploadHub()
    with serve(hub, upload):
        yield hub, upload


def start(
    hub: Hub, home: Path, *words: str, command: str = "convert", jobs: tuple[str, ...] = ("-j2",)
) -> subprocess.Popen:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    line = [sys.executable, "-c", CHILD, command, *words, *jobs]
    return subprocess.Popen(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(child: subprocess.Popen) -> tuple[str, str]:
    out, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return out, errors


def words(source: str, out: Path) -> tuple[str, ...]:
    return (source, "-o", str(out), "--ladder", LADDER, *SPLITS, "--push", REPO)


def sent(upload: UploadHub) -> dict[str, str]:
    files = upload.repos[REPO]
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, (data, _) in files.items()
        if name.endswith(".gguf")
    }


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Watch the bytes that a folder's files take on disk."""
    seen, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            found = 0
            for path in folder.glob("*"):
                try:
                    found += path.stat().st_blocks * 512
                except FileNotFoundError:
                    continue
            seen[0] = max(seen[0], found)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_the_disk_holds_what_was_announced_and_the_hub_gets_all(
    servers, model: Path, expected, tmp_path: Path
) -> None:
    hub, upload = servers
    out = tmp_path / "out"
    plan = start(hub, tmp_path / "home", *words(str(model), out), "--dry-run", "--json")
    needs = json.loads(finish(plan)[0])["needs"]
    total = sum(file.stat().st_size for file in (model.parent / "out").glob("*.gguf"))
    assert needs["disk"] < total / 2
    with watched(out) as most:
        _, errors = finish(start(hub, tmp_path / "home", *words(str(model), out)))
    assert "at most" in errors.lower()
    notes = 64 << 10  # sums, record, journal
    assert total / 20 < most[0] <= needs["disk"] + notes
    assert sent(upload) == expected
    assert not list(out.glob("*.gguf*"))
    assert {path.name for path in out.iterdir()} == {"SHA256SUMS", "ladder.json"}
    record = json.loads((out / "ladder.json").read_text())["files"]
    local = json.loads((model.parent / "out" / "ladder.json").read_text())["files"]
    assert {n: e["weight_error"] for n, e in record.items()} == {
        n: e["weight_error"] for n, e in local.items()
    }
    assert upload.repos[REPO]["ladder.json"][0] == (out / "ladder.json").read_bytes()
    card = upload.repos[REPO]["README.md"][0].decode()
    assert all(digest in card for digest in expected.values())
    assert upload.commits[-1] == "Add README.md"


def test_what_is_announced_is_of_the_order_of_the_work(tmp_path: Path) -> None:
    # layers.10 comes before layers.2 in the source
    source = open_source(write_llama(tmp_path / "Deep", n_layers=12), self_test=False)
    plan = plan_ladder(source, tmp_path / "out", LADDER, split=SplitLimits(0, 8, False))
    executed = replace(plan, by_part=True)
    assert [t.name for t in plan.tensors] != [t.name for t in executed.tensors]
    assert estimate_resources(plan, 1, handed_over=True).disk == peak_bytes(executed, 1)
    assert peak_bytes(plan, 1) != peak_bytes(executed, 1)


def test_from_one_repository_to_another_nothing_stays(
    servers, model: Path, expected, tmp_path: Path
) -> None:
    hub, upload = servers
    hub.fault_rate = 0.05
    out = tmp_path / "out"
    text, _ = finish(start(hub, tmp_path / "home", *words("me/Tiny", out), "--stream"))
    assert sent(upload) == expected
    assert f"{hub.url}/{REPO}" in text
    weights = (model / "model.safetensors").stat().st_size
    assert hub.sent["model.safetensors"] < 1.02 * weights


def test_runs_that_are_killed_go_on(servers, model: Path, expected, tmp_path: Path) -> None:
    hub, upload = servers
    out, rng, kills = tmp_path / "out", random.Random(3), 0
    while kills < 6:
        child = start(hub, tmp_path / "home", *words(str(model), out), "-q")
        try:
            child.wait(rng.uniform(0.6, 2.5))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.communicate()
        if child.returncode == 0:
            break
    finish(start(hub, tmp_path / "home", *words(str(model), out), "-q"))
    assert kills
    assert sent(upload) == expected
    assert not list(out.glob("*.gguf*"))
    record = json.loads((out / "ladder.json").read_text())["files"]
    assert all(entry["weight_error"] for entry in record.values())


def test_an_upload_that_fails_is_tried_again_by_the_next_run(
    servers, model: Path, expected, tmp_path: Path
) -> None:
    hub, upload = servers
    out = tmp_path / "out"
    upload.fail_after, upload.fail_status = 8_000_000, 403
    child = start(hub, tmp_path / "home", *words(str(model), out), "-q")
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 3
    assert "Repeat the command to resume" in errors
    before = sum(map(len, upload.objects.values()))
    upload.fail_after, upload.received = None, 0
    finish(start(hub, tmp_path / "home", *words(str(model), out), "-q"))
    assert sent(upload) == expected
    total = sum(file.stat().st_size for file in (model.parent / "out").glob("*.gguf"))
    assert before
    assert upload.received == total - before


def test_what_is_there_already_is_neither_made_nor_sent(servers, model: Path, tmp_path) -> None:
    hub, upload = servers
    out = tmp_path / "out"
    finish(start(hub, tmp_path / "home", *words(str(model), out), "-q"))
    received, started = upload.received, time.monotonic()
    text, _ = finish(start(hub, tmp_path / "home", *words(str(model), out), "-q"))
    assert upload.received == received
    assert time.monotonic() - started < 20
    assert "Complete already: Q2_K, Q4_K_M, Q8_0, BF16." in text


def test_files_of_others_are_neither_replaced_nor_removed(servers, model, tmp_path) -> None:
    hub, _ = servers
    out = tmp_path / "out"
    assert main(["convert", str(model), "-o", str(out), "--ladder", "Q8_0", *SPLITS, "-q"]) == 0
    before = digests(out)
    child = start(hub, tmp_path / "home", *words(str(model), out), "-q")
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 3
    assert "exists and was not made by this command" in errors
    assert digests(out) == before


@pytest.mark.parametrize(
    ("command", "option"), [("vocabulary", ()), ("convert", ("--vocab-only",))]
)
def test_files_beside_a_model_leave_the_card_as_it_is(
    command: str, option: tuple[str, ...], servers, model: Path, tmp_path: Path
) -> None:
    hub, upload = servers
    upload.repos[REPO] = {"README.md": (b"mine", None)}
    out = tmp_path / "out"
    words = (str(model), *option, "-o", str(out), "--push", REPO, "--json")
    text, _ = finish(start(hub, tmp_path / "home", *words, command=command, jobs=()))
    facts = json.loads(text)
    assert facts["url"] == f"{hub.url}/{REPO}"
    (name,) = sent(upload)
    assert main(["vocabulary", str(model), "-o", str(tmp_path / "here"), "--json"]) == 0
    assert sent(upload)[name] == digests(tmp_path / "here")[name]
    assert name in json.loads(upload.repos[REPO]["ladder.json"][0])["files"]
    assert upload.repos[REPO]["README.md"][0] == b"mine"
    assert not list(out.glob("*.gguf*"))
