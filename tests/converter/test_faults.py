"""Ladders that are stopped, run out of disk or meet others: no wrong file, and a way on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ggufkit.checkpoint.safetensors import ShardFile
from ggufkit.converter.ladder import convert, open_source, plan_ladder, run_plan
from ggufkit.errors import CheckpointError, OutputError
from ggufkit.io.folder_lock import LOCK_NAME, locked
from tests import torture
from tests.llama import write_llama

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> torture.Case:
    return torture.Case(tmp_path_factory.mktemp("torture"))


def can_mount() -> bool:
    """Whether a disk can be made here."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_at_random_moments(case: torture.Case, how: signal.Signals) -> None:
    counts = torture.stop_ladders(case, 4, how, random.Random(how), lambda: None)
    assert counts["stops"] == 4


@pytest.mark.skipif(not can_mount(), reason="making a small disk needs the rights to mount one")
def test_disks_that_become_full(case: torture.Case) -> None:
    counts = torture.fill_disks(case, 4, random.Random(0), lambda: None)
    assert counts["disks"] == 4
    assert counts["refused at the start"] == 2


@pytest.mark.skipif(not can_mount(), reason="making a disk read-only needs the rights to mount one")
def test_a_read_only_folder_is_refused_before_any_weight_is_read(
    case: torture.Case, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(ShardFile, "read_into", None)
    with torture.small_disk(tmp_path / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for out in (disk, disk / "out"):
            with pytest.raises(OutputError, match=r"[Rr]ead-only"):
                convert(case.source, out, ladder="Q8_0")


def test_eight_processes_at_one_ladder(case: torture.Case, tmp_path: Path) -> None:
    children = [case.start(tmp_path / "out") for _ in range(8)]
    errors = [child.communicate()[1] for child in children]
    codes = [child.returncode for child in children]
    assert 0 in codes
    assert set(codes) <= {0, 3}
    for code, text in zip(codes, errors, strict=True):
        assert code == 0 or "is writing into this folder" in text
    case.check(tmp_path / "out", complete=True)


def test_a_folder_in_use_is_named_with_its_process(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    (tmp_path / "out").mkdir()
    with (
        locked(tmp_path / "out"),
        pytest.raises(OutputError, match=rf"another ggufkit \(process {os.getpid()}\)"),
    ):
        convert(source, tmp_path / "out", ladder="Q8_0")
    assert not list((tmp_path / "out").iterdir())


def test_the_lock_of_a_dead_process_is_none(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK_NAME).write_text("1")
    convert(source, tmp_path / "out", ladder="Q8_0")
    assert not (tmp_path / "out" / LOCK_NAME).exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out" / LOCK_NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError):
        convert(source, tmp_path / "out", ladder="Q8_0")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("fails_at", [1, 2, 5, 9])
def test_a_source_that_can_not_be_read_publishes_nothing(
    tmp_path: Path, monkeypatch, fails_at: int
) -> None:
    source = write_llama(tmp_path / "model")
    calls = 0
    real = os.fstat

    def failing(fd):
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd)

    plan = plan_ladder(open_source(source), tmp_path / "out", "Q4_0,Q8_0")
    monkeypatch.setattr("ggufkit.checkpoint.safetensors.os.fstat", failing)
    with pytest.raises((CheckpointError, OutputError), match="Input/output error"):
        run_plan(plan, jobs=1)
    assert not list((tmp_path / "out").glob("*.gguf"))
    monkeypatch.undo()
    assert run_plan(plan).paths[0].exists()


def test_a_source_cut_short_while_it_is_read_publishes_nothing(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    plan = plan_ladder(open_source(source), tmp_path / "out", "Q4_0,Q8_0")
    shard = source / "model.safetensors"
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="changed during the conversion"):
        run_plan(plan)
    assert not list((tmp_path / "out").glob("*.gguf"))
