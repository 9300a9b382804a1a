"""Tokenizer files of a checkpoint from the metadata of a GGUF file, the inverse of a conversion.

Byte-level BPE and WordPiece become a tokenizer.json, SentencePiece a tokenizer.model and, if the
scores suffice, a tokenizer.json, too. Special tokens, the flags that add them and chat templates go
to tokenizer_config.json. The caller has to check that a conversion would write the same metadata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.bpe import GEMMA4_VISIBLE, looks_special
from ggufkit.tokenizers.pre import NOTE
from ggufkit.tokenizers.pre_table import WITH_ROBERTA_PROCESSING, steps_of
from ggufkit.tokenizers.rebuild import ADDED, CannotRebuildError, rebuild
from ggufkit.tokenizers.sentencepiece import ModelType, SentencePieceModel, TokenType, encode_model
from ggufkit.tokenizers.special import ID_KEYS
from ggufkit.tokenizers.spm import ADDED_SCORE
from ggufkit.tokenizers.stored import MERGES, PRE, SPACE_PREFIX, TYPES, StoredVocabulary

# Used if llama.cpp's splitting rules are unknown.
FALLBACK_PRE = "gpt-2"

# Names of the SentencePiece file, if not tokenizer.model, by kind.
MODEL_NAMES = {
    "t5": "spiece.model",
    **dict.fromkeys(("xlm_roberta", "nomic_moe"), "sentencepiece.bpe.model"),
}
XLM_MODEL = "sentencepiece.bpe.model"

# Characters in all halves of all tokens; real vocabularies have a tenth of this.
MAX_SPLITS = 200_000_000

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
        The files by name.
    notes : list of str
        What is lost.
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
    """Return tokenizer files from which a conversion makes `metadata`, as far as possible.

    Parameters
    ----------
    metadata : Metadata
        The metadata of a GGUF file.
    kind : str
        The architecture's tokenizer kind, see `ggufkit.tokenizers.kinds`.
    context : int, optional
        The model's context length.
    note_pre : bool
        Whether to store the pre-tokenizer's name in tokenizer_config.json, because it does not
        follow from tokenizer.json.

    Raises
    ------
    UnknownTokenizerError
        The metadata is malformed.
    """
    result = Restored()
    stored = StoredVocabulary(metadata)
    if not stored.tokens:
        result.notes.append("no tokenizer files: the GGUF file has no vocabulary")
        return result
    config = stored.config(context)
    if note_pre:
        config[NOTE] = metadata.get(PRE)
    if kind == "phi3" and stored.model == "gpt2":
        config["tokenizer_class"] = "GPT2Tokenizer"  # a conversion recognises it by this
    try:
        if stored.model == "gpt2":
            result.add("tokenizer.json", _bpe(stored, result.notes))
        elif stored.model == "gemma4":
            result.add("tokenizer.json", _gemma4(stored, config))
        elif stored.model == "bert":
            result.add("tokenizer.json", _wordpiece(stored))
        elif stored.model in ("llama", "t5"):
            _add_sentencepiece(result, stored, kind, config)
            if stored.scores:
                result.add("tokenizer.json", _rebuilt(stored, kind))
        else:
            result.notes.append(f"tokenizers of the model {stored.model[:40]!r} can't be restored")
            return result
    except (CannotRebuildError, KeyError) as error:
        result.notes.append(f"no tokenizer.json: {error}")
    result.add("tokenizer_config.json", config)
    return result


def _bpe(stored: StoredVocabulary, notes: list[str]) -> dict[str, Any]:
    """Return the tokenizer.json of byte-level BPE."""
    name = stored.metadata.get(PRE, "default")
    if steps_of(str(name)) is None:
        notes.append(
            f"llama.cpp's splitting rules for the pre-tokenizer {str(name)[:40]!r} are unknown: "
            "tokenizer.json splits as GPT-2 does"
        )
        name = FALLBACK_PRE
    merges = stored.metadata.get(MERGES)
    given = merges if isinstance(merges, list) else []
    known = set(stored.tokens)
    pairs = [merge for merge in given if _is_known(merge, known)]
    if len(pairs) != len(given):
        notes.append(f"{len(given) - len(pairs)} merges left out: they join or give no tokens")
    tokenizer = rebuild({**dict(stored.metadata), PRE: name, MERGES: pairs, TYPES: stored.types})
    vocab = {text: i for i, text in enumerate(stored.tokens) if not stored.is_padding(i)}
    tokenizer["model"]["vocab"] = vocab
    tokenizer["decoder"] = _BYTE_DECODER
    tokenizer["added_tokens"] = _added(stored, stored.tokens)
    tokenizer["post_processor"] = _post_processor(stored)
    if stored.metadata.get("tokenizer.ggml.normalizer.lowercase") is True:
        tokenizer["normalizer"] = {"type": "Lowercase"}
    return tokenizer


def _gemma4(stored: StoredVocabulary, config: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer.json of Gemma 4, and add the tokens without a name to the config."""
    tokenizer = rebuild({**dict(stored.metadata), TYPES: stored.types})
    added = _added(stored, stored.tokens)
    plain = (a["id"] for a in added if not (a["special"] or a["content"] in GEMMA4_VISIBLE))
    n_model = min(plain, default=len(stored.tokens))
    tokenizer["model"]["vocab"] = {text: i for i, text in enumerate(stored.tokens[:n_model])}
    tokenizer["added_tokens"] = added
    tokenizer["decoder"] = {**_SPM_DECODER, "decoders": _SPM_DECODER["decoders"][:-1]}
    tokenizer["post_processor"] = _post_processor(stored)
    named = set(config.values())
    config["extra_special_tokens"] = [
        a["content"] for a in added if a["special"] and a["content"] not in named
    ]
    return tokenizer


def _is_known(merge: Any, tokens: set[str]) -> bool:
    left, _, right = str(merge).partition(" ")
    return left in tokens and right in tokens and left + right in tokens


def _wordpiece(stored: StoredVocabulary) -> dict[str, Any]:
    unknown = stored.special.get("unk", _index(stored.tokens, "[UNK]", "▁[UNK]"))
    tokenizer = rebuild({**dict(stored.metadata), TYPES: stored.types, ID_KEYS["unk"]: unknown})
    pieces = {i: text for text, i in tokenizer["model"]["vocab"].items()}
    texts = [pieces.get(i, "") for i in range(len(stored.tokens))]
    vocab = {text: i for i, text in enumerate(texts) if text and not stored.is_padding(i)}
    tokenizer["model"].update(vocab=vocab, unk_token=texts[unknown or 0])
    # null, if the file does not say, means the same as `lowercase`
    flag = stored.metadata.get("tokenizer.ggml.normalizer.strip_accents")
    tokenizer["normalizer"]["strip_accents"] = flag
    tokenizer["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    tokenizer["added_tokens"] = _added(stored, texts)
    tokenizer["post_processor"] = _post_processor(stored)
    return tokenizer


def _index(tokens: list[str], *texts: str) -> int | None:
    """Return the id of the first of these texts that is a token."""
    return next((tokens.index(text) for text in texts if text in tokens), None)


def _rebuilt(stored: StoredVocabulary, kind: str) -> dict[str, Any]:
    """Return the tokenizer.json of a SentencePiece model."""
    if sum(len(text) ** 2 for text in stored.tokens) > MAX_SPLITS:
        raise CannotRebuildError("the tokens are too long to list all their halves")
    tokenizer = rebuild({**dict(stored.metadata), TYPES: stored.types})
    added = _added(stored, stored.tokens)
    if kind == "phi3":  # its conversion overwrites every token in this list as an added one
        added = [a for a in added if stored.scores[a["id"]] == ADDED_SCORE]
    tokenizer["added_tokens"] = added
    tokenizer["decoder"] = _SPM_DECODER
    tokenizer["post_processor"] = _post_processor(stored)
    return tokenizer


def _added(stored: StoredVocabulary, texts: list[str]) -> list[dict[str, Any]]:
    """Return tokenizer.json's added tokens."""
    return [
        {
            "id": token_id,
            "content": text,
            **_FLAGS,
            "normalized": False,
            "special": kind != TokenType.USER_DEFINED,
        }
        for token_id, (text, kind) in enumerate(zip(texts, stored.types, strict=True))
        if kind in ADDED and text
    ]


def _post_processor(stored: StoredVocabulary) -> dict[str, Any] | None:
    """Return the post-processor, which adds special tokens to a text."""
    bos, eos = (stored.special.get(n) if stored.adds(n) else None for n in ("bos", "eos"))
    texts = {i: stored.tokens[i] for i in (bos, eos) if i is not None}
    # with RobertaProcessing the same splitting rules have another name
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
    # a conversion reads from the tokens between two texts whether a separator is added
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
    """Add the SentencePiece model, and the added tokens."""
    if not stored.scores:
        result.notes.append("no SentencePiece model: the GGUF file has no scores")
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
        # the model starts with three special tokens, the GGUF vocabulary with four
        model.pieces[:4] = ["<unk>", "<s>", "</s>"]
        model.scores[:4] = [0.0] * 3
        model.types[:4] = [int(TokenType.UNKNOWN), *[int(TokenType.CONTROL)] * 2]
    _drop_padding(model)
    result.files[name] = encode_model(model)
    if not unigram:
        _add_defined(result, stored, config)


def _drop_padding(model: SentencePieceModel) -> None:
    """Remove the placeholders for unused rows from the end."""
    columns = (model.pieces, model.scores, model.types)
    while model.types[1:] and model.types[-1] == TokenType.UNUSED:
        if model.pieces[-1] != f"[PAD{len(model.pieces) - 1}]":
            return
        for column in columns:
            column.pop()


def _add_defined(result: Restored, stored: StoredVocabulary, config: dict[str, Any]) -> None:
    """Add the user-defined tokens; as pieces of the model they would be converted as normal."""
    older: dict[str, int] = {}
    for token_id, text in enumerate(stored.tokens):
        if stored.types[token_id] != TokenType.USER_DEFINED:
            continue
        if looks_special(text):  # in added_tokens_decoder it would become a control token
            older[text] = token_id
            continue
        entry = {"content": text, **_FLAGS, "normalized": False, "special": False}
        config.setdefault("added_tokens_decoder", {})[str(token_id)] = entry
    if older:
        result.add("added_tokens.json", older)
