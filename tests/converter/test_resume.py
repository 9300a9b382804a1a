"""A ladder that is killed goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.converter.execution import execute as execute_module
from ggufkit.converter.execution import outputs as outputs_module
from ggufkit.converter.execution.journal import Journal, files_of
from ggufkit.converter.execution.report import TaskResult
from ggufkit.converter.ladder import convert
from ggufkit.errors import OutputError
from tests.llama import write_llama

pytestmark = pytest.mark.torture

LADDER = "Q2_K,Q4_K_M,Q6_K,Q8_0"
# Slow enough to be caught in the middle, with every task noted at once.
CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
from ggufkit.converter.execution import execute, outputs
from ggufkit.converter.ladder import convert
outputs.NOTE_SECONDS = 0.0
real = execute.run_task
def slow(*args, **kwargs):
    time.sleep(0.02)
    return real(*args, **kwargs)
execute.run_task = slow
convert(sys.argv[1], sys.argv[2], ladder=sys.argv[3], jobs=2)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "Tiny", n_layers=6)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.gguf")}


def n_noted(out: Path) -> int:
    journals = list(out.glob(".ggufkit-*.journal"))
    return len(journals[0].read_bytes().splitlines()) - 1 if journals else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [1, 25])
def test_a_killed_run_is_finished_by_the_next(
    source: Path,
    tmp_path: Path,
    how: signal.Signals,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, source, out, LADDER], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while n_noted(out) < after:
        assert time.monotonic() < deadline
        assert child.poll() is None, "finished before it could be killed"
        time.sleep(0.005)
    child.send_signal(how)
    child.wait(60)
    assert not list(out.glob("*.gguf"))
    noted = n_noted(out)
    assert noted >= after

    ran: list[int] = []
    real = execute_module.run_task
    monkeypatch.setattr(
        execute_module,
        "run_task",
        lambda task, **kw: ran.append(task.number) or real(task, **kw),
    )
    ladder = convert(source, out, ladder=LADDER)
    n_tasks = sum(1 for _ in ladder.plan.tasks())
    assert len(ran) == n_tasks - noted

    whole = convert(source, tmp_path / "whole", ladder=LADDER)
    assert digests(out) == digests(tmp_path / "whole")
    assert ladder.report == whole.report
    assert not list(out.glob(".ggufkit*"))
    assert not list(out.glob("*.partial"))


def test_a_run_stopped_while_publishing_publishes_the_rest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(source, tmp_path / "whole", ladder=LADDER)
    real = outputs_module.PartialFile.publish
    published: list[Path] = []

    def publish_two(self):
        if len(published) == 2:
            raise OutputError("stopped")
        published.append(self.final_path)
        return real(self)

    monkeypatch.setattr(outputs_module.PartialFile, "publish", publish_two)
    with pytest.raises(OutputError, match="stopped"):
        convert(source, tmp_path / "out", ladder=LADDER)
    monkeypatch.undo()
    monkeypatch.setattr(execute_module, "run_task", _must_not_run)
    ladder = convert(source, tmp_path / "out", ladder=LADDER)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert ladder.report == whole.report


def test_a_lost_partial_file_starts_the_ladder_over(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", CHILD, source, out, LADDER])
    while n_noted(out) < 10:
        time.sleep(0.005)
    child.kill()
    child.wait(60)
    next(out.glob("*Q6_K.gguf.partial")).unlink()
    convert(source, out, ladder=LADDER)
    convert(source, tmp_path / "whole", ladder=LADDER)
    assert digests(out) == digests(tmp_path / "whole")


def test_a_torn_line_of_the_journal_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "ladder")
    results = [TaskResult(n, "w", 10, {"Q8_0": ErrorSums(1, 2.0, 3.0, 4.0, 5.0)}) for n in range(3)]
    journal.add(results)
    journal.close()
    data = path.read_bytes()
    first_two = b"".join(data.splitlines(keepends=True)[:3])
    for cut in range(len(first_two), len(data)):
        path.write_bytes(data[:cut])
        again = Journal(path, "ladder")
        again.close()
        assert list(again.done.values()) == results[:2]


def test_a_torn_line_hides_no_complete_file_of_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "ladder")
    journal.add_file("a.gguf", "its state")
    journal.close()
    whole = path.read_bytes()
    for torn in (b"", b"[", b'[2,"w",', b'{"complete":"b.gguf","state":"x"}'):
        path.write_bytes(whole + torn)
        assert files_of(path, "ladder") == {"a.gguf": "its state"}
        assert files_of(path, "another") == {}


def test_a_journal_of_another_ladder_is_started_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "one")
    journal.add([TaskResult(0, "w", 1)])
    journal.close()
    other = Journal(tmp_path / "journal", "two")
    other.close()
    assert other.done == {}


def _must_not_run(*_, **__):
    raise AssertionError("a task ran again")
