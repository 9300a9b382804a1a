"""JSON and YAML of any origin: one kind of error, and time in proportion to the text."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.cli.main import main
from ggufkit.io.guarded_files import parse_json, read_json_file
from ggufkit.io.guarded_yaml import MAX_YAML_BYTES, parse_yaml
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[2]
DEEP = "[" * 200_000 + "]" * 200_000
JSON = {
    "deep": DEEP,
    "deep object": '{"files":' * 100_000 + "1" + "}" * 100_000,
    "cut": '{"files": {"a":',
    "digits": '{"files": ' + "9" * 10_000 + "}",
    "nothing": "",
}
LISTS = "abcdefghijklm"
BOMB = "a: &a {x0: 0, x1: 0}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}\n"
    for before, name in itertools.pairwise(LISTS)
)
YAML = {
    "empty int": 'name: !!int ""',
    "empty float": 'name: !!float ""',
    "no bool": "name: !!bool maybe",
    "no date": "name: !!timestamp soon",
    "month 13": "name: 2024-13-45",
    "a class": "name: !!python/object/apply:os.system [id]",
    "deep": "name: " + DEEP[:20_000] + DEEP[-20_000:],
    "merged without end": BOMB,
    "unhashable": "? [1]\n: 2",
    "digits": "name: " + "9" * 5000,
    "too long": "name: " + "x" * MAX_YAML_BYTES,
    "anchor": "name: *nowhere",
}
# Modules that read the JSON of this package or of its own processes, not of strangers.
TRUSTED = {
    *("architectures/catalog", "architectures/registry", "rules/llama_cpp", "rules/known_tensors"),
    *("tokenizers/pre_table", "tokenizers/selftest", "tokenizers/selftest_worker"),
    *("toolbox/template", "toolbox/template_worker", "publish/llama_cpp/worker"),
    "publish/evaluate",
}


def test_the_json_and_yaml_of_strangers_is_parsed_in_one_place() -> None:
    package = ROOT / "ggufkit"
    found = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        if re.search(r"json\.loads?\(|yaml\.\w*load\w*\(", path.read_text(encoding="utf-8"))
    }
    assert found == TRUSTED | {"io/guarded_files", "io/guarded_yaml"}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_long_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_json_file(tmp_path / "x.json", 100)


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"YAML"):
        parse_yaml(text)


@pytest.mark.parametrize("text", [*YAML.values(), "name: 0x" + "f" * 5000], ids=[*YAML, "hex"])
def test_a_card_that_is_no_yaml_counts_as_missing(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{text}\n---\n")
    found = general_metadata(tmp_path, {}, shapes={}, architecture="llama", folder_name="Tiny")
    assert found["general.name"] == "Tiny"


@pytest.mark.parametrize("text", [*JSON.values(), "[1]", "{}"], ids=[*JSON, "list", "object"])
@pytest.mark.parametrize("options", [["--recipe"], ["--bpw", "4", "--sensitivity"]], ids=len)
def test_files_given_as_options_that_are_no_json_give_one_line(
    text: str, options: list[str], tmp_path: Path, capsys
) -> None:
    source, bad = write_llama(tmp_path / "m"), tmp_path / "bad.json"
    bad.write_text(text)
    assert main(["convert", str(source), "-o", str(tmp_path / "out"), *options, str(bad)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


ENTRIES = {
    "a list": [1],
    "no sum": {"bytes": 1},
    "a sum that is a number": {"sha256": 1, "bytes": 1},
    "a source that is a list": {"sha256": "0", "bytes": 1, "source": [1]},
    "errors that are text": {"sha256": "0", "bytes": 1, "weight_error": "none"},
    "bits that are text": {"sha256": "0", "bytes": 1, "bits_per_weight": "four"},
}
MANIFESTS = JSON | {name: json.dumps({"files": {"NAME": e}}) for name, e in ENTRIES.items()}


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_is_none_stops_nobody(text: str, tmp_path: Path) -> None:
    source, out = write_llama(tmp_path / "m"), tmp_path / "out"
    arguments = ["convert", str(source), "-o", str(out), "--ladder", "Q8_0"]
    assert main(arguments) == 0
    name = next(out.glob("*.gguf")).name
    (out / "ladder.json").write_text(text.replace("NAME", name))
    assert main([*arguments, "--force"]) == 0
    assert name in json.loads((out / "ladder.json").read_text())["files"]
