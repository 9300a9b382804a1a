"""Which tasks of a ladder are done: a run that is killed goes on from here.

A journal is a text file next to the ladder: a first line that says which ladder, then one line
per finished task with what the report needs of it. A line is written only after the task's blocks
have reached the disk; a line cut short by a crash is not believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple
from io import FileIO
from pathlib import Path

from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.converter.execution.report import TaskResult
from ggufkit.io.atomic import output_errors
from ggufkit.io.guarded_files import parse_json
from ggufkit.io.text import write_text_atomic

_MAX_LINE = 1 << 16  # of the first line: a digest and some words


def ladder_of(path: Path) -> str | None:
    """Return the ladder that a journal is of, None if there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            found = parse_json(file.readline(_MAX_LINE))
    except (OSError, ValueError):
        return None
    return found.get("ladder") if isinstance(found, dict) else None


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
    """

    def __init__(self, path: Path, ladder: str) -> None:
        self.path = path
        self.done: dict[int, TaskResult] = {}
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
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError):
            return []
        if not lines or lines[0].strip() != json.dumps({"ladder": self._ladder}):
            return []
        complete = []
        for line in lines[1:]:
            try:
                result = _parse(line)
            except (ValueError, TypeError, KeyError):
                break
            if not line.endswith("\n"):
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

    @staticmethod
    def _write(file: FileIO, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[file.write(view) :]

    def forget(self) -> None:
        """Start over: a file that tasks were written to is gone."""
        self.close()
        self.done.clear()
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


def _parse(line: str) -> TaskResult:
    number, tensor, written, sums, n_nonfinite = parse_json(line)
    sums = {key: ErrorSums(*values) for key, values in sums.items()}
    return TaskResult(number, tensor, written, sums, n_nonfinite)
