"""The two text files of a ladder: sums that others check, and where each file comes from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from ggufkit.converter.execution.report import Report
from ggufkit.converter.planning.plan import OutputFile, Plan, Rung
from ggufkit.errors import OutputError
from ggufkit.io.atomic import check_final
from ggufkit.io.guarded_files import read_json_file
from ggufkit.io.text import write_text_atomic
from ggufkit.version import __version__

SUMS_NAME = "SHA256SUMS"
LADDER_NAME = "ladder.json"
_SUM = re.compile(r"\\?[0-9a-fA-F]{64} [ *](.+)")
# The facts that are read again, of anybody's ladder.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "sha256": (str,),
    "bytes": (int,),
    "fingerprint": (str, NoneType),
    "source": (dict, NoneType),
    "weight_error": (dict, NoneType),
    "bits_per_weight": (int, float, NoneType),
    "imatrix": (dict, NoneType),
}


@dataclass
class LadderManifest:
    """``ladder.json`` and ``SHA256SUMS`` of a folder.

    Attributes
    ----------
    folder : Path
        Where they are.
    files : dict
        What ``ladder.json`` says of each file, by name.
    written_ns : int
        When ``ladder.json`` was written.
    """

    folder: Path
    files: dict[str, dict[str, Any]]
    written_ns: int = 0

    @classmethod
    def read(cls, folder: Path) -> LadderManifest:
        """Read it; malformed entries are left out, and a missing or malformed file is empty."""
        path = folder / LADDER_NAME
        try:
            files = dict(read_json_file(path)["files"])
            written_ns = path.stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder, {})
        entries = {name: entry for name, entry in files.items() if _is_entry(entry)}
        return cls(folder, entries, written_ns)

    def refuse_foreign(self, *, force: bool) -> None:
        """Refuse to replace text files of these names that are somebody else's.

        Raises
        ------
        OutputError
            There is a file, folder or link that no ladder has written; with `force`, files are
            replaced.
        """
        for name in (LADDER_NAME, SUMS_NAME):
            path = self.folder / name
            check_final(path)
            if force or not path.exists():
                continue
            if not self.written_ns if name == LADDER_NAME else self._other_lines() is None:
                raise OutputError(
                    f"{path} exists and is not of a ladder: replace it with --force, or choose "
                    "another folder"
                )

    def _other_lines(self) -> list[str] | None:
        """Return the lines of ``SHA256SUMS`` about other files; None if it has other text."""
        try:
            text = (self.folder / SUMS_NAME).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError):
            return None
        lines = [_SUM.fullmatch(line) for line in text.splitlines()]
        if not all(lines):
            return None
        return [match[0] for match in lines if match and match[1] not in self.files]

    def is_complete(self, rung: Rung, fingerprint: str) -> bool:
        """Whether all files of a rung are there, as an earlier run with this outcome left them."""
        return all(
            part.path.is_file()
            and part.path.stat().st_size == part.layout.file_size
            and self.files.get(part.path.name, {}).get("fingerprint") == fingerprint
            and self._is_as_recorded(part.path)
            for part in rung.parts
        )

    def _is_as_recorded(self, path: Path) -> bool:
        """Whether nobody has changed a file since: a later time says that somebody may have."""
        if path.stat().st_mtime_ns <= self.written_ns:
            return True
        return sha256_of(path) == self.files[path.name].get("sha256")

    def record_all(self, plan: Plan, report: Report) -> None:
        """Note the rungs of a plan that is done, and write both files.

        Raises
        ------
        OutputError
            They can't be written.
        """
        parts = [(rung, part) for rung in plan.rungs for part in rung.parts]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sums = list(pool.map(lambda pair: sha256_of(pair[1].path), parts))
        for (rung, part), digest in zip(parts, sums, strict=True):
            self.record(plan, rung, part, digest)
        self.record_errors(plan, report)
        self.write()

    def record(self, plan: Plan, rung: Rung, part: OutputFile, digest: str) -> None:
        """Note a file with its SHA-256, and no errors of weights yet."""
        self.files[part.path.name] = {
            "sha256": digest,
            "bytes": part.layout.file_size,
            "file_type": rung.name,
            "bits_per_weight": round(rung.bits_per_weight, 4),
            "weight_error": None,
            "source": plan.source.origin,
            "via": plan.via.name if rung.via_intermediate else None,
            "search": plan.search,
            "imatrix": plan.imatrix if rung.recipe.base.is_quantized else None,
            "ggufkit": __version__,
            "fingerprint": plan.fingerprint(rung),
        }

    def record_errors(self, plan: Plan, report: Report) -> None:
        """Note the errors of the rungs of which every tensor was measured."""
        for rung in plan.rungs:
            total = report.of_rung(rung)
            if total is None or any(report.of_tensor(rung, name) is None for name in rung.targets):
                continue
            for part in rung.parts:
                self.files[part.path.name]["weight_error"] = total.as_dict()

    def write(self) -> None:
        """Write both files.

        Raises
        ------
        OutputError
            They can't be written.
        """
        lines = [f"{entry['sha256']}  {name}\n" for name, entry in sorted(self.files.items())]
        lines += [f"{line}\n" for line in self._other_lines() or ()]
        write_text_atomic(self.folder / SUMS_NAME, "".join(lines))
        text = json.dumps({"files": dict(sorted(self.files.items()))}, indent=1, ensure_ascii=False)
        write_text_atomic(self.folder / LADDER_NAME, text + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), kinds) for key, kinds in _KINDS.items()
    )
