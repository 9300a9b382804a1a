"""Chat templates, beside transformers' choice and gguf-py's own ``SpecialVocab``.

chat_templates.json is what AutoTokenizer.from_pretrained(...).chat_template is for the files below.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import gguf
import pytest

from ggufkit.tokenizers.files import TokenizerFiles
from ggufkit.tokenizers.special import special_metadata
from tests.tokenizers.build import byte_level, write

NAMED = [
    {"name": "default", "template": "D"},
    {"name": "tool use", "template": "T"},
    {"name": "rag", "template": "R"},
]
CONFIGURED: dict[str, Any] = {
    "nothing": None,
    "no template": {},
    "one": {"chat_template": "one\r\n"},
    "empty": {"chat_template": ""},
    "null": {"chat_template": None},
    "named": {"chat_template": NAMED},
    "named, no default": {"chat_template": NAMED[1:]},
    "named alike": {"chat_template": [{"name": n, "template": n} for n in ("a-b", "a b", "é")]},
    "half": {"chat_template": [{"name": "x"}, {"template": "y"}, {"name": "", "template": "z"}]},
    "none": {"chat_template": []},
}
OBJECTS: dict[str, Any] = {
    "object": {"chat_template": {"default": "D", "rag": "R"}},
    "object, no default": {"chat_template": {"rag": "R"}},
}
OF_PROCESSORS: dict[str, dict[str, str]] = {
    "json": {"chat_template.json": '{"chat_template": "from json"}'},
    "json, named": {"chat_template.json": json.dumps({"chat_template": NAMED})},
    "json, other": {"chat_template.json": "{}"},
}
FILES: dict[str, dict[str, str]] = {
    "no files": {},
    "jinja": {"chat_template.jinja": "J\r\nK\rL"},
    "empty jinja": {"chat_template.jinja": ""},
    "json": OF_PROCESSORS["json"],
    "jinja and more": {
        "chat_template.jinja": "J",
        "chat_template.json": '{"chat_template": "not this"}',
        "additional_chat_templates/rag.jinja": "R",
        "additional_chat_templates/tool-use.jinja": "T",
        "additional_chat_templates/notes.txt": "no",
    },
    "more, no jinja": {"additional_chat_templates/rag.jinja": "R"},
    "default in more": {
        "chat_template.jinja": "J",
        "additional_chat_templates/default.jinja": "D",
    },
}
RECORD = json.loads((Path(__file__).parent / "chat_templates.json").read_text())["templates"]


def written(folder: Path, config: dict[str, Any] | None, files: dict[str, str]) -> TokenizerFiles:
    made = write(folder, tokenizer=byte_level())
    if config is not None:
        made = write(folder, tokenizer_config={"tokenizer_class": "X", **config})
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return made


def keys(chosen: Any) -> dict[str, Any]:
    """The keys for what transformers calls ``chat_template``; it renders an empty one as none."""
    named = {"default": chosen} if isinstance(chosen, str) else dict(chosen or {})
    main = named.pop("default", None)
    alone = {"tokenizer.chat_template": main} if main else {}
    if not named:
        return alone
    spelled = {name.replace(" ", "_").replace("-", "_"): text for name, text in named.items()}
    listed = {"tokenizer.chat_templates": list(spelled)}
    return {f"tokenizer.chat_template.{name}": t for name, t in spelled.items()} | listed | alone


def sorted_names(found: dict[str, Any]) -> dict[str, Any]:
    """The keys with the names in order; gguf-py's is that of a set."""
    names = found.get("tokenizer.chat_templates")
    return found if names is None else {**found, "tokenizer.chat_templates": sorted(names)}


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("config", RECORD)
def test_templates_are_those_of_transformers(tmp_path: Path, config: str, files: str) -> None:
    made = written(tmp_path, {**CONFIGURED, **OBJECTS}[config], FILES[files])
    expected = RECORD[config][files]
    if files == "json" and expected is None:
        expected = "from json"  # the processor's, which a tokenizer does not look at
    assert sorted_names(dict(special_metadata(made))) == sorted_names(keys(expected))


def of_gguf_py(folder: Path) -> dict[str, Any]:
    writer = gguf.GGUFWriter(None, "llama")
    gguf.SpecialVocab(folder).add_to_gguf(writer, quiet=True)
    return {
        key: value.value for key, value in writer.kv_data[0].items() if key.startswith("tokenizer.")
    }


@pytest.mark.parametrize("files", ["no files", *OF_PROCESSORS])
@pytest.mark.parametrize("config", CONFIGURED)
def test_without_jinja_files_templates_are_those_of_gguf_py(
    tmp_path: Path, config: str, files: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    made = written(tmp_path, CONFIGURED[config], {"no files": {}, **OF_PROCESSORS}[files])
    ours, theirs = sorted_names(dict(special_metadata(made))), sorted_names(of_gguf_py(tmp_path))
    if config in ("nothing", "null") and files in ("json", "json, named"):
        # gguf-py looks at files only beside a tokenizer_config.json without the key
        assert theirs == {}
        theirs = {"json": {"tokenizer.chat_template": "from json"}}.get(
            files, sorted_names(keys({e["name"]: e["template"] for e in NAMED}))
        )
    assert ours == theirs


@pytest.mark.parametrize("config", [None, {}, {"chat_template": None}, {"chat_template": "old"}])
def test_the_jinja_file_is_written_whatever_tokenizer_config_says(
    tmp_path: Path, config: dict[str, Any] | None
) -> None:
    made = written(tmp_path, config, {"chat_template.jinja": "new"})
    assert special_metadata(made)["tokenizer.chat_template"] == "new"
    assert bool(made.notes) == (config == {"chat_template": "old"})


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (5, "'default' is left out: it is int, not a text"),
        ([{"name": "x"}], "'x' is left out: it is NoneType"),
        ([{"template": "T"}], "without a name is left out: it needs a name"),
        (["T"], "without a name is left out"),
        ({"rag": ["R"]}, "'rag' is left out: it is list"),
        ([{"name": "a b", "template": "1"}, {"name": "a-b", "template": "2"}],
         "'a-b' replaces another of the name 'a_b'"),
    ],
)  # fmt: skip
def test_what_is_no_template_is_said(tmp_path: Path, given: Any, note: str) -> None:
    made = written(tmp_path, {"chat_template": given}, {})
    special_metadata(made)
    assert any(note in said for said in made.notes), made.notes


def test_an_empty_jinja_file_is_said(tmp_path: Path) -> None:
    made = written(tmp_path, {"chat_template": "old"}, {"chat_template.jinja": ""})
    assert not special_metadata(made)
    assert any("is empty" in said for said in made.notes)
