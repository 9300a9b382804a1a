"""Chat templates, beside gguf-py's own ``SpecialVocab``."""

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
FILES: dict[str, dict[str, str]] = {
    "no files": {},
    "jinja": {"chat_template.jinja": "J\r\nK\rL"},
    "json": {"chat_template.json": '{"chat_template": "from json"}'},
    "json, named": {"chat_template.json": json.dumps({"chat_template": NAMED})},
    "json, other": {"chat_template.json": "{}"},
    "jinja and more": {
        "chat_template.jinja": "J",
        "chat_template.json": '{"chat_template": "not this"}',
        "additional_chat_templates/rag.jinja": "R",
        "additional_chat_templates/tool-use.jinja": "T",
        "additional_chat_templates/notes.txt": "no",
    },
    "more, no jinja": {"additional_chat_templates/rag.jinja": "R"},
}


def of_gguf_py(folder: Path) -> dict[str, Any]:
    writer = gguf.GGUFWriter(None, "llama")
    gguf.SpecialVocab(folder).add_to_gguf(writer, quiet=True)
    return {
        key: value.value for key, value in writer.kv_data[0].items() if key.startswith("tokenizer.")
    }


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("config", CONFIGURED)
def test_templates_are_those_of_gguf_py(
    tmp_path: Path, config: str, files: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    write(tmp_path, tokenizer=byte_level())
    # without a tokenizer_config.json there are no templates
    if config != "nothing":
        write(tmp_path, tokenizer_config={"tokenizer_class": "X", **CONFIGURED[config]})
    for name, text in FILES[files].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    got = special_metadata(TokenizerFiles(tmp_path))
    ours, theirs = {key: got[key] for key in got}, of_gguf_py(tmp_path)
    for found in (ours, theirs):  # gguf-py's order is that of a set
        names = found.get("tokenizer.chat_templates")
        if names is not None:
            found["tokenizer.chat_templates"] = sorted(names)
    assert ours == theirs


def test_files_alone_count_where_the_config_has_no_template(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(), tokenizer_config={"tokenizer_class": "X"})
    for name, text in FILES["jinja and more"].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    got = special_metadata(TokenizerFiles(tmp_path))
    assert got["tokenizer.chat_templates"] == ["rag", "tool_use"]
    assert got["tokenizer.chat_template"] == "J"
    assert got["tokenizer.chat_template.tool_use"] == "T"
