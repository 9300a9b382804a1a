"""A comparison as one HTML page, without network or scripts, for wide screens and phones.

All text from files is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from ggufkit.toolbox.compare.measures import Comparison, Measure, RungErrors
from ggufkit.toolbox.compare.plots import draw

#: Rows of the table of tensors; the JSON output has all.
_MAX_ROWS = 2000

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6678; --line: #ccd3de;
  --page: #f5f7fa; --card: #ffffff; --heat: 205, 60, 50; --accent: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --soft: #9aa5b6; --line: #434d5c;
  --page: #12161c; --card: #1b2129; --heat: 235, 95, 80; --accent: #7aa8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .15rem; }
p { margin: 0 0 .7rem; color: var(--soft); overflow-wrap: anywhere; }
p.answer { color: var(--ink); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .7rem;
  padding: 1.1rem 1.2rem; margin-top: 1.1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
td { border-top: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--card); }
.rungs th:last-child, .rungs td:last-child { text-align: left; }
.type { color: var(--soft); font-size: .8em; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 640px) { main { padding: 1rem .6rem 2rem; } section { padding: .8rem .7rem; }
  h1 { font-size: 1.25rem; } .wide { display: none; } .narrow { display: block; }
  table { font-size: .8rem; } th, td { padding: .28rem .45rem; }
  .tensors td:first-child { max-width: 9.5rem; overflow: hidden; text-overflow: ellipsis; } }
"""

_TITLES = {
    "size_against_error": (
        "Size against error",
        "Lower and further left is better; the line joins the rungs that no smaller file beats. "
        "The error is the norm of all weights' errors as a share of the norm of the weights.",
    ),
    "error_by_block": (
        "Error by block",
        "Steps are blocks that a recipe gives more bits.",
    ),
    "error_by_part": (
        "Error by part of the model",
        "All blocks together; a point is a rung.",
    ),
    "histograms": (
        "Tensors by error",
        "How many tensors of a rung have which error; the highest column of each has the same "
        "height. Tensors without an error are left out.",
    ),
    "type_mix": (
        "Types in each rung",
        "Shares of the tensors' bytes.",
    ),
}


def page(found: Comparison) -> str:
    """Return the report as HTML.

    Raises
    ------
    OutputError
        matplotlib is not installed.
    """
    title = f"Rungs of {found.source}"
    sections = [_summary(found), *_plots(found), _tensors(found)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{_text(title)}</h1>\n"
        "<p>Errors of weights, measured by ggufkit. They do not rate a model: a small error in one "
        "tensor may matter more than a large one in another.</p>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Escape text of a file; what is not printable becomes visible."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
                    if not 0xD800 <= ord(c) < 0xE000)  # fmt: skip
    return escape(shown)


def _summary(found: Comparison) -> str:
    weighted = found.weighted
    head = [
        *("rung", "size", "relative error", *(("weighted error",) if weighted else ())),
        *("bits per weight", "RMSE", "largest error", "cosine", "file"),
    ]
    rows = []
    for rung in found.rungs:
        shares = (rung.total.relative, *((rung.total.weighted,) if weighted else ()))
        rows.append(
            [
                *(_text(rung.name), _size(rung.n_bytes), *map(_percent, shares)),
                *(f"{rung.bits_per_weight:.2f}", *_absolute(rung.total)),
                f'<span class="type">{_text(rung.file)}</span>',
            ]
        )
    notes = "".join(f"<p>{note}</p>\n" for note in _notes(found))
    return f"<section>\n<h2>Rungs</h2>\n{notes}{_table(head, rows)}</section>"


def _notes(found: Comparison) -> Iterator[str]:
    left_out = [rung.name for rung in found.rungs if rung not in found.plotted]
    if left_out:
        yield f"In this table only, not in the plots of errors: {_text(', '.join(left_out))}."
    for rung in found.rungs:
        for what, names in (("lacks", rung.missing), ("also has", rung.extra)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                listed = ", ".join(names[:3])
                yield f"{_text(rung.file)} {what} {_text(listed)}{more}."
    if found.weighted:
        yield "The weighted error counts each square by the importance of its column."


def _plots(found: Comparison) -> Iterator[str]:
    for name, wide, narrow in draw(found):
        title, text = _TITLES[name]
        yield (
            f'<section id="{name}">\n<h2>{title}</h2>\n<p>{text}</p>\n<figure>'
            f'<div class="wide" role="img" aria-label="{title}">{wide}</div>'
            f'<div class="narrow" role="img" aria-label="{title}">{narrow}</div>'
            "</figure>\n</section>"
        )


def _tensors(found: Comparison) -> str:
    names = [n for n in found.shapes if any(_error(r, n) for r in found.rungs)]
    names.sort(key=lambda n: -max(_error(rung, n) for rung in found.rungs))
    worst = max((_error(r, n) for r in found.rungs for n in names[:1]), default=1.0)
    least = min((e for r in found.rungs for n in names if (e := _error(r, n)) > 0), default=worst)
    head = ["tensor", "shape", *(_text(rung.name) for rung in found.rungs)]
    rows = [
        [
            f'<span title="{_text(name)}">{_text(name)}</span>',
            " x ".join(map(str, found.shapes[name])),
            *(_cell(rung, name, least, worst) for rung in found.rungs),
        ]
        for name in names[:_MAX_ROWS]
    ]
    exact = len(found.shapes) - len(names)
    text = f"Relative error and type, the largest errors first; {exact} tensors have none."
    if len(names) > _MAX_ROWS:
        text += f" The first {_MAX_ROWS} of {len(names)} are shown."
    return (
        f"<section>\n<h2>Tensors</h2>\n<p>{text}</p>\n<details open><summary>Table</summary>"
        f"{_table(head, rows, 'tensors')}</details>\n</section>"
    )


def _error(rung: RungErrors, name: str) -> float:
    measure = rung.measures.get(name)
    return measure.relative if measure is not None and measure.is_finite else 0.0


def _cell(rung: RungErrors, name: str, least: float, worst: float) -> str:
    measure = rung.measures.get(name)
    if measure is None:
        return "-"
    heat = 0.0
    if 0 < measure.relative < math.inf and worst > least:
        heat = math.log(measure.relative / least) / math.log(worst / least)
    return (
        f'<span style="background: rgba(var(--heat), {max(0.0, 0.5 * heat):.2f})">'
        f"{_percent(measure.relative)}</span> "
        f'<span class="type">{rung.tensors[name].type.name}</span>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "rungs") -> str:
    """Return a table that scrolls by itself; cells are HTML already."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "\n".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n"
    )


def _absolute(measure: Measure) -> tuple[str, str, str]:
    if not measure.is_finite:
        return "not finite", "-", "-"
    sums = measure.sums
    return f"{sums.rmse:.2e}", f"{sums.max_abs_error:.2e}", f"{sums.cosine:.5f}"


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "not finite"
    return "0" if share == 0 else f"{100 * share:#.3g}".rstrip(".") + " %"


def _size(n_bytes: int) -> str:
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if n_bytes >= 1000**power:
            return f"{n_bytes / 1000**power:.1f} {unit}"
    return f"{n_bytes} B"
