"""Tokenizer files of a checkpoint from the metadata of a GGUF file: conversion, backwards.

Byte-level BPE and WordPiece become a tokenizer.json, SentencePiece a tokenizer.model with a
tokenizer.json beside it where the scores tell enough. Special tokens, what is added to a text
and chat templates go to tokenizer_config.json. Whether a conversion would write the same metadata
is for the caller to try.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.bpe import looks_special
from ggufkit.tokenizers.decode import decode_with
from ggufkit.tokenizers.pre import NOTE
from ggufkit.tokenizers.pre_table import WITH_ROBERTA_PROCESSING, steps_of
from ggufkit.tokenizers.rebuild import ADDED, CannotRebuildError, rebuild
from ggufkit.tokenizers.sentencepiece import (
    ModelType,
    SentencePieceModel,
    TokenType,
    encode_model,
)
from ggufkit.tokenizers.special import ID_KEYS
from ggufkit.tokenizers.spm import ADDED_SCORE
from ggufkit.tokenizers.stored import MERGES, PRE, SPACE_PREFIX, TYPES, StoredVocabulary

# Cut as GPT-2 does, where it is not known how llama.cpp cuts.
FALLBACK_PRE = "gpt-2"

# The name of the SentencePiece file, of kinds whose is another one.
MODEL_NAMES = {
    "t5": "spiece.model",
    **dict.fromkeys(("xlm_roberta", "nomic_moe"), "sentencepiece.bpe.model"),
}
XLM_MODEL = "sentencepiece.bpe.model"

# Characters of all halves of all tokens; real vocabularies have a tenth of it.
MAX_CUTS = 200_000_000

_FLAGS: dict[str, Any] = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
_BYTE_DECODER = {
    "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
}  # fmt: skip
_SPM_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


@dataclass
class Restored:
    """Tokenizer files.

    Attributes
    ----------
    files : dict of str to bytes
        By name.
    notes : list of str
        What they can't say.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any) -> None:
        """Add a JSON file."""
        text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
        self.files[name] = text.encode("utf-8", "replace")


def restore_tokenizer(
    metadata: Metadata, kind: str, *, context: int | None = None, note_pre: bool = False
) -> Restored:
    """Return the tokenizer files that a conversion reads as `metadata`, as nearly as can be.

    Parameters
    ----------
    metadata : Metadata
        Of a GGUF file.
    kind : str
        How the architecture's tokenizer is read, see `ggufkit.tokenizers.kinds`.
    context : int, optional
        The most tokens that the model can see.
    note_pre : bool
        Whether to write down the pre-tokenizer's name, where tokenizer.json does not tell it.

    Raises
    ------
    UnknownTokenizerError
        The metadata is malformed.
    """
    result = Restored()
    stored = StoredVocabulary(metadata)
    if not stored.tokens:
        result.notes.append("the file has no vocabulary: there are no tokenizer files")
        return result
    config = stored.config(context)
    if note_pre:
        config[NOTE] = metadata.get(PRE)
    if kind == "phi3" and stored.model == "gpt2":
        config["tokenizer_class"] = "GPT2Tokenizer"  # by which its conversion tells it
    tokenizer: dict[str, Any] | None
    if stored.model == "gpt2":
        tokenizer = _bpe(stored, result.notes)
    elif stored.model == "bert":
        tokenizer = _wordpiece(stored, result.notes)
    elif stored.model in ("llama", "t5"):
        _add_sentencepiece(result, stored, kind, config)
        tokenizer = _rebuilt(stored, kind, result.notes)
    else:
        result.notes.append(f"tokenizers of the model {stored.model[:40]!r} can't be restored")
        return result
    if tokenizer is not None:
        result.add("tokenizer.json", tokenizer)
    result.add("tokenizer_config.json", config)
    return result


def _bpe(stored: StoredVocabulary, notes: list[str]) -> dict[str, Any]:
    """Return the tokenizer.json of byte-level BPE."""
    name = stored.metadata.get(PRE, "default")
    if steps_of(str(name)) is None:
        notes.append(
            f"how llama.cpp cuts text for the pre-tokenizer {str(name)[:40]!r} is not known: "
            "tokenizer.json cuts as GPT-2 does"
        )
        name = FALLBACK_PRE
    merges = stored.metadata.get(MERGES)
    given = merges if isinstance(merges, list) else []
    known = set(stored.tokens)
    pairs = [merge for merge in given if _is_known(merge, known)]
    if len(pairs) != len(given):
        notes.append(f"{len(given) - len(pairs)} merges are of no tokens, or to none: left out")
    tokenizer = rebuild({**dict(stored.metadata), PRE: name, MERGES: pairs, TYPES: stored.types})
    vocab = {text: i for i, text in enumerate(stored.tokens) if not stored.is_padding(i)}
    tokenizer["model"]["vocab"] = vocab
    tokenizer["decoder"] = _BYTE_DECODER
    tokenizer["added_tokens"] = _added(stored, stored.tokens, _BYTE_DECODER)
    tokenizer["post_processor"] = _post_processor(stored)
    if stored.metadata.get("tokenizer.ggml.normalizer.lowercase") is True:
        tokenizer["normalizer"] = {"type": "Lowercase"}
    return tokenizer


def _is_known(merge: Any, tokens: set[str]) -> bool:
    left, _, right = str(merge).partition(" ")
    return left in tokens and right in tokens and left + right in tokens


def _wordpiece(stored: StoredVocabulary, notes: list[str]) -> dict[str, Any] | None:
    """Return the tokenizer.json of WordPiece."""
    unknown = stored.special.get("unk", _index(stored.tokens, "[UNK]", "▁[UNK]"))
    source = {**dict(stored.metadata), TYPES: stored.types, ID_KEYS["unk"]: unknown}
    try:
        tokenizer = rebuild(source)
    except CannotRebuildError as error:
        notes.append(f"there is no tokenizer.json: {error}")
        return None
    pieces = {i: text for text, i in tokenizer["model"]["vocab"].items()}
    texts = [pieces.get(i, "") for i in range(len(stored.tokens))]
    vocab = {text: i for i, text in enumerate(texts) if text and not stored.is_padding(i)}
    tokenizer["model"].update(vocab=vocab, unk_token=texts[unknown or 0])
    # null, where the file does not say, means as lowercase does
    flag = stored.metadata.get("tokenizer.ggml.normalizer.strip_accents")
    tokenizer["normalizer"]["strip_accents"] = flag
    tokenizer["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    tokenizer["added_tokens"] = _added(stored, texts, tokenizer["decoder"])
    tokenizer["post_processor"] = _post_processor(stored)
    return tokenizer


def _index(tokens: list[str], *texts: str) -> int | None:
    """Return the id of the first of some texts that is a token."""
    return next((tokens.index(text) for text in texts if text in tokens), None)


def _rebuilt(stored: StoredVocabulary, kind: str, notes: list[str]) -> dict[str, Any] | None:
    """Return the tokenizer.json of a SentencePiece model, if the scores tell enough."""
    if not stored.scores:
        return None
    if sum(len(text) ** 2 for text in stored.tokens) > MAX_CUTS:
        notes.append("there is no tokenizer.json: its tokens are too long to list their halves")
        return None
    try:
        tokenizer = rebuild({**dict(stored.metadata), TYPES: stored.types})
    except (CannotRebuildError, KeyError) as error:
        notes.append(f"there is no tokenizer.json: {error}")
        return None
    added = _added(stored, stored.tokens, None)
    if kind == "phi3":  # its conversion takes all of these for added ones
        added = [a for a in added if stored.scores[a["id"]] == ADDED_SCORE]
    tokenizer["added_tokens"] = added
    tokenizer["decoder"] = _SPM_DECODER
    tokenizer["post_processor"] = _post_processor(stored)
    return tokenizer


def _added(
    stored: StoredVocabulary, texts: list[str], decoder: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return tokenizer.json's added tokens."""
    return [
        {
            "id": token_id,
            "content": text,
            **_FLAGS,
            # a conversion decodes those that are not
            "normalized": decode_with(decoder, text) != text,
            "special": kind != TokenType.USER_DEFINED,
        }
        for token_id, (text, kind) in enumerate(zip(texts, stored.types, strict=True))
        if kind in ADDED and text
    ]


def _post_processor(stored: StoredVocabulary) -> dict[str, Any] | None:
    """Return what puts special tokens around a text."""
    bos, eos = (stored.special.get(n) if stored.adds(n) else None for n in ("bos", "eos"))
    texts = {i: stored.tokens[i] for i in (bos, eos) if i is not None}
    # with RobertaProcessing some cuts have another name
    like_roberta = stored.metadata.get(PRE) in WITH_ROBERTA_PROCESSING.values()
    if like_roberta and bos is not None and eos is not None and stored.adds("sep"):
        return {
            "type": "RobertaProcessing",
            "sep": [texts[eos], eos],
            "cls": [texts[bos], bos],
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    if not texts:
        return None
    first, last, end = (
        [] if i is None else [{"SpecialToken": {"id": texts[i], "type_id": part}}]
        for i, part in ((bos, 0), (eos, 0), (eos, 1))
    )
    # what stands between two texts says whether a separator is added
    between = {None: [], False: last, True: [*last, *last]}[stored.adds("sep")]
    one, two = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [*first, one, *last],
        "pair": [*first, one, *between, two, *end],
        "special_tokens": {
            text: {"id": text, "ids": [i], "tokens": [text]} for i, text in texts.items()
        },
    }


def _add_sentencepiece(
    result: Restored, stored: StoredVocabulary, kind: str, config: dict[str, Any]
) -> None:
    """Add the SentencePiece model, and the tokens that were added to it."""
    if not stored.scores:
        result.notes.append("the file has no scores: there is no SentencePiece model")
        return
    unigram = stored.model == "t5"
    model = SentencePieceModel(
        list(stored.tokens),
        list(stored.scores),
        list(stored.types),
        ModelType.UNIGRAM if unigram else ModelType.BPE,
        stored.charsmap,
        stored.metadata.get(SPACE_PREFIX) is not False,
        bool(stored.metadata.get("tokenizer.ggml.remove_extra_whitespaces", False)),
    )
    name = MODEL_NAMES.get(kind, "tokenizer.model")
    if name == XLM_MODEL:
        # it starts with other special tokens, one fewer
        model.pieces[:4] = ["<unk>", "<s>", "</s>"]
        model.scores[:4] = [0.0] * 3
        model.types[:4] = [int(TokenType.UNKNOWN), *[int(TokenType.CONTROL)] * 2]
    _drop_padding(model)
    result.files[name] = encode_model(model)
    if not unigram:
        _add_defined(result, stored, config)


def _drop_padding(model: SentencePieceModel) -> None:
    """Take off the tokens at the end that stand for rows that no token has."""
    columns = (model.pieces, model.scores, model.types)
    while model.types[1:] and model.types[-1] == TokenType.UNUSED:
        if model.pieces[-1] != f"[PAD{len(model.pieces) - 1}]":
            return
        for column in columns:
            column.pop()


def _add_defined(result: Restored, stored: StoredVocabulary, config: dict[str, Any]) -> None:
    """Add the user-defined tokens: as pieces of the model they would be ordinary ones."""
    older: dict[str, int] = {}
    for token_id, text in enumerate(stored.tokens):
        if stored.types[token_id] != TokenType.USER_DEFINED:
            continue
        if looks_special(text):  # there it would be special
            older[text] = token_id
            continue
        entry = {"content": text, **_FLAGS, "normalized": False, "special": False}
        config.setdefault("added_tokens_decoder", {})[str(token_id)] = entry
    if older:
        result.add("added_tokens.json", older)
