"""A tokenizer.json made only from the metadata of a GGUF file.

It splits and joins text as llama.cpp does for that metadata, as far as the tokenizers library can:
an independent path from the file to token ids, which shows what a conversion lost.

Byte-level BPE has merges, and its splitting rules follow from the pre-tokenizer's name.
SentencePiece joins the neighbours whose union has the best score; as merges, these are all splits
of pieces into two others, in the order of scores. Unigram and WordPiece need only the tokens.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ggufkit.tokenizers.pre_table import IGNORES_MERGES, steps_of
from ggufkit.tokenizers.sentencepiece import TokenType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ADDED = frozenset({TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED})

_NAMED_STEPS: dict[str, dict[str, Any]] = {
    "words": {"type": "ByteLevel", "use_regex": True},
    "bytes": {"type": "ByteLevel", "use_regex": False},
    "digit": {"type": "Digits", "individual_digits": True},
    "digits": {"type": "Digits", "individual_digits": False},
    "punctuation": {"type": "Punctuation", "behavior": "Contiguous"},
}
_BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": False}


class CannotRebuildError(Exception):
    """The metadata is not sufficient; the message says what is missing."""


def rebuild(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer.json that corresponds to the metadata.

    Parameters
    ----------
    metadata : mapping
        The ``tokenizer.*`` keys of a GGUF file.

    Raises
    ------
    CannotRebuildError
        The metadata is not sufficient.
    """
    kind = metadata["tokenizer.ggml.model"]
    if kind not in _BUILDERS:
        raise CannotRebuildError(f"tokenizers of the model {kind!r} can't be rebuilt")
    return _BUILDERS[kind](metadata)


def _tokenizer(metadata: Mapping[str, Any], model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    texts, types = _tokens(metadata)
    added = [
        {
            "id": i,
            "content": text,
            "special": types[i] != TokenType.USER_DEFINED,
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
        }
        for i, text in enumerate(texts)
        if types[i] in ADDED and text
    ]
    empty = dict.fromkeys(
        ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    )
    return {"version": "1.0", **empty, "added_tokens": added, "model": model, **parts}


def _tokens(metadata: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    return metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]


def _bpe(metadata: Mapping[str, Any]) -> dict[str, Any]:
    pre = metadata.get("tokenizer.ggml.pre", "default")
    steps = steps_of(pre)
    if steps is None:
        raise CannotRebuildError(
            f"llama.cpp's splitting rules for the pre-tokenizer {pre!r} are unknown"
        )
    vocab, merges = _joined(metadata)
    model = _bpe_model(vocab, merges, ignore_merges=pre in IGNORES_MERGES)
    cuts = {"type": "Sequence", "pretokenizers": [_cut(step) for step in steps]}
    return _tokenizer(metadata, model, pre_tokenizer=cuts)


def _joined(metadata: Mapping[str, Any]) -> tuple[dict[str, int], list[list[str]]]:
    """Return the vocabulary with all that its merges join, and the merges."""
    vocab = {text: i for i, text in enumerate(_tokens(metadata)[0])}
    merges = [merge.split(" ") for merge in metadata.get("tokenizer.ggml.merges", ())]
    for left, right in merges:
        # llama.cpp also joins to texts that are not tokens, and splits these up afterwards
        for text in (left, right, left + right):
            vocab.setdefault(text, len(vocab))
    return vocab, merges


def _bpe_model(
    vocab: dict[str, int], merges: Sequence[Sequence[str]], **options: Any
) -> dict[str, Any]:
    empty = dict.fromkeys(("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    return {"type": "BPE", **empty, "vocab": vocab, "merges": merges, **options}


def _cut(step: str) -> dict[str, Any]:
    named = _NAMED_STEPS.get(step)
    if named is not None:
        return {**_BYTE_LEVEL, **named} if named["type"] == "ByteLevel" else named
    return {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}


def _gemma4(metadata: Mapping[str, Any]) -> dict[str, Any]:
    vocab, merges = _joined(metadata)
    model = _bpe_model(vocab, merges, fuse_unk=True, byte_fallback=True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return _tokenizer(metadata, model, normalizer=spaces, pre_tokenizer=_cut(r"[^\n]+|[\n]+"))


def _spm(metadata: Mapping[str, Any]) -> dict[str, Any]:
    texts, types = _tokens(metadata)
    scores = metadata["tokenizer.ggml.scores"]
    pieces = [score for score, kind in zip(scores, types, strict=True) if kind == TokenType.NORMAL]
    if len(set(pieces)) < min(len(pieces), 2):
        raise CannotRebuildError("the file has no scores, as it was made from a tokenizer.json")
    vocab = {text: i for i, text in enumerate(texts)}
    splits = sorted(
        (-scores[i], vocab[text[:at]], vocab[text[at:]])
        for text, i in vocab.items()
        for at in range(1, len(text))
        if text[:at] in vocab and text[at:] in vocab
    )
    merges = [(texts[left], texts[right]) for _, left, right in splits]
    unknown = next((texts[i] for i, kind in enumerate(types) if kind == TokenType.UNKNOWN), None)
    byte_fallback = TokenType.BYTE in types
    model = _bpe_model(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=byte_fallback)
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, {"type": "Prepend", "prepend": "▁"})
    return _tokenizer(metadata, model, normalizer={"type": "Sequence", "normalizers": steps})


def _unigram(metadata: Mapping[str, Any]) -> dict[str, Any]:
    texts, types = _tokens(metadata)
    vocab = list(zip(texts, metadata["tokenizer.ggml.scores"], strict=True))
    unknown = next((i for i, kind in enumerate(types) if kind == TokenType.UNKNOWN), None)
    model = {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": False}
    steps: list[dict[str, Any]] = []
    charsmap = metadata.get("tokenizer.ggml.precompiled_charsmap")
    if charsmap:
        encoded = base64.b64encode(bytes(charsmap)).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if metadata["tokenizer.ggml.remove_extra_whitespaces"]:
        runs = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
        steps += [{"type": "Strip", "strip_left": True, "strip_right": True}, runs]
    prefix = "always" if metadata["tokenizer.ggml.add_space_prefix"] else "never"
    spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": prefix, "split": True}
    normalizer = {"type": "Sequence", "normalizers": steps}
    return _tokenizer(metadata, model, normalizer=normalizer, pre_tokenizer=spaces)


def _wordpiece(metadata: Mapping[str, Any]) -> dict[str, Any]:
    texts, types = _tokens(metadata)
    pieces = [
        text if kind in (TokenType.CONTROL, TokenType.USER_DEFINED) else _unmark_start(text)
        for text, kind in zip(texts, types, strict=True)
    ]
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    if unknown is None or unknown >= len(texts):
        raise CannotRebuildError("the file has no id of an unknown token")
    model = {
        "type": "WordPiece",
        "unk_token": texts[unknown],
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {text: i for i, text in enumerate(pieces)},
    }
    lowercase = metadata.get("tokenizer.ggml.normalizer.lowercase", True)
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "lowercase": lowercase,
        "strip_accents": metadata.get("tokenizer.ggml.normalizer.strip_accents", lowercase),
    }
    cuts = {"type": "BertPreTokenizer"}
    return _tokenizer(metadata, model, normalizer=normalizer, pre_tokenizer=cuts)


def _unmark_start(text: str) -> str:
    is_start = text.startswith("▁") and text != "▁"
    return text[1:] if is_start else f"##{text}"


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "gpt2": _bpe,
    "gemma4": _gemma4,
    "llama": _spm,
    "t5": _unigram,
    "bert": _wordpiece,
}
