"""Check GGUF files for known faults, and fix those that are safe to fix.

FILE may be any part of a split model; all its parts are checked. An error means that a program
refuses the file or that the model would give wrong results, a warning that something is probably
not intended, a note that something is worth knowing. Exit code 1 if there are errors; with
--strict, also if there are warnings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, UsageError, add_shared
from ggufkit.cli.json_output import emit
from ggufkit.gguf.split import parse_part_name, part_name

if TYPE_CHECKING:
    from ggufkit.rules.rule import Finding
    from ggufkit.toolbox.edit import Edit

_SEVERITIES = ("error", "warning", "note")


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="GGUF file, or any part of a split one")
    add("--rules", action="store_true", help="list the rules, then stop")
    add("--no-weights", action="store_true", help="do not read the weights")
    add(
        "--severity",
        choices=_SEVERITIES,
        default="note",
        help="show findings of at least this severity; default: %(default)s",
    )
    add(
        "--ignore",
        action="append",
        default=[],
        metavar="RULE",
        help="leave out a rule; may be repeated",
    )
    add("--strict", action="store_true", help="exit with 1 for warnings, too")
    add("--fix", action="store_true", help="make the changes that are safe")
    add("--dry-run", action="store_true", help="with --fix: show what would be changed, then stop")
    add_shared(parser, "--json", "--jobs", "--quiet")
    parser.declare("--dry-run", requires="--fix")
    parser.declare("--jobs", conflicts="--no-weights")
    unread = ("--no-weights", "--severity", "--ignore", "--strict", "--fix", "--jobs", "--quiet")
    parser.declare("FILE", *unread, conflicts="--rules")


def run(args: argparse.Namespace) -> int:
    """Check files; 1 if errors remain."""
    if args.rules:
        return _list_rules(as_json=args.json)
    if not args.files:
        raise UsageError("expected FILE or --rules")
    reports = [_check(path, args) for path in _models(args.files)]
    if args.json:
        emit(reports)
    counted = ("error", "warning") if args.strict else ("error",)
    return int(any(report["counts"][word] for report in reports for word in counted))


def _list_rules(*, as_json: bool) -> int:
    from ggufkit.toolbox.checks.rules import GROUPS

    rows = [
        (rule.id, rule.severity.word, group, "yes" if rule.fixable else "", rule.title)
        for group, rules in GROUPS.items()
        for rule in rules
    ]
    if as_json:
        keys = ("rule", "severity", "group", "fixable", "title")
        listed = [{**dict(zip(keys, row, strict=True)), "fixable": bool(row[3])} for row in rows]
        emit(listed)
    else:
        render.table(("rule", "severity", "about", "fix", "the fault"), rows)
    return 0


def _models(paths: Sequence[Path]) -> list[Path]:
    """Return one file of each model: parts of a split are checked together."""
    models: dict[object, Path] = {}
    for path in paths:
        part = parse_part_name(path.name)
        models.setdefault((path.parent, part[0], part[2]) if part else path, path)
    return list(models.values())


def _parts(path: Path) -> list[Path]:
    """Return the files of a model, whether they are there or not."""
    found = parse_part_name(path.name)
    if found is None:
        return [path]
    stem, _, count = found
    return [path.with_name(part_name(stem, index, count)) for index in range(count)]


def _check(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Check a model, fix it if asked to, show it, and return the report."""
    from ggufkit.toolbox.checks.engine import fix

    findings = _find(path, args)
    edits: list[Edit] = []
    if args.fix and any(finding.fix for finding in findings):
        edits = fix(findings, dry_run=args.dry_run)
        if not args.json:
            _show_fixes(findings, edits, dry_run=args.dry_run)
        if not args.dry_run:
            findings = _find(path, args)
    severities = _SEVERITIES[: _SEVERITIES.index(args.severity) + 1]
    shown = [finding for finding in findings if finding.severity.word in severities]
    counts = {word: sum(f.severity.word == word for f in findings) for word in _SEVERITIES}
    if not args.json:
        _show(path, shown, counts)
    return {**_as_json(path, shown, edits), "counts": counts}


def _find(path: Path, args: argparse.Namespace) -> list[Finding]:
    from ggufkit.toolbox.checks.engine import check

    total = sum(part.stat().st_size for part in _parts(path) if part.is_file())
    quiet = args.quiet or args.no_weights
    with render.progress(total, "check", enabled=not quiet) as advance:
        return check(
            path,
            weights=not args.no_weights,
            ignore=args.ignore,
            jobs=args.jobs,
            progress=advance,
        )


def _as_json(path: Path, findings: Sequence[Finding], edits: Sequence[Edit]) -> dict[str, Any]:
    return {
        "path": str(path),
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.word,
                "message": finding.message,
                "path": str(finding.path),
                "fix": finding.fix.what if finding.fix else None,
            }
            for finding in findings
        ],
        "edits": [{"path": str(done.path), "how": done.how} for done in edits],
    }


def _show(path: Path, findings: Sequence[Finding], counts: dict[str, int]) -> None:
    summary = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n)
    render.heading(f"{path}: {summary or 'nothing found'}")
    rows = [(finding.severity.word, finding.rule, _text(path, finding)) for finding in findings]
    if rows:
        render.table(("severity", "rule", "what"), rows, fold=True)


def _text(path: Path, finding: Finding) -> str:
    """Return the message, with the part of a split that it is about."""
    where = "" if finding.path == path else f"{finding.path.name}: "
    return f"{where}{finding.message}{' [--fix]' if finding.fix else ''}"


def _show_fixes(findings: Sequence[Finding], edits: Sequence[Edit], *, dry_run: bool) -> None:
    rows = [(finding.rule, finding.fix.what) for finding in findings if finding.fix]
    render.table(("rule", "the change"), rows, fold=True)
    for done in edits:
        how = done.how.replace("in place", "edited in place")
        render.heading(f"{done.path}: {'would be ' if dry_run else ''}{how}")
