"""Which tasks of a ladder are done: a run that is killed goes on from here.

A journal is a text file next to the ladder: a first line that says which ladder, then one line
per finished task with what the report needs of it. A line is written only after the task's blocks
have reached the disk; a line cut short by a crash is not believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from io import FileIO
from pathlib import Path
from typing import Any

from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.converter.execution.report import TaskResult
from ggufkit.io.atomic import output_errors
from ggufkit.io.guarded_files import parse_json
from ggufkit.io.text import write_text_atomic

_MAX_LINE = 1 << 16  # of the first line: a digest and some words


def files_of(path: Path, ladder: str) -> dict[str, str]:
    """Return the states of the files that the journal of a ladder says are complete, by name."""
    return dict(filter(None, (_complete_file(entry) for _, entry in _entries(path, ladder))))


def state_of(path: Path) -> str:
    """Return what tells a complete file from one that somebody has put in its place."""
    status = path.lstat()
    return f"{status.st_mode} {status.st_size} {status.st_mtime_ns}"


def _entries(path: Path, ladder: str) -> Iterator[tuple[str, Any]]:
    """Yield the lines of a ladder's journal and what they say, up to one that was cut short.

    There are none if there is no journal, or it is another ladder's.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if file.readline(_MAX_LINE).strip() != json.dumps({"ladder": ladder}):
                return
            for line in file:
                if not line.endswith("\n"):
                    return
                yield line, parse_json(line)
    except (OSError, ValueError):
        return


def _complete_file(entry: Any) -> tuple[str, str] | None:
    match entry:
        case {"complete": str(name), "state": str(state)}:
            return name, state
    return None


class Journal:
    """The journal of one ladder.

    Parameters
    ----------
    path : Path
        Its file.
    ladder : str
        Fingerprint of the ladder: a journal of another one is started over.

    Attributes
    ----------
    done : dict of int to TaskResult
        Finished tasks by number.
    files : dict of str to str
        Names of complete files to their states; see `state_of`.
    """

    def __init__(self, path: Path, ladder: str) -> None:
        self.path = path
        self.done: dict[int, TaskResult] = {}
        self.files: dict[str, str] = {}
        self._ladder = ladder
        self._file: FileIO | None = None
        self._start(self._read())

    def _start(self, complete: list[str]) -> None:
        # Rewritten rather than appended to: a torn last line must not precede new ones.
        first = json.dumps({"ladder": self._ladder}) + "\n"
        write_text_atomic(self.path, first + "".join(complete))
        with output_errors(self.path):
            # Without a buffer: on a full disk, one would try again to write when it is closed.
            self._file = self.path.open("ab", buffering=0)

    def _read(self) -> list[str]:
        complete = []
        for line, entry in _entries(self.path, self._ladder):
            if file := _complete_file(entry):
                self.files[file[0]] = file[1]
            else:
                try:
                    result = _result_of(entry)
                except (ValueError, TypeError, KeyError, AttributeError):
                    break
                self.done[result.number] = result
            complete.append(line)
        return complete

    def add(self, results: Iterable[TaskResult]) -> None:
        """Note finished tasks; their blocks must be on disk already."""
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        with output_errors(self.path):
            for result in results:
                self.done[result.number] = result
                self._write(self._file, _format(result).encode())

    def add_file(self, name: str, state: str) -> None:
        """Note a file that is complete, before it gets its final name."""
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        self.files[name] = state
        with output_errors(self.path):
            line = json.dumps({"complete": name, "state": state}) + "\n"
            self._write(self._file, line.encode())
            os.fsync(self._file.fileno())

    def has_published(self, path: Path) -> bool:
        """Whether a run of this ladder gave the file at `path` its name."""
        return self.files.get(path.name) == (state_of(path) if os.path.lexists(path) else "")

    @staticmethod
    def _write(file: FileIO, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[file.write(view) :]

    def forget(self) -> None:
        """Start over: a file that tasks were written to is gone."""
        self.close()
        self.done.clear()
        self.files.clear()
        self._start([])

    def close(self) -> None:
        """Close the file and keep it for the next run."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _format(result: TaskResult) -> str:
    sums = {key: astuple(value) for key, value in result.sums.items()}
    line = [result.number, result.tensor, result.written, sums, result.n_nonfinite]
    return json.dumps(line, separators=(",", ":")) + "\n"


def _result_of(entry: Any) -> TaskResult:
    number, tensor, written, sums, n_nonfinite = entry
    sums = {key: ErrorSums(*values) for key, values in sums.items()}
    return TaskResult(number, tensor, written, sums, n_nonfinite)
