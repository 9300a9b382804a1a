"""Added tokens keep their text and their number, whichever file has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import main
from ggufkit.errors import CheckpointError, TokenizerMismatchError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers import self_test, tokenizer_metadata
from ggufkit.tokenizers.alphabet import CHAR_OF
from tests.llama import write_llama
from tests.real import llama_vocab
from tests.tokenizers.build import added, byte_level, model_type, piece, write

FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
VOCAB = {char: i for i, char in enumerate((*CHAR_OF.values(), "th"))}
TEXTS = [
    "Größe", "§80C", "£", "naïve", "Ã¶", "ö", "Ġ", "ĠĠ", "Ċ", "Ġx", "\n", " two words ", "a▁b", "▁",
    "日本", "\x07\x1b[31m", "<|looks special|>", "\u00a0", "e\u0301", "%{}'\"",
]  # fmt: skip

SPM = (
    piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3)
    + b"".join(piece(f"<0x{byte:02X}>", 0, 6) for byte in range(256))
    + piece("▁", -1.0) + piece("a", -2.0) + piece("b", -3.0) + piece("ab", -2.5) + model_type(2)
)  # fmt: skip
N_SPM = 263


def tokenizer_json(*added_tokens: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A byte-level tokenizer.json that the tokenizers library reads, with every byte."""
    empty = {"version": "1.0", "truncation": None, "padding": None}
    model = {"type": "BPE", "vocab": VOCAB, "merges": ["t h"]}
    parts = {"pre_tokenizer": BYTES, "decoder": BYTES, "model": model}
    return {**byte_level(), **empty, **parts, "added_tokens": list(added_tokens), **fields}


def new_tokens(*texts: str, **flags: Any) -> list[dict[str, Any]]:
    """Entries of ``added_tokens`` for texts, as the tokenizers library numbers them."""
    ids = dict(VOCAB)
    return [added(ids.setdefault(t, len(ids)), t, **FLAGS, **flags) for t in texts]


def converted(folder: Path, kind: str = "gpt2", **files: Any) -> tuple[Metadata, list[str]]:
    """The metadata of tokenizer files, and what is said of them."""
    write(folder, **files)
    notes: list[str] = []
    config = files.get("config", {})
    return tokenizer_metadata(folder, kind=kind, config=config, notes=notes), notes


def rows(metadata: Metadata) -> list[tuple[str, int]]:
    columns = (metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type"))
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_an_added_token_of_a_byte_level_tokenizer_has_its_exact_text(
    tmp_path: Path, text: str, normalized: bool
) -> None:
    (entry,) = new_tokens(text, normalized=normalized)
    got, _ = converted(tmp_path, tokenizer=tokenizer_json(entry))
    kind = 3 if text == "<|looks special|>" else 4
    assert rows(got)[entry["id"]] == (text, kind)
    tested = self_test(tmp_path, got)
    assert tested.n_probes, tested.why


@pytest.mark.parametrize("where", ["tokenizer_config", "added_tokens"])
def test_tokens_of_other_files_keep_their_text_too(tmp_path: Path, where: str) -> None:
    texts = ["Größe", "§80C", "Ġ▁"]
    entries = new_tokens(*texts)
    given: dict[str, Any] = {
        "tokenizer_config": {"added_tokens_decoder": {str(e["id"]): e for e in entries}},
        "added_tokens": {entry["content"]: entry["id"] for entry in entries},
    }
    got, _ = converted(tmp_path, tokenizer=tokenizer_json(), **{where: given[where]})
    assert [rows(got)[entry["id"]] for entry in entries] == [(text, 4) for text in texts]


def test_llama_cpp_finds_added_tokens_as_the_tokenizers_library_does(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    texts = [text for text in TEXTS if text not in VOCAB]
    entries = new_tokens(*texts)
    folder = write_llama(tmp_path / "model")
    write(folder, tokenizer=tokenizer_json(*entries))
    out = tmp_path / "v.gguf"
    assert main(["vocabulary", str(folder), "-o", str(out)]) == 0
    assert llama_vocab.tokenize(out, texts, special=True) == [[entry["id"]] for entry in entries]


@pytest.mark.parametrize("text", ["<Tool>", "cats and dogs", "do not", "##x", "▁", "§"])
def test_an_added_token_of_wordpiece_has_its_exact_text(tmp_path: Path, text: str) -> None:
    vocab = {"[UNK]": 0, "cat": 1, "##s": 2, "[CLS]": 3}
    tokenizer = tokenizer_json(
        added(0, "[UNK]", special=True, **FLAGS),
        added(3, "[CLS]", special=True, **FLAGS),
        added(4, text, **FLAGS),
        normalizer={
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "lowercase": True, "strip_accents": None,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        model={
            "type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        },
    )  # fmt: skip
    config = {"unk_token": "[UNK]"}
    got, _ = converted(tmp_path, "bert", tokenizer=tokenizer, tokenizer_config=config)
    assert rows(got)[4] == (text, 4)
    tested = self_test(tmp_path, got)
    assert tested.n_probes, tested.why


GAP = new_tokens("<bos>", "<eos>", special=True)
GAP_DECODER = {"added_tokens_decoder": {"310": GAP[0], "311": GAP[1]}}
SWAPPED = {"added_tokens_decoder": {str(len(VOCAB)): GAP[1], str(len(VOCAB) + 1): GAP[0]}}


@pytest.mark.parametrize(
    ("tokens", "files", "name"),
    [
        ([GAP[0] | {"id": 310}, GAP[1] | {"id": 311}], {}, "tokenizer.json"),
        ([GAP[1], GAP[0]], {}, "tokenizer.json"),
        ([GAP[0], GAP[1] | {"id": GAP[0]["id"]}], {}, "tokenizer.json"),
        ([GAP[0], GAP[0] | {"id": GAP[0]["id"] + 1}], {}, "tokenizer.json"),
        ([added(7, "<bos>", **FLAGS)], {}, "tokenizer.json"),
        ([added(9, "th", **FLAGS)], {}, "tokenizer.json"),
        ([], {"tokenizer_config": GAP_DECODER}, "tokenizer_config.json"),
        (GAP, {"tokenizer_config": SWAPPED}, "tokenizer_config.json"),
        (GAP, {"tokenizer_config": GAP_DECODER}, "tokenizer_config.json"),
        ([], {"added_tokens": {"<bos>": 310, "<eos>": 311}}, "added_tokens.json"),
        (GAP, {"added_tokens": {"<eos>": 300}}, "added_tokens.json"),
        ([added(300, "", **FLAGS), GAP[0] | {"id": 301}], {}, "tokenizer.json"),
    ],
)
def test_files_that_number_added_tokens_differently_are_refused(
    tmp_path: Path, tokens: list[dict[str, Any]], files: dict[str, Any], name: str
) -> None:
    config = {"vocab_size": 320, "bos_token_id": 310, "eos_token_id": 311}
    with pytest.raises(CheckpointError, match=r"has the id \d+, but as transformers") as error:
        converted(tmp_path, tokenizer=tokenizer_json(*tokens), config=config, **files)
    assert f"{name}: the added token" in str(error.value)


@pytest.mark.parametrize(
    "decoder",
    [[], {"x": {"content": "<x>"}}, {"-1": {"content": "<x>"}}, {"1_0": {"content": "<x>"}},
     {"٣": {"content": "<x>"}}, {"9" * 5000: {"content": "<x>"}}, {"5": "<x>"}, {"5": {}},
     {"257": {"content": "<x>"}, "0257": {"content": "<x>"}}],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["gpt2", "spm"])
def test_a_malformed_added_tokens_decoder_is_refused(
    tmp_path: Path, kind: str, decoder: Any
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(SPM)
    files = {"tokenizer": tokenizer_json(), "tokenizer_config": {"added_tokens_decoder": decoder}}
    with pytest.raises(CheckpointError, match="'added_tokens_decoder'"):
        converted(tmp_path, kind, **files)


@pytest.mark.parametrize("ids", [{"<x>": 1.5}, {"<x>": "263"}, {"<x>": -1}, {"<x>": True}])
@pytest.mark.parametrize("kind", ["gpt2", "spm"])
def test_malformed_ids_in_added_tokens_json_are_refused(
    tmp_path: Path, kind: str, ids: dict[str, Any]
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(SPM)
    with pytest.raises(CheckpointError, match="not a token id"):
        converted(tmp_path, kind, tokenizer=tokenizer_json(), added_tokens=ids)


def sentencepiece(folder: Path, **files: Any) -> tuple[list[tuple[str, int]], list[str]]:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(files.pop("model", SPM))
    files.setdefault("config", {"vocab_size": N_SPM + 4})
    got, notes = converted(folder, "spm", **files)
    return rows(got), notes


def decoder_of(**contents: str) -> dict[str, Any]:
    """A tokenizer_config.json with the tokens n0, n1 ... after the pieces."""
    ids = {str(N_SPM + int(key[1:])): {"content": text} for key, text in contents.items()}
    return {"added_tokens_decoder": ids}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens": {"<x>": N_SPM}, "tokenizer_config": decoder_of(n0="<y>")},
         "is '<x>' in added_tokens.json, but '<y>' in tokenizer_config.json"),
        ({"added_tokens": {"<x>": N_SPM}, "tokenizer_config": decoder_of(n1="<x>")},
         "are both '<x>'"),
        ({"tokenizer": {"added_tokens": [added(N_SPM, "<z>")]},
          "tokenizer_config": decoder_of(n0="<y>")},
         "is '<y>' in tokenizer_config.json, but '<z>' in tokenizer.json"),
        ({"tokenizer": {"added_tokens": [added(N_SPM, "<z>"), added(N_SPM + 1, "<z>")]}},
         "are both '<z>'"),
        ({"tokenizer": {"added_tokens": [added(N_SPM, "ab")]}}, "are both 'ab'"),
        ({"model": SPM + piece("ab")}, "are both 'ab'"),
        ({"added_tokens": {"[PAD266]": N_SPM}}, "are both '[PAD266]'"),
    ],
)  # fmt: skip
def test_sentencepiece_files_that_contradict_each_other_are_refused(
    tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError) as error:
        sentencepiece(tmp_path, **files)
    assert message in str(error.value)


def test_tokens_that_only_tokenizer_json_has_are_not_lost(tmp_path: Path) -> None:
    tokens = [added(N_SPM, "<|im_end|>", special=True), added(N_SPM + 1, "Größe ▁")]
    got, notes = sentencepiece(tmp_path, tokenizer={"added_tokens": tokens})
    assert got[N_SPM:] == [("<|im_end|>", 3), ("Größe  ", 4), ("[PAD265]", 5), ("[PAD266]", 5)]
    assert any("only tokenizer.json has" in note and "'<|im_end|>'" in note for note in notes)


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"tokenizer_config": decoder_of(n9="far")}, "not below 267, which are left out: 'far'"),
        ({"added_tokens": {"far": 5000}}, "not below 267, which are left out: 'far'"),
        ({"config": {"vocab_size": 200}}, "the last 63 of 263 pieces are left out"),
        ({"model": piece("<unk>", 0, 2) + piece("a", -1) + model_type(2)}, "no byte tokens"),
        ({"model": SPM + piece("▁x y", 0, 4)}, "user-defined pieces that are written as normal"),
    ],
)
def test_what_a_sentencepiece_file_has_no_place_for_is_said(
    tmp_path: Path, files: dict[str, Any], note: str
) -> None:
    _, notes = sentencepiece(tmp_path, **files)
    assert any(note in said for said in notes), notes


@pytest.mark.parametrize(
    ("tokens", "message"),
    [(["x\ud800"], "half a character"), (["x\0y", "x\0z"], "are both 'x'"),
     (["[PAD300]"], "are both '[PAD300]'")],
)  # fmt: skip
def test_texts_that_llama_cpp_can_not_load_are_refused(
    tmp_path: Path, tokens: list[str], message: str
) -> None:
    entries = new_tokens(*tokens)
    with pytest.raises(CheckpointError) as error:
        converted(tmp_path, tokenizer=tokenizer_json(*entries), config={"vocab_size": 320})
    assert message in str(error.value)


def test_texts_that_llama_cpp_changes_are_said(tmp_path: Path) -> None:
    _, notes = converted(tmp_path / "nul", tokenizer=tokenizer_json(*new_tokens("xy\0z")))
    assert any("at their NUL character: the tokens 257" in note for note in notes)
    vocab = {"a": 0, "": 1, "b": 2, "ab": 3}
    _, notes = converted(tmp_path / "empty", tokenizer=byte_level(vocab))
    assert any("makes up one: the tokens 1" in note for note in notes)
    _, notes = converted(tmp_path / "no", tokenizer=tokenizer_json(added(257, "", **FLAGS)))
    assert any("left out, as they have no text: the added tokens 257" in note for note in notes)


def test_a_named_token_that_no_file_adds_is_said(tmp_path: Path) -> None:
    config = {"eos_token": "</s>", "additional_special_tokens": [f"<{i}>" for i in range(5)]}
    got, notes = converted(tmp_path, tokenizer=tokenizer_json(), tokenizer_config=config)
    assert rows(got)[len(VOCAB)] == ("</s>", 3)
    assert any("'</s>', '<0>', '<1>' and 3 more" in note for note in notes)


@pytest.mark.parametrize(
    "model",
    [{"type": "WordPiece", "vocab": VOCAB}, {"type": "Unigram", "vocab": []}, {"type": "Foo"},
     {"type": 5, "vocab": VOCAB}],
)  # fmt: skip
def test_a_model_of_another_kind_is_refused(tmp_path: Path, model: dict[str, Any]) -> None:
    with pytest.raises(UnknownTokenizerError, match="is byte-level BPE"):
        converted(tmp_path, tokenizer=tokenizer_json(model=model))


@pytest.mark.parametrize("merge", [["t", "zz"], "zz h", "h t"])
def test_merges_of_another_vocabulary_are_said(tmp_path: Path, merge: Any) -> None:
    model = {"type": "BPE", "vocab": VOCAB, "merges": [merge]}
    _, notes = converted(tmp_path, tokenizer=tokenizer_json(model=model))
    assert any("1 of 1 merges" in note for note in notes)


def test_the_self_test_encodes_every_added_token(tmp_path: Path) -> None:
    entries = new_tokens(*(f"word{i}ß" for i in range(1500)))
    got, _ = converted(tmp_path, tokenizer=tokenizer_json(*entries))
    tested = self_test(tmp_path, got)
    assert tested.n_probes > 1500
    tokens = got["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    for i in (0, 1499):
        wrong = Metadata()
        wrong.extend(got)
        at = entries[i]["id"]
        # what llama.cpp's converter writes: the bytes that the letters stand for
        wrong["tokenizer.ggml.tokens"] = [*tokens[:at], f"word{i}\ufffd", *tokens[at + 1 :]]
        with pytest.raises(TokenizerMismatchError) as error:
            self_test(tmp_path, wrong)
        assert error.value.text == f"word{i}ß"


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip", "normalized", "special"])
def test_the_self_test_leaves_out_no_token_for_its_flags(tmp_path: Path, flag: str) -> None:
    (entry,) = new_tokens("§80C")
    got, _ = converted(tmp_path, tokenizer=tokenizer_json(entry | {flag: True}))
    assert self_test(tmp_path, got).n_probes
    tokens = got["tokenizer.ggml.tokens"]
    wrong = Metadata()
    wrong.extend(got)
    wrong["tokenizer.ggml.tokens"] = [*tokens[:-1], "other"]  # type: ignore[index]
    with pytest.raises(TokenizerMismatchError) as error:
        self_test(tmp_path, wrong)
    assert error.value.text == "§80C"


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip"])
def test_flags_that_llama_cpp_lacks_are_said_and_not_tested(tmp_path: Path, flag: str) -> None:
    entries = [entry | {flag: True} for entry in new_tokens("\n", "times")]
    got, notes = converted(tmp_path, tokenizer=tokenizer_json(*entries))
    assert self_test(tmp_path, got).n_probes > len(entries)
    assert any("no flags" in note and "'times'" in note for note in notes)


def test_tokens_of_an_object_and_of_a_list_are_both_added(tmp_path: Path) -> None:
    config = {
        "extra_special_tokens": {"image_token": "<img>"},
        "additional_special_tokens": ["<a>", "<b>"],
    }
    got, _ = converted(tmp_path, tokenizer=tokenizer_json(), tokenizer_config=config)
    assert [text for text, _ in rows(got)[len(VOCAB) :]] == ["<img>", "<a>", "<b>"]


@pytest.mark.parametrize(
    ("vocab", "said"),
    [({"<unk>": 0, "a": 260, "cd": N_SPM}, "'cd'"), ({"a": 261, "b": 260}, "'a', 'b'"),
     ({"a": 260, "x": 9999}, "'x'"), ({"a": 260, "ab": 262}, ""), ({"a": [260]}, "")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["spm", "phi3"])
def test_another_vocabulary_in_tokenizer_json_is_said(
    tmp_path: Path, kind: str, vocab: dict[str, Any], said: str
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(SPM)
    _, notes = converted(tmp_path, kind, tokenizer={"model": {"type": "BPE", "vocab": vocab}})
    assert [note for note in notes if "have other ids" in note] == (
        [f"tokenizer.model is converted, in which these tokens of tokenizer.json have other ids: "
         f"{said}"] if said else []
    )  # fmt: skip


def test_user_defined_tokens_of_sentencepiece_are_found_where_spaces_are_spaces(
    tmp_path: Path,
) -> None:
    model = SPM + piece("▁x y", 0, 4) + piece("▁▁", 0, 4)
    config = decoder_of(n0="▁x y", n1="▁▁", n2="Größe\u2581 §")
    got, notes = sentencepiece(tmp_path, model=model, tokenizer_config=config)
    assert got[N_SPM : N_SPM + 3] == [(" x y", 4), ("  ", 4), ("Größe  §", 4)]
    assert not notes


@pytest.mark.parametrize(
    "change", [{"id": "257"}, {"id": None}, {"id": 257.0}, {"id": True}, {"id": -1}]
)
def test_an_added_token_without_an_id_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (entry,) = new_tokens("<x>")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: the added token '<x>' has "):
        converted(tmp_path, tokenizer=tokenizer_json(entry | change))
