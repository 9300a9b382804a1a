"""The tasks of a ladder on processes and on Dask workers: the same bytes, whoever dies."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.execution.executors import open_executor
from ggufkit.errors import ConversionError
from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama
from tests.torture import ROOT, digests

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

LADDER = "Q2_K,Q4_K_M,Q6_K,Q8_0"
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"
KILLS = 20
# Every task takes a while, so that workers die in the middle of one.
SLOW = "import time; from ggufkit.codecs import error_sums as sums; real = sums.error_sums\n"
SLOW += "def slow(*a):\n    time.sleep(0.02)\n    return real(*a)\n"
SLOW += "sums.error_sums = slow\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "Tiny", n_layers=6)


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected")
    assert main(["convert", str(source), "-o", str(out), "--ladder", LADDER, "-q"]) == 0
    return digests(out)


@contextmanager
def process(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen]:
    command = [*prefix, sys.executable, "-c", code, *arguments]
    child = subprocess.Popen(
        command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def scheduler(host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Iterator[str]:
    port = str(free_port())
    arguments = ("--host", host, "--port", port, "--no-dashboard", "--no-jupyter")
    with process(SCHEDULER, *arguments, prefix=prefix):
        yield f"tcp://{host}:{port}"


def worker(address: str, folder: Path, code: str = WORKER, prefix: tuple[str, ...] = ()):
    options = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(folder))
    return process(code, address, *options, prefix=prefix)


def convert(
    source: Path | str, out: Path, executor: str, *options: str, prefix: tuple[str, ...] = ()
) -> None:
    code = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["convert", source, "-o", out, "--ladder", LADDER, "-q", "--executor", executor]
    command = [*prefix, sys.executable, "-c", code, *arguments, *options]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_processes_give_the_same_bytes(source: Path, tmp_path: Path, expected) -> None:
    convert(source, tmp_path / "out", "processes")
    assert digests(tmp_path / "out") == expected


def test_two_workers_give_the_same_bytes(source: Path, tmp_path: Path, expected) -> None:
    with (
        scheduler() as address,
        worker(address, tmp_path / "1"),
        worker(address, tmp_path / "2"),
    ):
        convert(source, tmp_path / "out", f"dask:{address}")
    assert digests(tmp_path / "out") == expected


def test_workers_read_from_the_hub_themselves(
    source: Path, tmp_path: Path, expected, monkeypatch
) -> None:
    with serve(Hub({"me/Tiny": {"main": source}})) as hub:
        monkeypatch.setitem(ENV, "HF_ENDPOINT", hub.url)
        monkeypatch.setitem(ENV, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setitem(ENV, "NO_PROXY", "127.0.0.1")
        with (
            scheduler() as address,
            worker(address, tmp_path / "1"),
            worker(address, tmp_path / "2"),
        ):
            convert("me/Tiny", tmp_path / "out", f"dask:{address}", "--stream")
    assert digests(tmp_path / "out") == expected
    weights = (source / "model.safetensors").stat().st_size
    assert weights < hub.sent["model.safetensors"] < 1.02 * weights


def test_workers_that_are_killed_cost_nothing_but_their_task(
    source: Path, tmp_path: Path, expected
) -> None:
    rng = random.Random(0)
    stop = threading.Event()
    killed = rounds = 0
    with scheduler() as address, worker(address, tmp_path / "stays", SLOW + WORKER):

        def kill_and_replace() -> None:
            nonlocal killed
            while not stop.is_set():
                with worker(address, tmp_path / str(killed), SLOW + WORKER) as victim:
                    time.sleep(1 + 1.5 * rng.random())  # it takes a second to begin
                    victim.send_signal(signal.SIGKILL)
                    killed += 1

        killer = threading.Thread(target=kill_and_replace)
        killer.start()
        try:
            while killed < KILLS:
                convert(source, tmp_path / f"out{rounds}", f"dask:{address}")
                assert digests(tmp_path / f"out{rounds}") == expected
                rounds += 1
        finally:
            stop.set()
            killer.join()


def can_make_hosts() -> bool:
    """Whether network namespaces can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "ggufkit-try"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", "ggufkit-try"], capture_output=True, check=False)
    return made.returncode == 0


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


@pytest.mark.skipif(not can_make_hosts(), reason="hosts need network namespaces: root and iproute2")
def test_hosts_of_their_own_give_the_same_bytes(source: Path, tmp_path: Path, expected) -> None:
    with ExitStack() as stack:
        ip("link add gkbridge type bridge")
        stack.callback(ip, "link del gkbridge")
        ip("addr add 10.77.0.1/24 dev gkbridge")
        ip("link set gkbridge up")
        for i in (2, 3):
            ip(f"netns add gkhost{i}")
            stack.callback(ip, f"netns del gkhost{i}")
            ip(f"link add gkport{i} type veth peer name eth0 netns gkhost{i}")
            ip(f"link set gkport{i} master gkbridge up")
            ip(f"-n gkhost{i} addr add 10.77.0.{i}/24 dev eth0")
            ip(f"-n gkhost{i} link set eth0 up")
            ip(f"-n gkhost{i} link set lo up")
        with scheduler("10.77.0.1") as address, ExitStack() as workers:
            for i in (2, 3):
                prefix = ("ip", "netns", "exec", f"gkhost{i}")
                workers.enter_context(worker(address, tmp_path / str(i), prefix=prefix))
            convert(source, tmp_path / "out", f"dask:{address}")
    assert digests(tmp_path / "out") == expected


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ggufkit.converter.execution.executors.CONNECT_SECONDS", 1)
    with (
        pytest.raises(ConversionError, match="is a scheduler running there"),
        open_executor(f"dask:tcp://127.0.0.1:{free_port()}"),
    ):
        pass


def test_a_cluster_without_workers_is_named() -> None:
    with (
        scheduler() as address,
        pytest.raises(ConversionError, match="has no workers"),
        open_executor(f"dask:{address}"),
    ):
        pass


def test_other_executors_do_not_exist() -> None:
    with pytest.raises(ConversionError, match="unknown executor 'ray'"), open_executor("ray"):
        pass
