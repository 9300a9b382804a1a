"""Stop ladders and edits at random moments, fill their disk, and see that no file lies.

Each function makes a number of attempts and returns counts; it raises `AssertionError` at the
first wrong file. The tests make a few attempts, ``scripts/torture`` hundreds.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ggufkit
from ggufkit.toolbox.edit import edit
from ggufkit.toolbox.header_journal import journal_path
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[1]
LADDER = "Q2_K,Q4_K_M,Q6_K,Q8_0"
# Notes finished tasks often, so that kills fall between notes as well as into tasks.
CHILD = """
import signal, sys
from ggufkit.cli.main import main
from ggufkit.converter.execution import outputs
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
outputs.NOTE_SECONDS = 0.02
sys.exit(main(["convert", sys.argv[1], "-o", sys.argv[2], "--ladder", sys.argv[3], "-q", "-j2"]))
"""
PROMPT = 2.0  # seconds that an interrupted run may take to end

Counts = dict[str, float]


class Case:
    """A checkpoint, and what its ladder has to be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = write_llama(folder / "Tiny", n_layers=4, hidden=512, ffn=1536)
        start = time.monotonic()
        child = self.start(folder / "whole")
        _, errors = child.communicate()
        assert child.returncode == 0, errors
        self.seconds = time.monotonic() - start
        self.expected = digests(folder / "whole")
        self.bytes = sum(path.stat().st_size for path in (folder / "whole").glob("*.gguf"))
        for path in (folder / "whole").glob("*.gguf"):
            decode(path)

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Start a conversion; one that was stopped goes on."""
        command = [sys.executable, "-c", CHILD, self.source, out, LADDER]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def check(self, out: Path, *, complete: bool = False) -> int:
        """Check that every file with a final name is whole and right; return their number."""
        found = digests(out)
        assert found.items() <= self.expected.items(), f"wrong: {found}"
        if complete:
            assert found == self.expected
            left = [p.name for p in out.iterdir() if p.name.startswith(".") or "partial" in p.name]
            assert not left, left
        return len(found)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file with a final name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.gguf")}


def decode(path: Path) -> None:
    """Decode every tensor of a file."""
    with ggufkit.open(path) as model:
        for tensor in model.values():
            ggufkit.dequantize(tensor)


def stop_ladders(
    case: Case, n: int, how: signal.Signals, rng: random.Random, tick: Callable[[], None]
) -> Counts:
    """Send a signal `n` times, at random moments of runs that go on where the last one was."""
    counts: Counts = {"stops": 0, "completed runs": 0, "files published when stopped": 0}
    slowest = 0.0
    out = case.folder / how.name
    while counts["stops"] < n:
        child = case.start(out)
        try:
            child.wait(rng.uniform(0.05, case.seconds * 1.1))
        except subprocess.TimeoutExpired:
            child.send_signal(how)
            sent = time.monotonic()
            child.wait()
            slowest = max(slowest, time.monotonic() - sent)
        _, errors = child.communicate()
        if child.returncode in (-how, 130):
            counts["stops"] += 1
            counts["files published when stopped"] += case.check(out) if out.is_dir() else 0
            tick()
            continue
        assert child.returncode == 0, errors  # it was done before the signal
        assert counts["completed runs"] < 10 * n + 10, "signals do not reach the runs"
        case.check(out, complete=True)
        shutil.rmtree(out)
        counts["completed runs"] += 1
    finish(case, out)
    counts["completed runs"] += 1
    assert slowest < PROMPT, f"{slowest:.1f} s to stop"
    return {**counts, "slowest stop, s": round(slowest, 2)}


def finish(case: Case, out: Path) -> None:
    """Let the last run complete."""
    child = case.start(out)
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    case.check(out, complete=True)
    shutil.rmtree(out)


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a disk of `n_bytes` on a folder; needs the rights to do so."""
    folder.mkdir(parents=True)
    options = f"size={n_bytes // 4096 * 4096}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disks(case: Case, n: int, rng: random.Random, tick: Callable[[], None]) -> Counts:
    """Let the disk become full at `n` random sizes: before the start, and during the run."""
    counts: Counts = {"disks": 0, "refused at the start": 0, "full during the run": 0}
    for i in range(n):
        enough = case.bytes + (4 << 20)
        with small_disk(case.folder / "disk" / str(i), enough) as disk:
            ballast = disk / "ballast"
            early = i % 2 == 0
            free = rng.randrange(case.bytes) if early else rng.randrange(case.bytes // 2)
            if early:
                ballast.write_bytes(bytes(enough - (1 << 20) - free))
            child = case.start(disk / "out")
            if not early:
                _fill(ballast, disk, free, child)
            _, errors = child.communicate()
            if child.returncode:
                assert child.returncode == 3, errors
                assert "free" in errors, errors
                counts["refused at the start" if early else "full during the run"] += 1
            if (disk / "out").is_dir():
                case.check(disk / "out", complete=child.returncode == 0)
            ballast.unlink()
            finish(case, disk / "out")
        counts["disks"] += 1
        tick()
    return counts


def _fill(ballast: Path, disk: Path, leave: int, child: subprocess.Popen[str]) -> None:
    """Take all but `leave` bytes, once the run has begun to write."""
    while child.poll() is None and not list(disk.glob("out/*.partial")):
        time.sleep(0.001)
    status = os.statvfs(disk)
    wanted = status.f_bavail * status.f_frsize - leave
    with ballast.open("wb") as file:
        try:
            file.write(bytes(max(0, wanted)))
        except OSError:  # the run was faster
            return


def stop_edits(folder: Path, n: int, rng: random.Random, tick: Callable[[], None]) -> Counts:
    """Kill an edit in place `n` times: the file is the old one or the new one."""
    path = folder / "edited.gguf"
    source = next((folder / "whole").glob("*Q8_0.gguf"))
    texts = [letter * 300_000 for letter in "ab"]
    wanted = []
    for text in texts:
        shutil.copy(source, path)
        edit(path, values={"tokenizer.chat_template": text})
        wanted.append(path.read_bytes())
    start = time.monotonic()
    edit(path, values={"tokenizer.chat_template": texts[0]})
    seconds = time.monotonic() - start
    counts: Counts = {"kills": 0, "journals found": 0, "old file": 0, "new file": 0}
    while counts["kills"] < n:
        path.write_bytes(wanted[0])
        child = os.fork()
        if not child:
            edit(path, values={"tokenizer.chat_template": texts[1]})
            os._exit(0)
        time.sleep(rng.uniform(0.0, 1.2 * seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        counts["journals found"] += journal_path(path).exists()
        edit(path)  # finishes what was interrupted
        found = path.read_bytes()
        assert found in wanted
        assert not journal_path(path).exists()
        if os.WIFSIGNALED(status):
            counts["kills"] += 1
            counts["new file" if found == wanted[1] else "old file"] += 1
            tick()
    return counts
