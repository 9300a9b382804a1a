"""How the commands show things: the only module that imports rich.

It does so only when something is shown, so that ``--help`` and ``--json`` stay quick. Text from
files is shown as it is, but for characters that would steer the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn
    from rich.table import Table

#: Piped output is not cut to a terminal's width: it is searched and compared.
PIPE_WIDTH = 240


def console(*, stderr: bool = False) -> Console:
    """Return a console for standard output or error; obeys NO_COLOR, COLUMNS and pipes."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Leave a reader that went away to ``main``, as for any other output."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return Output(file=stream, width=PIPE_WIDTH if piped else None, highlight=False)


def plain(text: str) -> str:
    r"""Escape what is not printable.

    Examples
    --------
    >>> plain("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _line(text: str, style: str, *, stderr: bool = False) -> None:
    from rich.text import Text

    console(stderr=stderr).print(Text(plain(text), style=style))


def heading(text: str) -> None:
    """Print a title line."""
    _line(text, "bold")


def blank() -> None:
    """Print an empty line."""
    console().print()


def note(text: str) -> None:
    """Print a remark that should not be overlooked."""
    _line(text, "yellow")


def remark(text: str) -> None:
    """Print what is no part of the result, on standard error."""
    _line(text, "dim", stderr=True)


def warning(text: str) -> None:
    """Print what must not be overlooked."""
    _line(text, "bold red")


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(plain(name), Text(plain(value)))
    _print_table(grid)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    fold: bool = False,
) -> None:
    """Print a table; the last column is cut if the terminal is too narrow.

    Parameters
    ----------
    columns : sequence of str
        Titles.
    rows : iterable of sequences of str
        As many cells as columns each.
    right : collection of str
        Titles of columns to align to the right: numbers.
    fold : bool
        Go on in the next line instead of cutting the last column.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    cells = [[Text(plain(cell)) for cell in row] for row in rows]
    for index, title in enumerate(columns):
        widest = max((row[index].cell_len for row in cells), default=0)
        is_last = index == len(columns) - 1
        shown.add_column(
            title,
            justify="right" if title in right else "left",
            no_wrap=not (fold and is_last),  # Rich takes from the widest that may wrap
            overflow="fold" if fold else "ellipsis",
            min_width=None if is_last else max(widest, len(title)),
        )
    for row in cells:
        shown.add_row(*row)
    _print_table(shown)


def _print_table(shown: Table) -> None:
    out = console()
    if out.is_terminal:
        out.print(shown)
        return
    # Rich fills the last column with spaces.
    with out.capture() as capture:
        out.print(shown)
    lines = "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    out.out(lines, end="", highlight=False)


def bar(share: float, width: int = 20) -> str:
    """Return a bar of `width` characters that is filled to `share`, 0 to 1.

    Examples
    --------
    >>> bar(0.5, 8)
    '████····'
    """
    filled = round(min(max(share, 0.0), 1.0) * width)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    full = "█" if encoding.lower().replace("-", "") == "utf8" else "#"
    blank_char = "·" if full == "█" else "."
    return full * filled + blank_char * (width - filled)


def size(n_bytes: int) -> str:
    """Return bytes in units of 1000.

    Examples
    --------
    >>> size(512), size(253_113_024)
    ('512 B', '253.1 MB')
    """
    return f"{n_bytes} B" if n_bytes < 1000 else f"{_scaled(n_bytes)}B"


def count(number: int) -> str:
    """Return a number in units of 1000.

    Examples
    --------
    >>> count(999), count(268_098_176)
    ('999', '268.1 M')
    """
    return str(number) if number < 1000 else _scaled(number)


def _scaled(number: int) -> str:
    letters = "kMGTPE"
    power = 1
    while number / 1000**power >= 999.95 and power < len(letters):
        power += 1
    return f"{number / 1000**power:.1f} {letters[power - 1]}"


def steps(
    label: str, *, total: int | None = None, enabled: bool = True
) -> AbstractContextManager[Callable[[int], None]]:
    """Show steps done, of how many if that is known, and the time they took.

    Parameters and yields are those of `progress`, but counts are not bytes.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    bars = () if total is None else (BarColumn(),)
    counts = "{task.completed}" + ("" if total is None else "/{task.total}")
    return _running(label, total, (*bars, TextColumn(counts), TimeElapsedColumn()), enabled)


def progress(
    total: int, label: str, *, enabled: bool = True
) -> AbstractContextManager[Callable[[int], None]]:
    """Show bytes, rate and time left while the block runs; nothing if stderr is no terminal.

    Parameters
    ----------
    total : int
        Bytes of all files together.
    label : str
        What is being done.
    enabled : bool
        False shows nothing.

    Yields
    ------
    callable
        To be called with bytes as they are done, from any thread.
    """
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return _running(label, total, columns, enabled)


@contextmanager
def _running(
    label: str, total: int | None, columns: Sequence[ProgressColumn], enabled: bool
) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress, TextColumn

    out = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        *columns,
        console=out,
        transient=True,
        disable=not (enabled and out.is_terminal),
    ) as shown:
        task = shown.add_task(plain(label), total=total)
        yield lambda n: shown.advance(task, n)
