"""Lists of tensors' names, made short enough to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ggufkit.errors import named

# Lines of names that a message shows; all are fields of its error.
SHOWN = 40


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers in ascending order as ranges.

    Examples
    --------
    >>> ranges([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def collapse(names: Iterable[str]) -> list[str]:
    """Join names that differ in one number only: in that of their expert, or that of their block.

    Examples
    --------
    >>> collapse(["a.weight", "blk.0.b.weight", "blk.1.b.weight", "blk.5.b.weight"])
    ['a.weight', 'blk.{0-1,5}.b.weight']
    >>> collapse(f"layers.{i}.experts.{e}.up" for i in range(2) for e in range(4))
    ['layers.{0-1}.experts.{0-3}.up']
    """
    found = list(names)
    for place in (1, 0):  # experts first: what is left of them are one name a block
        found = _joined_at(found, place)
    return found


def _joined_at(names: Iterable[str], place: int) -> list[str]:
    numbers: dict[str, list[int]] = {}
    for name in names:
        parts = name.split(".")
        places = [i for i, part in enumerate(parts) if part.isdecimal() and part.isascii()]
        if len(places) <= place:
            numbers.setdefault(name, [])
            continue
        number = int(parts[places[place]][:9])
        parts[places[place]] = "{}"
        numbers.setdefault(".".join(parts), []).append(number)
    return [
        key.replace("{}", _braced(sorted(set(found))), 1) if found else key
        for key, found in numbers.items()
    ]


def _braced(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{{{ranges(numbers)}}}"


def summarize(names: Iterable[str]) -> str:
    """Return names in one line, folded, and how many are not shown."""
    return named(collapse(names), SHOWN)
