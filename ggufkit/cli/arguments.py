"""The parser of a command, which refuses options without effect, and arguments of several."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from pathlib import Path

    from ggufkit.types import TensorType


class UsageError(Exception):
    """Arguments that do not go together; exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are JSON, too, if ``--json`` is among the arguments."""

    _words: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and remember the arguments for `error`."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        if "--json" in self._words:
            emit({"error": "UsageError", "message": message})
            sys.stdout.flush()
        super().error(message)


class CommandParser(Parser):
    """A command's parser: refuses options that would have no effect.

    What it returns also has ``given``: the names of all options and arguments that were written,
    also of those whose value is the default.
    """

    #: Declares the arguments. Called late, so that only the command in use is imported.
    fill: Callable[[CommandParser], None] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Option, options of the rule, and whether one of them is required or all conflict.
        self.rules: list[tuple[str, tuple[str, ...], bool]] = []
        #: How often each option was given of which only the last value would count.
        self._counts: Counter[str] = Counter()

    def filled(self) -> CommandParser:
        """Return the parser with its arguments declared."""
        fill, self.fill = self.fill, None
        if fill:
            fill(self)
        return self

    def declare(
        self, *options: str, requires: str | Sequence[str] = (), conflicts: str | Sequence[str] = ()
    ) -> None:
        """Declare that options count only with one of `requires`, and with none of `conflicts`."""
        for others, required in ((requires, True), (conflicts, False)):
            names = (others,) if isinstance(others, str) else tuple(others)
            self.rules += [(option, names, required) for option in options if names]

    def declare_alias(self, alias: str, fill: Callable[[CommandParser], None]) -> None:
        """Declare that with an option only those others count that another command has, too.

        Parameters
        ----------
        alias : str
            The option that stands for the other command.
        fill : callable
            Declares that command's arguments.
        """
        command = CommandParser()
        fill(command)
        read = {alias, *(name for action in command._actions for name in names_of(action))}
        for action in self._actions:
            if action.option_strings and read.isdisjoint(action.option_strings):
                self.declare(action.option_strings[-1], conflicts=alias)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse options without effect, also where a later value replaces one."""
        self.filled()
        self._counts.clear()
        found, rest = super().parse_known_args(args, namespace)
        counts = self._counts.copy()
        found.given = self._given()
        problems = [f"{name} is given {n} times" for name, n in counts.items() if n > 1]
        problems += [text for rule in self.rules if (text := _problem(found.given, *rule))]
        if problems:
            self.error("; ".join(problems))
        return found, rest

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Count the options with a single value; argparse calls this for each occurrence."""
        if action.option_strings and type(action) is self._registry_get("action", "store"):
            self._counts[action.option_strings[-1]] += 1
        return super()._get_values(action, arg_strings)

    def _given(self) -> frozenset[str]:
        """Parse again without defaults, and return the names of the options that were given."""
        actions = [action for action in self._actions if action.option_strings]
        defaults = [action.default for action in actions]
        for action in actions:
            action.default = argparse.SUPPRESS
        try:
            found = vars(super().parse_known_args(self._words)[0])
        finally:
            for action, default in zip(actions, defaults, strict=True):
                action.default = default
        written = (a for a in self._actions if found.get(a.dest) not in (None, [], ""))
        return frozenset(name for action in written for name in names_of(action))


def _problem(
    given: frozenset[str], option: str, others: Sequence[str], required: bool
) -> str | None:
    """Say why an option has no effect, if it was given and has none."""
    there = [other for other in others if other in given]
    if option not in given or bool(there) is required:
        return None
    if required:
        return f"{option} needs {' or '.join(others)}"
    return f"{option} has no effect with {' and '.join(there)}"


def names_of(action: argparse.Action) -> tuple[str, ...]:
    """Return the names of an option, or the metavar of a positional argument."""
    return tuple(action.option_strings) or (str(action.metavar or action.dest),)


def refuse(args: argparse.Namespace, where: str, *options: str) -> None:
    """Refuse options that are not read, where only values tell that: "with a folder".

    Raises
    ------
    UsageError
        One of them was given.
    """
    for option in options:
        if option in args.given:
            raise UsageError(f"{option} has no effect {where}")


def positive(text: str) -> int:
    """Parse a number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


#: Options that many commands have, with the same words everywhere.
_SHARED: dict[str, dict[str, Any]] = {
    "--dry-run": {"action": "store_true", "help": "show what would be written, then stop"},
    "--force": {"action": "store_true", "help": "replace existing files"},
    "--json": {"action": "store_true", "help": "print the result as JSON"},
    "--jobs": {"type": positive, "metavar": "N", "help": "threads; default: one per CPU"},
    "--name": {
        "metavar": "NAME",
        "help": "model name; default: that of the model card or the folder",
    },
    "--quiet": {"action": "store_true", "help": "show no progress bar"},
    "--revision": {"metavar": "REVISION", "help": "branch, tag or commit of a Hub repository"},
}
_SHORT = {"--jobs": ("-j",), "--quiet": ("-q",)}


def add_shared(parser: argparse._ActionsContainer, *names: str) -> None:
    """Declare options that many commands have, by their long names."""
    for name in names:
        parser.add_argument(*_SHORT.get(name, ()), name, **_SHARED[name])


def add_count(
    parser: argparse._ActionsContainer, *names: str, text: str, default: int | None = None
) -> None:
    """Declare an option that takes a number above 0; its help tells the default, if it has one."""
    text += "" if default is None else "; default: %(default)s"
    parser.add_argument(*names, type=positive, metavar="N", default=default, help=text)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare what commands that write files have in common."""
    add_shared(parser, "--dry-run", "--force", "--json", "--quiet")


def text_of(path: Path) -> str:
    """Return the text of a file.

    Raises
    ------
    MissingFileError
        There is no such file, or it is not UTF-8.
    """
    from ggufkit.errors import MissingFileError

    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MissingFileError(f"{path}: not UTF-8 text: {error.reason}") from None


def tensor_type(name: str) -> TensorType:
    """Return the tensor type of a name.

    Raises
    ------
    UnknownTensorTypeError
        No type has it.
    """
    from ggufkit.errors import UnknownTensorTypeError
    from ggufkit.types import TensorType

    try:
        return TensorType[name.strip().upper()]
    except KeyError:
        raise UnknownTensorTypeError(
            f"unknown tensor type {name!r}: 'ggufkit types' lists them"
        ) from None
