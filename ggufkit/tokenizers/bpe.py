"""Byte-pair vocabularies of tokenizer.json: byte-level ("gpt2") and with byte fallback ("llama").

llama.cpp names both kinds after the first model that had them. A byte-level vocabulary spells every
byte as a printable character, and llama.cpp needs the pre-tokenizer's name because its splitting
rules are compiled in. A vocabulary with byte fallback (``<0x0A>``) works like SentencePiece.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ggufkit.errors import CheckpointError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.files import get, shorten
from ggufkit.tokenizers.huggingface import Vocabulary, read_vocabulary
from ggufkit.tokenizers.pre import find_pre
from ggufkit.tokenizers.sentencepiece import TokenType
from ggufkit.tokenizers.special import merge_pairs, special_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ggufkit.tokenizers.files import TokenizerFiles

BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
SCORE = -1000.0

# Gemma 4's special tokens that llama.cpp shows, so that its chat parser reads them.
GEMMA4_VISIBLE = frozenset(
    f"<{text}>"
    for kind in ("channel", "tool_call", "tool_response")
    for text in (f"|{kind}", f"{kind}|")
) | {'<|"|>'}

MAX_VOCAB_SIZE = 4_000_000


def bpe_metadata(
    files: TokenizerFiles,
    config: Mapping[str, Any],
    pre: str | None,
    special: Mapping[str, str] | None = None,
) -> Metadata:
    """Return the metadata of a byte-level BPE tokenizer (``_set_vocab_gpt2``).

    Parameters
    ----------
    files, config, pre
        See `ggufkit.tokenizers.kinds.tokenizer_metadata`.
    special : mapping of str to str, optional
        Texts of special tokens to use if the files do not name them.

    Raises
    ------
    UnknownTokenizerError
        There is no tokenizer.json, its pre-tokenizer is unknown and `pre` is None, or a token of
        `special` is missing.
    CheckpointError
        A file is malformed or contradicts the config.
    """
    _check_model(files)
    texts, types = base_tokens(files, config)
    metadata = vocabulary_metadata("gpt2", pre or find_pre(files), texts, types)
    ids = _ids(files, texts, special or {})
    metadata.extend(special_metadata(files, n_vocab=len(texts), merges=True, ids=ids))
    return metadata


def _check_model(files: TokenizerFiles) -> None:
    """Refuse a model of another kind, and note merges that belong to another vocabulary."""
    model = get(files.tokenizer_json_or_legacy, "model")
    if get(model, "type") not in (None, "BPE"):
        raise UnknownTokenizerError(
            f"{files.folder}: the model in tokenizer.json is {str(model['type'])[:40]!r}, but this "
            "architecture's tokenizer is byte-level BPE"
        )
    vocab = get(model, "vocab")
    if not isinstance(vocab, dict) or get(model, "continuing_subword_prefix"):
        return
    pairs = merge_pairs(files)
    apart = [f"{a} {b}" for a, b in pairs if not {a, b, a + b} <= vocab.keys()]
    if apart:
        files.note(
            f"{len(apart)} of {len(pairs)} merges, such as {apart[0][:80]!r}, join or make what is "
            "no token: vocabulary and merges do not belong together, and transformers can't load "
            "this tokenizer"
        )


def vocabulary_metadata(
    model: str,
    pre: str | None,
    texts: list[str],
    types: list[int],
    scores: list[float] | None = None,
) -> Metadata:
    """Return the keys of a vocabulary's kind and columns, in the converter's order."""
    metadata = Metadata()
    metadata.set("tokenizer.ggml.model", model, ValueType.STRING)
    if pre is not None:
        metadata.set("tokenizer.ggml.pre", pre, ValueType.STRING)
    metadata.set("tokenizer.ggml.tokens", texts, ValueType.STRING)
    if scores is not None:
        metadata.set("tokenizer.ggml.scores", scores, ValueType.FLOAT32)
    metadata.set("tokenizer.ggml.token_type", types, ValueType.INT32)
    return metadata


def checked_size(files: TokenizerFiles, size: Any, key: str = "vocab_size") -> int:
    """Return a vocabulary's size, or another number of tokens in config.json.

    Raises
    ------
    CheckpointError
        It is not a plausible number.
    """
    if type(size) is not int or not 0 < size <= MAX_VOCAB_SIZE:
        raise files.malformed(
            "config.json", f"{key} is {shorten(size)}, expected 1..{MAX_VOCAB_SIZE}"
        )
    return size


def _ids(files: TokenizerFiles, texts: Sequence[str], special: Mapping[str, str]) -> dict[str, int]:
    """Return the ids of special tokens by name, given their texts."""
    missing = set(special.values()) - set(texts)
    if missing:
        raise UnknownTokenizerError(
            f"{files.folder}: tokenizer.json lacks the special token {min(missing)}, which this "
            "architecture needs"
        )
    return {name: texts.index(text) for name, text in special.items()}


def base_tokens(files: TokenizerFiles, config: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Return each token's text and type, for byte-level BPE and WordPiece (``get_vocab_base``).

    Ids without a token, below the config's ``vocab_size``, become unused ``[PADi]`` tokens.

    Raises
    ------
    CheckpointError
        A token id is not below the config's ``vocab_size``.
    """
    vocabulary = read_vocabulary(files)
    n_vocab = checked_size(files, config.get("vocab_size", len(vocabulary.texts)))
    last = max(vocabulary.texts, default=-1)
    if last >= n_vocab:
        raise CheckpointError(
            f"{files.folder}: the token {vocabulary.texts[last]!r} has id {last}, but config.json "
            f"says vocab_size {n_vocab}; do tokenizer and weights belong together?"
        )
    # llama.cpp searches a text as it is for added tokens, so these keep theirs
    spells_spaces = bool(get(files.tokenizer_json_or_legacy, "model", "byte_fallback"))
    rows = [_base_token(vocabulary, i, spells_spaces=spells_spaces) for i in range(n_vocab)]
    flagged = [t.text for t in vocabulary.added.values() if t.flagged and not t.special]
    text = "llama.cpp has no flags for spaces and word ends around tokens, which these have: {}"
    files.note_all(flagged, text)
    return [text for text, _ in rows], [int(kind) for _, kind in rows]


def _base_token(
    vocabulary: Vocabulary, token_id: int, *, spells_spaces: bool
) -> tuple[str, TokenType]:
    text = vocabulary.texts.get(token_id)
    if text is None:
        return f"[PAD{token_id}]", TokenType.UNUSED
    added = vocabulary.added.get(token_id)
    if added is None:
        return text, TokenType.NORMAL
    if added.special or looks_special(text):
        return text, TokenType.CONTROL
    return text.replace("▁", " ") if spells_spaces else text, TokenType.USER_DEFINED


def looks_special(text: str) -> bool:
    """Whether a token that is not marked as special is treated as a control token anyway.

    The texts are those of the converter's ``does_token_look_special``, from models that lack the
    mark.
    """
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def has_byte_fallback(files: TokenizerFiles) -> bool:
    """Whether tokenizer.json holds a BPE model with byte fallback, as ``LlamaHfVocab`` checks."""
    model, decoder = (get(files.tokenizer_json, part) for part in ("model", "decoder"))
    is_bpe = get(model, "type") == "BPE" and get(decoder, "type") == "Sequence"
    return is_bpe and bool(get(model, "byte_fallback"))


def byte_fallback_metadata(
    files: TokenizerFiles, _config: Mapping[str, Any] | None = None, _pre: str | None = None
) -> Metadata:
    """Return the metadata of a BPE tokenizer with byte fallback (``_set_vocab_llama_hf``).

    Raises
    ------
    CheckpointError
        A file is malformed.
    """
    texts, types = fallback_tokens(files)
    metadata = vocabulary_metadata("llama", "default", texts, types, [SCORE] * len(texts))
    metadata.extend(special_metadata(files, n_vocab=len(texts)))
    return metadata


def gemma4_metadata(
    files: TokenizerFiles, _config: Mapping[str, Any] | None = None, _pre: str | None = None
) -> Metadata:
    """Return the metadata of Gemma 4's BPE tokenizer with byte fallback.

    Raises
    ------
    UnknownTokenizerError
        There is no tokenizer.json of this kind.
    CheckpointError
        A file is malformed.
    """
    if not has_byte_fallback(files):
        raise UnknownTokenizerError(
            f"{files.folder}: there is no tokenizer.json with a BPE model that falls back to bytes"
        )
    texts, types = fallback_tokens(files)
    types = [
        int(TokenType.USER_DEFINED) if text in GEMMA4_VISIBLE else kind
        for text, kind in zip(texts, types, strict=True)
    ]
    metadata = vocabulary_metadata("gemma4", None, texts, types, [SCORE] * len(texts))
    metadata.extend(special_metadata(files, merges=True))
    return metadata


def fallback_tokens(files: TokenizerFiles) -> tuple[list[str], list[int]]:
    """Return each token's text and type, of a BPE tokenizer with byte fallback (``LlamaHfVocab``).

    Raises
    ------
    CheckpointError
        A file is malformed.
    """
    vocabulary = read_vocabulary(files)
    texts, types = [], []
    n_added = sum(token_id >= vocabulary.n_model for token_id in vocabulary.added)
    for token_id in range(vocabulary.n_model + n_added):
        text = vocabulary.texts.get(token_id)
        if text is None:
            raise CheckpointError(
                f"{files.folder}: tokenizer.json has no token with id {token_id}, but larger ids"
            )
        texts.append(text)
        types.append(int(_fallback_type(vocabulary, token_id, text)))
    return texts, types


def _fallback_type(vocabulary: Vocabulary, token_id: int, text: str) -> TokenType:
    is_added = token_id >= vocabulary.n_model
    if not is_added and BYTE_TOKEN.fullmatch(text):
        return TokenType.BYTE
    if text in vocabulary.special:
        return TokenType.CONTROL
    return TokenType.USER_DEFINED if is_added else TokenType.NORMAL
