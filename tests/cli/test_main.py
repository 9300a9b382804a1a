"""The command line as a whole: help, and what is imported for which command."""

import subprocess
import sys

import pytest

from ggufkit.cli.arguments import UsageError
from ggufkit.cli.commands import types
from ggufkit.cli.main import COMMANDS, build_parser, main


def loaded(*words):
    """Return the commands whose modules a run imports."""
    code = (
        "import sys\n"
        "from ggufkit.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "start = 'ggufkit.cli.commands.'\n"
        "print('loaded:', *(m.removeprefix(start) for m in sys.modules if m.startswith(start)))"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.rpartition("loaded:")[2].split()


def test_without_a_command_help_is_shown(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "ggufkit COMMAND --help" in shown
    for command, text in COMMANDS.items():
        assert command in shown
        assert text.split()[0] in shown


def test_only_the_command_in_use_is_imported():
    assert loaded("--help") == []
    assert loaded("types", "--help") == ["types"]
    assert loaded("types", "--json") == ["types"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_consistent(command):
    (commands,) = (a for a in build_parser()._actions if isinstance(a.choices, dict))
    parser = commands.choices[command].filled()
    first = parser.description.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith((".", ":"))
    for text in [COMMANDS[command], *(action.help for action in parser._actions)]:
        assert text, "every argument is explained"
        assert not text.endswith(".")
        words = text.split()
        assert words[0].islower() or words[0].isupper() or words[0].startswith(("GGUF", "LoRA"))


def test_what_a_command_finds_wrong_with_its_arguments_is_a_usage_error(monkeypatch, capsys):
    def refuse(_):
        raise UsageError("--x has no effect")

    monkeypatch.setattr(types, "run", refuse)
    with pytest.raises(SystemExit) as stopped:
        main(["types"])
    assert stopped.value.code == 2
    assert "ggufkit types: error: --x has no effect" in capsys.readouterr().err
