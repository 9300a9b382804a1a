"""JSON of commands: one style, numbers that JSON lacks, and errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from ggufkit.cli.json_output import to_json
from ggufkit.cli.main import main


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "\udcff\N{SNOWMAN}",
        {"a": [], "b": {}, "c": [1, 2.5, None, True], "d": [[1], [{"e": ["f"]}]]},
        [{"a": 1}, {"b": [{"c": "\n"}]}],
    ],
)
def test_it_is_what_json_reads(value):
    text = to_json(value)
    assert text.isascii()
    assert json.loads(text) == value


def test_numbers_that_json_lacks_become_text():
    value = {"a": float("nan"), "b": [float("inf"), 1.0], "c": (float("-inf"),)}
    assert json.loads(to_json(value)) == {"a": "nan", "b": ["inf", 1.0], "c": ["-inf"]}


def test_paths_and_numbers_of_numpy():
    value = {"path": Path("a") / "b", "n": np.int64(3), "x": [np.float32(0.5)]}
    assert json.loads(to_json(value)) == {"path": str(Path("a") / "b"), "n": 3, "x": [0.5]}


def test_what_is_neither_is_refused():
    with pytest.raises((TypeError, AttributeError)):
        to_json({"a": object()})


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "--json", "--no-such-option", "x"],
        ["inspect", "--json"],
        ["inspekt", "--json"],
        ["copy", "a", "b", "--alignment", "0", "--json"],
    ],
)
def test_usage_errors_are_json_if_asked_for(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["error"] == "UsageError"
    assert told["message"] in printed.err
    with pytest.raises(SystemExit):
        main([word for word in words if word != "--json"])
    assert capsys.readouterr().out == ""


def test_other_errors_are_json_if_asked_for(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "absent.gguf"), "--json"]) == 3
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["error"] == "MissingFileError"
    assert told["message"] in printed.err
