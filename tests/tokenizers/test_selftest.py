from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli import render
from ggufkit.cli.main import main
from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.errors import TokenizerMismatchError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers import self_test, selftest, tokenizer_metadata
from ggufkit.tokenizers.pre_table import BPE_NAMES, IGNORES_MERGES, SAME_RULES, STRUCTURES, steps_of
from ggufkit.tokenizers.probes import PROBES
from tests.llama import write_llama
from tests.tokenizers.build import added, byte_level, message, model_type, piece, write
from tests.tokenizers.published import NAMES, rebuild
from tests.tokenizers.test_kinds import KIND_OF

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "checkpoints"
NO_TOKENIZER_JSON = {"gemma2", "gemma3", "llama", "llama-oddcols"}

# Cuts that are not known as steps: code of llama.cpp's own, or another spelling of spaces.
NO_STEPS = {
    "default", "chameleon", "afmoe", "kimi-k2", "gemma4", "sarvam-moe", "whitespace",
    "granite-embed-multi-97m", "granite-embed-multi-311m",
}  # fmt: skip


def fixture(name: str, pre: str | None = None) -> tuple[Path, Metadata]:
    expected = json.loads((FIXTURES / name / "expected.json").read_text())
    folder = FIXTURES / name
    return folder, tokenizer_metadata(
        folder, kind=KIND_OF[name], config=expected["config"], pre=pre
    )


@pytest.mark.parametrize("name", KIND_OF)
def test_oracle_checkpoints_pass(oracle: Path, name: str) -> None:
    info = json.loads((oracle / "expected" / name / "info.json").read_text())
    pre = None if info["pre"] == "default" else info["pre"]
    tested = VocabularySource.open(oracle / "checkpoints" / name, pre=pre).self_test
    assert tested is not None
    if name in NO_TOKENIZER_JSON:
        assert "no tokenizer.json" in tested.why
    elif name == "mixtral":  # llama.cpp's converter writes one score for all tokens
        assert "no scores" in tested.why
    else:
        assert tested.n_probes > len(PROBES)


@pytest.mark.parametrize("name", NAMES)
def test_published_models_pass(oracle: Path, tmp_path: Path, name: str) -> None:
    folder = rebuild(oracle, name, tmp_path / name)
    tested = VocabularySource.open(folder).self_test
    assert tested is not None
    assert tested.n_probes > len(PROBES)


def change(metadata: Metadata, key: str, edit: Callable[[list[Any]], None]) -> Metadata:
    values = list(metadata[f"tokenizer.ggml.{key}"])  # type: ignore[arg-type]
    edit(values)
    item_type = metadata.item_type_of(f"tokenizer.ggml.{key}")
    changed = Metadata()
    changed.extend(metadata)
    changed.set(f"tokenizer.ggml.{key}", values, item_type)
    return changed


def test_a_lost_merge_is_found() -> None:
    folder, metadata = fixture("qwen2")
    assert self_test(folder, metadata).n_probes
    for at in (0, 100, -1):
        with pytest.raises(TokenizerMismatchError, match=r"by tokenizer\.json, but"):
            self_test(folder, change(metadata, "merges", lambda merges, at=at: merges.pop(at)))


def test_a_wrong_type_of_an_added_token_is_found(tmp_path: Path) -> None:
    tokenizer = json.loads((FIXTURES / "qwen2" / "tokenizer.json").read_text())
    n = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    tokenizer["added_tokens"].append(added(n, "<tool>", **flags))
    files = write(tmp_path, tokenizer=tokenizer)
    metadata = tokenizer_metadata(tmp_path, kind="gpt2", config={})
    assert self_test(files.folder, metadata).n_probes
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    cases = [("<tool>", 4, 1), ("<tool>", 4, 3), ("<|im_end|>", 3, 1), ("<|im_end|>", 3, 4)]
    for text, right, wrong in cases:
        token_id = tokens.index(text)

        def plant(types: list[int], i: int = token_id, r: int = right, w: int = wrong) -> None:
            assert types[i] == r
            types[i] = w

        with pytest.raises(TokenizerMismatchError) as caught:
            self_test(files.folder, change(metadata, "token_type", plant))
        assert caught.value.text == text


def test_two_tokens_that_changed_places_are_found() -> None:
    folder, metadata = fixture("bert")

    def swap(tokens: list[str]) -> None:
        tokens[200], tokens[201] = tokens[201], tokens[200]

    with pytest.raises(TokenizerMismatchError):
        self_test(folder, change(metadata, "tokens", swap))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("gpt-2", "qwen2"), ("llama-bpe", "gpt-2"), ("llama-bpe", "qwen2"), ("qwen2", "falcon")],
)
def test_a_wrong_pre_fails_the_conversion(
    oracle: Path, tmp_path: Path, name: str, wrong: str, capsys
) -> None:
    folder = rebuild(oracle, name, tmp_path / name)
    out = tmp_path / "v.gguf"
    command = ["convert", str(folder), "--vocab-only", "--pre", wrong, "-o", str(out)]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "by tokenizer.json, but" in error
    assert f"tokenizer.ggml.pre {wrong}" in error
    assert not out.exists()
    assert main([*command, "--no-self-test"]) == 0
    assert "self-test" not in capsys.readouterr().out
    assert out.exists()


def test_wrong_scores_are_found(oracle: Path, tmp_path: Path) -> None:
    folder = rebuild(oracle, "llama-spm", tmp_path / "llama")
    metadata = tokenizer_metadata(folder, kind="llama", config={"vocab_size": 32000})
    with pytest.raises(TokenizerMismatchError):
        self_test(folder, change(metadata, "scores", lambda scores: scores.reverse()))


def test_unigram(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("▁H", -2.0), ("▁He", -9.0), ("el", -2.0), ("l", -2.0)]
    pieces += [("lo", -2.0)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [], "post_processor": None, "decoder": None,
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True,
        },
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces},
    }  # fmt: skip
    spiece = b"".join(piece(t, s, 2 if i == 0 else 1) for i, (t, s) in enumerate(pieces))
    files = write(tmp_path, tokenizer=tokenizer)
    keep_spaces = message(3, b"\x18\x01\x20\x00")
    (tmp_path / "spiece.model").write_bytes(spiece + model_type(1) + keep_spaces)
    metadata = tokenizer_metadata(tmp_path, kind="t5", config={"vocab_size": len(pieces)})
    assert self_test(files.folder, metadata).n_probes == len(PROBES) - 2
    better = change(metadata, "scores", lambda scores: scores.__setitem__(3, -0.5))
    with pytest.raises(TokenizerMismatchError, match=r"'Hello, .* is \[2 4 6 .*, but \[3 5 6 "):
        self_test(files.folder, better)


def test_respelled_tokens_are_no_difference(oracle: Path, tmp_path: Path) -> None:
    # As Gemma has them: runs of spaces, which SentencePiece spells otherwise.
    folder = rebuild(oracle, "llama-spm", tmp_path / "llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    spaces = tokenizer["model"]["vocab"]["▁▁"]
    tokenizer["added_tokens"].append(added(spaces, "▁▁", **flags))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {str(spaces): {"content": "▁▁"}}
    write(folder, tokenizer=tokenizer, tokenizer_config=config)
    metadata = tokenizer_metadata(folder, kind="llama", config={"vocab_size": 32000})
    assert metadata["tokenizer.ggml.tokens"][spaces] == "  "  # type: ignore[index]
    n_probes = self_test(folder, metadata).n_probes
    n_added = len(tokenizer["added_tokens"])
    assert len(PROBES) - 8 < n_probes - n_added + 1 < len(PROBES)


def test_a_space_at_the_start_is_left_to_llama_cpp(oracle: Path, tmp_path: Path) -> None:
    folder = rebuild(oracle, "llama-spm", tmp_path / "llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    tokenizer["pre_tokenizer"] = {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False,
    }  # fmt: skip
    write(folder, tokenizer=tokenizer)
    metadata = tokenizer_metadata(folder, kind="llama", config={"vocab_size": 32000})
    assert self_test(folder, metadata).n_probes > 30


def test_what_keeps_it_from_running_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, metadata = fixture("qwen2")
    files = write(tmp_path, tokenizer=byte_level(model={"type": "BPE", "vocab": {"a": 0}}))
    assert "not run: " in str(self_test(files.folder, metadata))
    monkeypatch.setattr(selftest, "_SECONDS", 0.001)
    assert "took more than 0.001 s" in self_test(folder, metadata).why
    monkeypatch.undo()
    crash = tmp_path / "crash.py"
    crash.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(selftest, "_WORKER", crash)
    assert "crashed" in self_test(folder, metadata).why
    monkeypatch.setattr(selftest, "find_spec", lambda _: None)
    assert "pip install" in self_test(folder, metadata).why


UNTESTED: dict[str, tuple[str, Any, str]] = {
    "no library": ("find_spec", lambda _: None, "pip install 'ggufkit[selftest]'"),
    "too slow": ("_SECONDS", 0.001, "took more than 0.001 s"),
    "unknown cuts": ("rebuild", lambda _: cannot_rebuild("made up"), "made up"),
}


def cannot_rebuild(why: str) -> None:
    raise selftest.CannotRebuildError(why)


@pytest.mark.parametrize("case", UNTESTED)
def test_a_self_test_that_was_not_run_is_said_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, case: str
) -> None:
    name, value, why = UNTESTED[case]
    monkeypatch.setattr(selftest, name, value)
    loud: list[str] = []
    monkeypatch.setattr(render, "warning", loud.append)
    folder, out = fixture_model(tmp_path), tmp_path / "out"
    assert main(["convert", str(folder), "--ladder", "F16", "-o", str(out)]) == 0
    assert [text for text in loud if why in text and "self-test not run" in text]
    said = json.loads((out / "ladder.json").read_text())["files"]
    assert all(why in entry["source"]["self_test"] for entry in said.values())
    loud.clear()
    assert main(["vocabulary", str(folder), "-o", str(tmp_path / "v.gguf")]) == 0
    assert [text for text in loud if why in text]
    capsys.readouterr()
    words = ["vocabulary", str(folder), "-o", str(tmp_path / "v.gguf"), "--dry-run", "--json"]
    assert main(words) == 0
    assert why in json.loads(capsys.readouterr().out)["self_test"]


def test_ladder_json_says_that_a_self_test_passed_or_was_not_wanted(tmp_path: Path) -> None:
    folder = fixture_model(tmp_path)
    for out, words in (("tested", []), ("untested", ["--no-self-test"])):
        command = ["convert", str(folder), "--ladder", "F16", "-o", str(tmp_path / out), *words]
        assert main(command) == 0
    found = [
        next(iter(json.loads((tmp_path / out / "ladder.json").read_text())["files"].values()))
        for out in ("tested", "untested")
    ]
    assert found[0]["source"]["self_test"].startswith("self-test passed (")
    assert found[1]["source"]["self_test"] == "self-test not run: it was not asked for"


def test_what_is_doubtful_is_in_the_summary_and_in_ladder_json(tmp_path: Path, capsys: Any) -> None:
    folder, out = fixture_model(tmp_path), tmp_path / "out"
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 5000}
    write(folder, config=config)
    note = "config.json: eos_token_id is 5000, but ids are whole numbers below 320"
    command = ["convert", str(folder), "--ladder", "F16", "-o", str(out)]
    assert main([*command, "--dry-run", "--json"]) == 0
    assert note in json.dumps(json.loads(capsys.readouterr().out)["source"]["notes"])
    assert main(command) == 0
    assert note[1:] in capsys.readouterr().out
    (entry,) = json.loads((out / "ladder.json").read_text())["files"].values()
    assert [text for text in entry["source"]["notes"] if text.startswith(note)]
    assert main(["vocabulary", str(folder), "-o", str(tmp_path / "v.gguf")]) == 0
    assert note[1:] in capsys.readouterr().out


def fixture_model(tmp_path: Path) -> Path:
    """A small model whose tokenizer.json the tokenizers library reads."""
    folder = write_llama(tmp_path / "Tiny-1M")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["th"] = tokenizer["model"]["vocab"].pop("<extra0>")
    write(folder, tokenizer=tokenizer)
    return folder


def test_the_texts_have_one_spelling() -> None:
    assert [text for text in PROBES if unicodedata.normalize("NFC", text) != text] == []
    assert len(set(PROBES)) == len(PROBES) >= 30


def test_every_name_has_its_cuts_or_is_known_to_have_none() -> None:
    named = [name for names in SAME_RULES.values() for name in names.split()]
    assert len(named) == len(set(named))
    assert not set(named) & set(STRUCTURES.values())
    assert {name for name in BPE_NAMES if steps_of(name) is None} == NO_STEPS
    assert IGNORES_MERGES <= BPE_NAMES
