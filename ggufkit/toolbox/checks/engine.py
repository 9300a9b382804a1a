"""Running the rules on a file, and applying fixes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ggufkit.errors import BadValueError
from ggufkit.rules.rule import CheckRule, Finding
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.checks.rules import GROUPS, RULES
from ggufkit.toolbox.checks.scan import scan
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.toolbox.edit import Edit, edit

_MAX_MESSAGE = 2000


def check(
    path: str | os.PathLike[str],
    *,
    weights: bool = True,
    ignore: Collection[str] = (),
    jobs: int | None = None,
    progress: Progress = silent,
) -> list[Finding]:
    """Look for faults in a GGUF file, or in all parts of a split one.

    Parameters
    ----------
    path : path-like
        The file, or any part of a split model. Even a damaged file gives a result.
    weights : bool
        Read the weights too.
    ignore : collection of str
        Ids of rules to leave out.
    jobs : int, optional
        Threads; one per CPU by default.
    progress : callable
        Called with the number of bytes of weights, as they are read.

    Returns
    -------
    list of Finding
        Errors first; in the order of the table of rules.

    Raises
    ------
    BadValueError
        `ignore` names no rule.
    MissingFileError
        There is no such file.

    Examples
    --------
    >>> import numpy as np, tempfile, ggufkit
    >>> path = tempfile.mkdtemp() + "/tiny.gguf"
    >>> data = {"blk.0.a.weight": (np.full(8, np.nan, np.float32), ggufkit.TensorType.F32)}
    >>> _ = ggufkit.save(path, {"general.name": "Tiny", "general.file_type": 0}, data)
    >>> [(found.severity.word, found.rule) for found in ggufkit.check(path)][:2]
    [('error', 'missing-architecture'), ('error', 'missing-tokenizer')]
    """
    unknown = set(ignore) - {rule.id for rule in RULES}
    if unknown:
        raise BadValueError(
            f"unknown rule {sorted(unknown)[0]!r}: 'ggufkit check --rules' lists them"
        )
    subject = CheckedModel(Path(path))
    if weights and subject.first.complete:
        subject.weights = scan(subject.parts, jobs, progress)
    found = [
        finding
        for rule in _usable(subject)
        if rule.id not in ignore
        for finding in _findings(rule, subject)
    ]
    return sorted(found, key=lambda finding: -finding.severity)


def _usable(subject: CheckedModel) -> Iterable[CheckRule]:
    """Return the applicable rules: only those about structure if the header is incomplete."""
    if subject.first.complete:
        return RULES
    return GROUPS["structure"] + GROUPS["splits"]


def _findings(rule: CheckRule, subject: CheckedModel) -> Iterator[Finding]:
    for found in rule.check(subject):
        yield Finding(
            rule.id,
            found.severity or rule.severity,
            _shortened(found.message),
            found.path or subject.first.path,
            found.fix if found.fix is not None and subject.is_editable else None,
        )


def _shortened(message: str) -> str:
    """Shorten a message that quotes a long text."""
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "..."


def fix(
    findings: Iterable[Finding], *, dry_run: bool = False, progress: Progress = silent
) -> list[Edit]:
    """Apply the fixes of findings, all those of a file at once.

    Parameters
    ----------
    findings : iterable of Finding
        From `check`; those without a fix are skipped.
    dry_run : bool
        Change nothing.
    progress : callable
        Called with the number of bytes, as they are copied.

    Raises
    ------
    OutputError
        A file can't be written.
    """
    by_path: dict[Path, list[Finding]] = {}
    for finding in findings:
        if finding.fix is not None:
            by_path.setdefault(finding.path, []).append(finding)
    return [_fix_file(path, found, dry_run, progress) for path, found in by_path.items()]


def _fix_file(path: Path, findings: list[Finding], dry_run: bool, progress: Progress) -> Edit:
    values: dict[str, Any] = {}
    delete: list[str] = []
    drop: list[str] = []
    fixes = [finding.fix for finding in findings if finding.fix is not None]
    for one in fixes:
        values |= one.values
        delete += one.delete
        drop += one.drop_tensors
    rewrite = any(one.rewrite for one in fixes)
    return edit(
        path,
        out=path if rewrite else None,
        values=values,
        delete=delete,
        drop_tensors=drop,
        dry_run=dry_run,
        force=rewrite,
        progress=progress,
    )
