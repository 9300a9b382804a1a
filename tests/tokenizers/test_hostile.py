"""Tokenizer files in which any part may be of any type: an answer or one clear error."""

from __future__ import annotations

import copy
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufkit.errors import CheckpointError, GGUFKitError
from ggufkit.tokenizers import tokenizer_metadata
from tests.tokenizers.build import added, byte_level, model_type, piece, write

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "checkpoints"
JUNK = st.sampled_from(
    [
        None,
        True,
        -1,
        2**70,
        1.5,
        "",
        "x",
        "\0",
        "\ud800",
        [],
        [None],
        [[]],
        {},
        {"type": "x"},
        10**9,
    ]
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the large lists and objects by their first parts only."""
    found = [prefix] if prefix else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in list(items)[:8]:
        found += paths(part, (*prefix, key))
    return found


def replace(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    value = copy.deepcopy(value)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = junk
    return value


CASES = {
    (name, file): json.loads((FIXTURES / name / file).read_text())
    for name in ("bert", "llama", "mixtral", "qwen2")
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json")
    if (FIXTURES / name / file).exists()
}


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_junk_anywhere_gives_an_answer_or_one_error(data: st.DataObject) -> None:
    name, file = data.draw(st.sampled_from(sorted(CASES)))
    path = data.draw(st.sampled_from(paths(CASES[name, file])))
    changed = replace(CASES[name, file], path, data.draw(JUNK))
    kinds = {"bert": ["bert"], "llama": ["llama", "phi3", "gemma"], "mixtral": ["llama", "gpt2"]}
    kind = data.draw(st.sampled_from(kinds.get(name, ["qwen", "llama", "roberta", "phi3"])))
    with tempfile.TemporaryDirectory() as folder:
        for source in (FIXTURES / name).iterdir():
            (Path(folder) / source.name).write_bytes(source.read_bytes())
        (Path(folder) / file).write_text(json.dumps(changed))
        config = changed if file == "config.json" else CASES[name, "config.json"]
        with suppress(GGUFKitError):
            tokenizer_metadata(Path(folder), kind=kind, config=config)


def test_two_tokens_with_one_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level({"a": 0, "b": 0}))
    with pytest.raises(CheckpointError, match="have the same id"):
        tokenizer_metadata(tmp_path, kind="gpt2", config={})
    # The library gives a new token the number of the model's tokens as id, here one in use.
    write(tmp_path, tokenizer=byte_level({"a": 0, "b": 2}, added_tokens=[added(9, "new")]))
    with pytest.raises(CheckpointError, match="'b' and 'new' both have the id 2"):
        tokenizer_metadata(tmp_path, kind="gpt2", config={})


SIZES = (None, True, 0, -1, 2**70, 1.5, "x", "", [], [1], {}, "\ud800", float("nan"), 10**9)


@pytest.mark.parametrize("key", ["vocab_size", "pad_vocab_size_multiple", "eod_token_id"])
@pytest.mark.parametrize("kind", ["gpt2", "mamba", "granite4", "hunyuan", "xlm_roberta", "spm"])
def test_any_size_in_the_config_gives_an_answer_or_one_error(
    tmp_path: Path, kind: str, key: str
) -> None:
    unigram = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + model_type(1)
    if kind == "spm":
        (tmp_path / "tokenizer.model").write_bytes(unigram)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(unigram)
    write(tmp_path, tokenizer=byte_level())
    for value in SIZES:
        with suppress(GGUFKitError):
            tokenizer_metadata(tmp_path, kind=kind, config={"vocab_size": 8, key: value})


def test_no_code_of_the_checkpoint_runs(tmp_path: Path) -> None:
    trap = "raise SystemExit('code of the checkpoint ran')"
    for name in ("tokenization_x.py", "conftest.py", "setup.py"):
        (tmp_path / name).write_text(trap)
    config = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}, "tokenizer_class": "X"}
    write(tmp_path, tokenizer=byte_level(), tokenizer_config=config)
    got = tokenizer_metadata(tmp_path, kind="gpt2", config={})
    assert got["tokenizer.ggml.pre"] == "gpt-2"


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"chat_template": "secret"}')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer_config.json").symlink_to("../secret.json")
    write(tmp_path / "model", tokenizer=byte_level())
    with pytest.raises(CheckpointError, match="leads out of the checkpoint"):
        tokenizer_metadata(tmp_path / "model", kind="gpt2", config={})
