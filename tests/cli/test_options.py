"""Every option of every command has an effect, or is refused where it would have none.

`tests.cli.options` says how each option shows. A new option without an entry fails here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufkit.cli.arguments import CommandParser, names_of
from ggufkit.cli.main import COMMANDS, build_parser
from tests.checkpoint.hub_server import Hub, serve
from tests.cli.options import OPTIONS, Case
from tests.cli.world import Observer, Record, build_world


def parsers() -> dict[str, CommandParser]:
    """The parser of each command."""
    (commands,) = (a for a in build_parser()._actions if isinstance(a.choices, dict))
    return {name: parser.filled() for name, parser in commands.choices.items()}


PARSERS = parsers()
ENTRIES = [(command, option) for command, (_, entries) in OPTIONS.items() for option in entries]
RULES = [(command, *rule) for command, parser in PARSERS.items() for rule in parser.rules]


def options_of(command: str) -> dict[str, argparse.Action]:
    """All options of a command by their long names, but --help."""
    actions = PARSERS[command]._actions
    return {a.option_strings[-1]: a for a in actions if a.option_strings and a.dest != "help"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def observer(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observer]:
    names = ("Tiny", "vision")  # a revision is called as its folder is
    hub = Hub({f"some/{name}": {name: world / name} for name in names})
    with pytest.MonkeyPatch.context() as monkeypatch, serve(hub):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield Observer(world, tmp_path_factory.mktemp("runs"), monkeypatch)


def case_of(command: str, option: str) -> Case:
    base, entries = OPTIONS[command]
    entry = entries[option]
    return entry if isinstance(entry, Case) else Case(entry, base)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_an_entry_and_every_entry_an_option(command: str) -> None:
    assert OPTIONS[command][1].keys() == options_of(command).keys()


@pytest.mark.parametrize(("command", "option"), ENTRIES)
def test_every_option_has_an_effect(command: str, option: str, observer: Observer) -> None:
    words, base = case_of(command, option)
    written = words.split()[0]
    assert written in options_of(command)[option].option_strings
    without, with_it = observer.base(base), observer.run(f"{base} {words}")
    assert without != with_it
    assert {without.code, with_it.code} & {0, 1}, (without.err, with_it.err)
    if option == "--json":
        json.loads(with_it.out)
    if option == "--quiet" and command not in ("run", "push"):
        assert (without.bar, with_it.bar) == (True, False)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_observed_does_not_change_by_itself(command: str, observer: Observer) -> None:
    base, _ = OPTIONS[command]
    first: Record = observer.base(base)
    assert observer.run(base) == first
    assert first.code in (0, 1, 2), first.err


def written_out(action: argparse.Action) -> str:
    """Return an option with a value that it takes, or a value for an argument."""
    if action.nargs == 0:
        return names_of(action)[-1]
    value = next(iter(action.choices or ()), "1=1" if "=" in str(action.metavar) else "1")
    if not action.option_strings:
        return str(value)
    return f"{action.option_strings[-1]}={value}"


@pytest.mark.parametrize(
    ("command", "option", "others", "required"),
    RULES,
    ids=[f"{command} {option} {others[0]}" for command, option, others, _ in RULES],
)
def test_options_without_effect_are_refused(
    command: str, option: str, others: tuple[str, ...], required: bool, capsys
) -> None:
    parser = PARSERS[command]
    actions = {name: action for action in parser._actions for name in names_of(action)}
    needed = [a for a in parser._actions if a.required and option not in names_of(a)]
    words = [*map(written_out, needed), written_out(actions[option])]
    for other in [None] if required else others:
        there = [] if other is None else [written_out(actions[other])]
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args([*there, *words])
        assert stopped.value.code == 2
        message = capsys.readouterr().err.rpartition("error: ")[2]
        assert option in message
        assert (others[0] if other is None else other) in message
