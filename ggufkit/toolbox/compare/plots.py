"""The plots of a comparison, as SVG: text stays text, ink takes the page's colour."""

from __future__ import annotations

import colorsys
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from ggufkit.errors import OutputError
from ggufkit.toolbox.compare.labels import place_labels
from ggufkit.toolbox.compare.measures import Comparison, RungErrors, block_of, part_of
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Replaced by the colours of the page, which follow its light or dark scheme.
_INK, _FAINT = "#010203", "#040506"
_PAGE_COLOURS = {_INK: "var(--ink)", _FAINT: "var(--line)"}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
}
_MAX_PARTS = 16
_N_BINS = 36


class Plots:
    """Draws the plots of one comparison.

    Parameters
    ----------
    found : Comparison
        What to draw.
    width : float
        Width of a plot, in inches; below 5 the plots are laid out for a phone.
    """

    def __init__(self, found: Comparison, width: float) -> None:
        self.found = found
        self.width = width
        self.narrow = width < 5
        names = [rung.name for rung in found.plotted]
        self.colours = dict(zip(names, _hues(len(names)), strict=True))
        self.shown = found.plotted

    def size_against_error(self) -> str:
        """Draw a point per rung."""
        figure, axes = self._figure(3.6 if self.narrow else 4.2)
        sizes = [rung.n_bytes for rung in self.shown]
        unit, name = _unit(max(sizes, default=1))
        xs = [size / unit for size in sizes]
        ys = [rung.total.relative for rung in self.shown]
        axes.plot(*_columns(_frontier(xs, ys)), color=_FAINT, linewidth=1.2, zorder=1)
        for x, y, rung in zip(xs, ys, self.shown, strict=True):
            axes.scatter(x, y, s=42, color=self.colours[rung.name], label=_short(rung.name),
                         zorder=3)  # fmt: skip
        axes.set_xlabel(f"size of the file ({name})")
        _log_size(axes, xs, 5 if self.narrow else 9)
        self._log_error(axes.set_yscale, axes.set_ylabel, axes.yaxis)
        axes.margins(0.12, 0.14)
        self._legend(figure, axes)
        figure.canvas.draw()
        place_labels(axes, list(zip(xs, ys, strict=True)), [_short(r.name) for r in self.shown])
        return _svg(figure, f"size {self.width}")

    def error_by_block(self) -> str:
        """Draw a line per rung over the blocks."""
        from matplotlib.ticker import MaxNLocator

        figure, axes = self._figure(3.8 if self.narrow else 4.2)
        for rung in self.shown:
            blocks = sorted(rung.grouped(block_of).items())
            drawn = [(i, m.relative) for i, m in blocks if m.has_error]
            marker = "o" if len(drawn) < 40 else ""
            axes.plot(*_columns(drawn), color=self.colours[rung.name], label=_short(rung.name),
                      marker=marker, markersize=3, linewidth=1.4)  # fmt: skip
        axes.set_xlabel("block")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        self._log_error(axes.set_yscale, axes.set_ylabel, axes.yaxis)
        self._legend(figure, axes)
        return _svg(figure, f"blocks {self.width}")

    def error_by_part(self) -> str:
        """Draw a row per part of the model, a point per rung."""
        parts = self._parts()
        figure, axes = self._figure(1.1 + 0.27 * max(len(parts), 3))
        rows = {part: i for i, part in enumerate(parts)}
        for rung in self.shown:
            found = rung.grouped(part_of)
            known = {p: found[p] for p in rows if p in found}
            drawn = [(m.relative, rows[p]) for p, m in known.items() if m.has_error]
            axes.scatter(*_columns(drawn), s=30, color=self.colours[rung.name],
                         label=_short(rung.name), zorder=3)  # fmt: skip
        axes.set_yticks(range(len(parts)), [_short(part, 18) for part in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        self._log_error(axes.set_xscale, axes.set_xlabel, axes.xaxis)
        self._legend(figure, axes)
        return _svg(figure, f"parts {self.width}")

    def histograms(self) -> str:
        """Draw histograms of the tensors' errors, one per rung, on top of each other."""
        import numpy as np

        errors = {r.name: [m.relative for m in r.measures.values() if m.has_error]
                  for r in self.shown}  # fmt: skip
        everything = [e for values in errors.values() for e in values]
        figure, axes = self._figure(1.0 + 0.36 * max(len(errors), 2))
        low, high = min(everything, default=1e-3), max(everything, default=1.0)
        edges = np.geomspace(low / 1.3, high * 1.3, _N_BINS + 1)
        for row, (name, values) in enumerate(reversed(errors.items())):
            counts, _ = np.histogram(values, edges)
            heights = counts / max(int(counts.max(initial=0)), 1) * 0.85
            axes.stairs(row + heights, edges, baseline=row, fill=True, color=self.colours[name])
            axes.axhline(row, color=_FAINT, linewidth=0.6)
        names = [_short(name) for name in reversed(errors)]
        axes.set_yticks([i + 0.3 for i in range(len(names))], names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.05, max(len(names), 1))
        self._log_error(axes.set_xscale, axes.set_xlabel, axes.xaxis)
        axes.grid(visible=False, axis="y")
        return _svg(figure, f"histograms {self.width}")

    def type_mix(self) -> str:
        """Draw a bar per rung, cut into the shares of its tensor types."""
        rungs = list(reversed(self.found.rungs))
        figure, axes = self._figure(1.1 + 0.34 * max(len(rungs), 2))
        types = sorted({t for r in rungs for t in r.bytes_by_type()}, key=_bits)
        starts = [0.0] * len(rungs)
        for type_, colour in zip(types, _hues(len(types)), strict=True):
            shares = [100 * r.bytes_by_type().get(type_, 0) / max(_data(r), 1) for r in rungs]
            axes.barh(range(len(rungs)), shares, left=starts, height=0.72, label=type_,
                      color=colour)  # fmt: skip
            starts = [start + share for start, share in zip(starts, shares, strict=True)]
        axes.set_yticks(range(len(rungs)), [_short(rung.name) for rung in rungs])
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the bytes (%)")
        axes.grid(visible=False, axis="y")
        self._legend(figure, axes)
        return _svg(figure, f"types {self.width}")

    def _parts(self) -> list[str]:
        """Return the parts with errors that have the most weights."""
        weights: dict[str, int] = {}
        for rung in self.shown:
            for part, measure in rung.grouped(part_of).items():
                if measure.has_error:
                    weights[part] = max(weights.get(part, 0), measure.sums.n)
        return sorted(sorted(weights, key=lambda part: -weights[part])[:_MAX_PARTS])

    def _figure(self, height: float) -> tuple[Figure, Axes]:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        return figure, axes

    def _log_error(
        self, set_scale: Callable[..., Any], set_label: Callable[..., Any], axis: Any
    ) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        set_scale("log")
        set_label("relative error (%)")
        steps = (1.0, 3.0) if self.narrow else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps, numticks=8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
        axis.set_minor_formatter(NullFormatter())

    def _legend(self, figure: Figure, axes: Axes) -> None:
        """Put the legend below, in as many columns as fit: on a phone, four."""
        handles, labels = axes.get_legend_handles_labels()
        if not handles:
            return
        longest = max(map(len, labels))
        columns = max(1, int(self.width * 12 / (longest + 5)))
        rows = math.ceil(len(labels) / columns)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.22 * rows)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns,
                      handlelength=1.1, columnspacing=1.1, handletextpad=0.5)  # fmt: skip


def draw(found: Comparison) -> list[tuple[str, str, str]]:
    """Return name, SVG for wide pages and SVG for phones of every plot.

    Raises
    ------
    OutputError
        matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise OutputError("a report needs matplotlib: pip install 'ggufkit[report]'") from None
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # the browser's fonts count, not those that text is measured with
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        wide, narrow = Plots(found, 8.2), Plots(found, 3.9)
        return [(name, getattr(wide, name)(), getattr(narrow, name)()) for name in _drawn(found)]


def _drawn(found: Comparison) -> Iterator[str]:
    """Yield the names of the plots that are not empty."""
    if found.plotted:
        yield "size_against_error"
        blocks = (rung.grouped(block_of).values() for rung in found.plotted)
        if any(measure.has_error for group in blocks for measure in group):
            yield "error_by_block"
        yield from ("error_by_part", "histograms")
    yield "type_mix"


def _svg(figure: Figure, salt: str) -> str:
    """Return a figure as an SVG element; ids are unique across figures."""
    import matplotlib as mpl

    text = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    found = text.getvalue()
    svg = found[found.index("<svg") :]
    prefix = re.sub(r"\W+", "-", salt)
    svg = re.sub(r'(\bid="|"#|url\(#)', lambda m: f"{m[1]}{prefix}-", svg)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", svg)
    for sentinel, colour in _PAGE_COLOURS.items():
        svg = svg.replace(sentinel, colour)
    return svg.strip()


def _frontier(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points that no smaller file has a smaller error than."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(zip(xs, ys, strict=True)):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return found


def _log_size(axes: Axes, xs: Sequence[float], n_ticks: int) -> None:
    """Scale the horizontal axis by logarithm, with round numbers at its ticks."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

    axes.set_xscale("log")
    low, high = min(xs, default=1.0), max(xs, default=1.0)
    ticks = [float(tick) for tick in MaxNLocator(n_ticks).tick_values(low / 1.1, high * 1.1)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick > 0]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _hues(n: int) -> list[str]:
    """Return colours from red over green to violet, for light and dark pages.

    Neighbours differ in lightness too.
    """
    return [_hue(i / max(n - 1, 1), 0.43 + 0.14 * (i % 2)) for i in range(n)]


def _hue(place: float, lightness: float) -> str:
    rgb = colorsys.hls_to_rgb(0.79 * place, lightness, 0.66)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def _unit(n_bytes: int) -> tuple[int, str]:
    return (
        (10**9, "GB") if n_bytes >= 10**9 else (10**6, "MB") if n_bytes >= 10**6 else (1000, "kB")
    )


def _bits(name: str) -> tuple[float, str]:
    known: Mapping[str, TensorType] = TensorType.__members__
    return (known[name].bits_per_weight if name in known else math.inf, name)


def _data(rung: RungErrors) -> int:
    return sum(info.nbytes for info in rung.tensors.values())


def _short(text: str, length: int = 24) -> str:
    """Return text without characters that XML can't hold, shortened in the middle."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    half = length // 2
    return text if len(text) <= length else f"{text[: half - 1]}…{text[-half:]}"


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
