"""Labels next to points, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Half the width of a point, and of a character and a line of text, in pixels of 1/100 inch.
_POINT, _CHARACTER, _LINE = 5.0, 8.2, 15.0
#: Where a label's middle goes: left or right of the point, above or below.
_PLACES = ((10, 8), (-10, -8), (10, -8), (-10, 8), (0, 15), (0, -15), (12, 0), (-12, 0))
_ALIGN = {1: "left", 0: "center", -1: "right"}

_Box = tuple[float, float, float, float]


def place_labels(axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str]) -> None:
    """Write a label next to each point that has room for it; the legend names the others.

    Parameters
    ----------
    axes : Axes
        Drawn before, so that its scales are final.
    points : sequence of (float, float)
        In data coordinates.
    labels : sequence of str
        One for each.
    """
    if not points:
        return
    pixels = [tuple(map(float, pixel)) for pixel in axes.transData.transform(list(points))]
    taken: list[_Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in pixels]
    inside = axes.bbox.extents
    for (x, y), point, label in zip(pixels, points, labels, strict=True):
        for dx, dy in _PLACES:
            box = _box(x + dx, y + dy, _CHARACTER * len(label), dx)
            if _is_inside(box, inside) and not any(_overlap(box, other) for other in taken):
                _write(axes, label, point, dx, dy)
                taken.append(box)
                break


def _write(axes: Axes, label: str, point: tuple[float, float], dx: float, dy: float) -> None:
    axes.annotate(
        label,
        point,
        xytext=(dx * 0.72, dy * 0.72),
        textcoords="offset points",
        ha=_ALIGN[(dx > 0) - (dx < 0)],
        va="center",
    )


def _box(x: float, y: float, width: float, dx: float) -> _Box:
    left = x if dx > 0 else x - width if dx < 0 else x - width / 2
    return left, y - _LINE / 2, left + width, y + _LINE / 2


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _is_inside(box: _Box, outer: Sequence[float]) -> bool:
    return bool(box[0] > outer[0] and box[1] > outer[1] and box[2] < outer[2] and box[3] < outer[3])
