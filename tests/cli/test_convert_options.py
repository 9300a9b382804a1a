"""Options of `ggufkit convert` either have an effect or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufkit.cli.arguments import CommandParser
from ggufkit.cli.commands import convert, mmproj, vocabulary
from ggufkit.cli.main import main
from tests.llama import write_llama


def options_of(command) -> dict[str, str]:
    """Every option of a command, with how it is written."""
    parser = CommandParser()
    command.add_arguments(parser)
    found = {}
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            value = "" if action.nargs in (0, "?") else f"={(action.choices or ['1'])[0]}"
            found[action.option_strings[-1]] = f"{action.option_strings[-1]}{value}"
    return found


def refusal(words: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    return capsys.readouterr().err.rpartition("error: ")[2]


@pytest.mark.parametrize(("alias", "command"), [("--mmproj", mmproj), ("--vocab-only", vocabulary)])
def test_an_alias_refuses_what_its_command_does_not_have(alias: str, command, capsys) -> None:
    options = options_of(convert)
    unread = options.keys() - options_of(command).keys() - {alias}
    assert len(unread) > 20
    for option in unread:
        message = refusal(["convert", "X", alias, options[option]], capsys)
        assert f"{option} has no effect with {alias}" in message


def test_all_options_without_effect_are_named_at_once(capsys) -> None:
    words = ["--merge-lora", "/nonexistent", "--imatrix", "/nonexistent"]
    message = refusal(["convert", "X", "--mmproj", *words, "--split-max-size", "nonsense"], capsys)
    for option in ("--merge-lora", "--imatrix", "--split-max-size"):
        assert f"{option} has no effect with --mmproj" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--private"], "--private needs --push"),
        (["--context", "8192"], "--context needs --fit-vram"),
        (["--min-bits", "output=4"], "--min-bits needs --budget or --bpw or --fit-vram"),
        (["--mix-types", "Q4_0"], "--mix-types needs --budget"),
        (["--sensitivity", "x"], "--sensitivity needs --budget"),
        (["--no-tensor-first-split"], "needs --split-max-size or --split-max-tensors"),
        (["--cache", "256M"], "--cache has no effect without --stream"),
        (["--allow-requantize"], "--allow-requantize has no effect on a checkpoint"),
    ],
)
def test_options_that_need_another_are_refused_without(words, message, capsys) -> None:
    assert message in refusal(["convert", "X", *words], capsys)


@pytest.mark.parametrize("source", ["x.gguf", "hf:owner/name/x.gguf", "https://x.example/x.gguf"])
@pytest.mark.parametrize("option", convert.FOR_CHECKPOINTS)
def test_options_for_checkpoints_are_refused_with_gguf_files(source, option, capsys) -> None:
    written = options_of(convert)[option]
    message = refusal(["convert", source, written.replace("=1", "=x")], capsys)
    assert message == f"{option} has no effect on a GGUF file\n"


@pytest.mark.parametrize("words", [["mmproj", "X"], ["convert", "X", "--mmproj"]])
def test_cache_needs_stream(words: list[str], capsys) -> None:
    assert "--cache has no effect without --stream" in refusal([*words, "--cache", "1M"], capsys)


def test_defaults_that_are_written_are_refused_too(capsys) -> None:
    message = refusal(["convert", "X", "--mmproj", "--search", "ggml"], capsys)
    assert "--search has no effect" in message


def test_what_the_aliases_read_is_read(tmp_path: Path, capsys) -> None:
    folder = str(write_llama(tmp_path / "Tiny"))
    report = ["--name", "Other", "--no-self-test", "--dry-run", "--json"]
    assert main(["convert", folder, "--vocab-only", "-o", str(tmp_path), *report]) == 0
    alias = capsys.readouterr().out
    assert main(["vocabulary", folder, "-o", str(tmp_path), *report]) == 0
    assert capsys.readouterr().out == alias
    assert "Other-vocab.gguf" in alias
