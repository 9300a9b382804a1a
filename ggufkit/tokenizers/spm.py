"""SentencePiece vocabularies of tokenizer.model: byte-pair ("llama") and unigram ("t5")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ggufkit.errors import CheckpointError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.guarded_files import read_bytes
from ggufkit.tokenizers.bpe import checked_size, looks_special, vocabulary_metadata
from ggufkit.tokenizers.files import as_list, get
from ggufkit.tokenizers.huggingface import added_tokens_json, decoder_entries
from ggufkit.tokenizers.sentencepiece import ModelType, SentencePieceModel, TokenType, parse_model
from ggufkit.tokenizers.special import special_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ggufkit.tokenizers.files import TokenizerFiles

MODEL_NAME = "tokenizer.model"
MAX_MODEL_BYTES = 256 << 20

# Padding is never chosen; added tokens are found before scores matter.
PADDING_SCORE = -10000.0
ADDED_SCORE = -1000.0

CONFIG_NAME, JSON_NAME = "tokenizer_config.json", "tokenizer.json"
OLDER_NAME = "added_tokens.json"


@dataclass
class _Tokens:
    """The columns of a vocabulary, padded to its size, and where added tokens come from."""

    texts: list[str]
    scores: list[float]
    types: list[int]
    added: dict[int, tuple[str, str]] = field(default_factory=dict)
    out_of_range: list[str] = field(default_factory=list)
    user_defined: list[int] = field(default_factory=list)

    @classmethod
    def padding(cls, size: int) -> _Tokens:
        texts = [f"[PAD{i}]" for i in range(size)]
        return cls(texts, [PADDING_SCORE] * size, [int(TokenType.UNUSED)] * size)

    def put(self, token_id: int, text: str, score: float, kind: int) -> None:
        """Set a token; like the converter, ignore ids that are out of range."""
        if 0 <= token_id < len(self.texts):
            self.texts[token_id], self.scores[token_id] = text, score
            self.types[token_id] = int(kind)

    def add(
        self, files: TokenizerFiles, name: str, token_id: int, content: str, kind: TokenType
    ) -> None:
        """Set an added token of a file, and hold the file against others."""
        before = self.added.setdefault(token_id, (name, content))
        if before[1] != content:
            raise CheckpointError(
                f"{files.folder}: the token {token_id} is {before[1]!r} in {before[0]}, but "
                f"{content!r} in {name}; which of the two were the embeddings trained with?"
            )
        if token_id >= len(self.texts):
            self.out_of_range.append(content)
        # llama.cpp searches the text itself for user-defined tokens, where spaces are spaces
        is_text = kind == TokenType.USER_DEFINED and name != OLDER_NAME
        self.put(token_id, content.replace("▁", " ") if is_text else content, ADDED_SCORE, kind)

    def is_padding(self, token_id: int) -> bool:
        """Whether nothing was set here."""
        is_unused = self.types[token_id] == TokenType.UNUSED
        return is_unused and self.texts[token_id] == f"[PAD{token_id}]"

    def metadata(self, model: str) -> Metadata:
        return vocabulary_metadata(model, "default", self.texts, self.types, self.scores)


def spm_metadata(
    files: TokenizerFiles, config: Mapping[str, Any], _pre: str | None = None
) -> Metadata:
    """Return the metadata of a SentencePiece tokenizer (``_set_vocab_sentencepiece``).

    Raises
    ------
    UnknownTokenizerError
        There is no tokenizer.model.
    CheckpointError
        A file is malformed.
    """
    tokens = _base_tokens(files, config)
    for token_id, entry in decoder_entries(files) or ():
        tokens.add(files, CONFIG_NAME, token_id, entry["content"], _kind(entry))
    _compare(files, tokens)
    _add_missing(files, tokens)
    return _finish(files, tokens)


def _kind(entry: dict[str, Any]) -> TokenType:
    is_control = entry.get("special") or looks_special(entry["content"])
    return TokenType.CONTROL if is_control else TokenType.USER_DEFINED


def _compare(files: TokenizerFiles, tokens: _Tokens) -> None:
    """Note where tokenizer.json has another vocabulary than tokenizer.model."""
    vocab = get(files.tokenizer_json, "model", "vocab")
    ids = dict(enumerate(tokens.texts))
    others = [
        text
        for text, token_id in (vocab.items() if isinstance(vocab, dict) else ())
        if type(token_id) is int and token_id not in tokens.added and ids.get(token_id) != text
    ]
    text = f"{MODEL_NAME} is converted, in which these tokens of {JSON_NAME} have other ids: {{}}"
    files.note_all(others, text)


def _add_missing(files: TokenizerFiles, tokens: _Tokens) -> None:
    """Add the tokens that only tokenizer.json has, which the converter loses.

    transformers 5 writes added tokens nowhere else.
    """
    found = []
    for token_id, entry in _json_entries(files):
        content = entry["content"]
        known = tokens.added.get(token_id, ("", None))[1]
        if known is None and token_id < len(tokens.texts):
            if tokens.texts[token_id] == content:
                continue
            found.append(content)
        if known != content:
            tokens.add(files, JSON_NAME, token_id, content, _kind(entry))
    text = f"added tokens that only {JSON_NAME} has, and llama.cpp's converter loses: {{}}"
    files.note_all(found, text)


def phi3_metadata(files: TokenizerFiles, config: Mapping[str, Any]) -> Metadata:
    """Return the metadata of Phi-3's SentencePiece tokenizer (``Phi3MiniModel.set_vocab``).

    Added tokens are taken verbatim, also from tokenizer.json.

    Raises
    ------
    UnknownTokenizerError
        There is no tokenizer.model.
    CheckpointError
        A file is malformed.
    """
    tokens = _base_tokens(files, config)
    for name, entries in (
        (CONFIG_NAME, decoder_entries(files) or ()),
        (JSON_NAME, _json_entries(files)),
    ):
        for token_id, entry in entries:
            kind = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
            tokens.add(files, name, token_id, entry["content"], kind)
            tokens.put(token_id, entry["content"], ADDED_SCORE, kind)
    _compare(files, tokens)
    return _finish(files, tokens)


def t5_metadata(
    files: TokenizerFiles, config: Mapping[str, Any], _pre: str | None = None
) -> Metadata:
    """Return the metadata of a unigram SentencePiece tokenizer (``T5Model.set_vocab``).

    A byte-pair model, as of Pile-T5, is read by `spm_metadata`.

    Raises
    ------
    UnknownTokenizerError
        There is neither tokenizer.model nor spiece.model.
    CheckpointError
        A file is malformed.
    """
    name = MODEL_NAME if files.has(MODEL_NAME) else "spiece.model"
    model = _read_model(files, name)
    if model.model_type == ModelType.BPE:
        return spm_metadata(files, config)
    return _unigram(files, model, _base_tokens(files, config, model))


def xlm_roberta_metadata(
    files: TokenizerFiles,
    config: Mapping[str, Any],
    _pre: str | None = None,
    *,
    mask: int | None = None,
) -> Metadata:
    """Return the metadata of XLM-RoBERTa's unigram tokenizer (``_xlmroberta_set_vocab``).

    The ids of transformers are those of the SentencePiece model, shifted by other special tokens.

    Parameters
    ----------
    files : TokenizerFiles
        The checkpoint's.
    config : mapping
        The model's.
    mask : int, optional
        The id of the mask token, if the model lacks it.

    Raises
    ------
    UnknownTokenizerError
        There is no sentencepiece.bpe.model.
    CheckpointError
        A file is malformed.
    """
    model = _read_model(files, "sentencepiece.bpe.model")
    if model.model_type != ModelType.UNIGRAM:
        raise files.malformed("sentencepiece.bpe.model", "not a unigram model")
    given = checked_size(files, config.get("vocab_size") or len(model.pieces))
    size = max(given, len(model.pieces))
    tokens = _Tokens.padding(size)
    _put_pieces(tokens, model)
    # the model starts with <unk> <s> </s>; the last row of the padded list is dropped
    tokens.texts = ["<s>", "<pad>", "</s>", "<unk>", *tokens.texts[3:-1]]
    tokens.scores = [*[0.0] * 4, *tokens.scores[3:-1]]
    control = int(TokenType.CONTROL)
    tokens.types = [*[control] * 3, int(TokenType.UNKNOWN), *tokens.types[3:-1]]
    if mask is not None:
        tokens.put(mask, "<mask>", 0.0, TokenType.CONTROL)
    return _unigram(files, model, tokens, n_types=config.get("type_vocab_size", 1))


def _unigram(
    files: TokenizerFiles, model: SentencePieceModel, tokens: _Tokens, n_types: int | None = None
) -> Metadata:
    written = set(tokens.texts)
    lost = [e["content"] for _, e in _json_entries(files) if e["content"] not in written]
    text = f"added tokens of {JSON_NAME} that are left out, as by llama.cpp's converter: {{}}"
    files.note_all(lost, text)
    metadata = tokens.metadata("t5")
    add_prefix, remove = model.add_dummy_prefix, model.remove_extra_whitespaces
    metadata.set("tokenizer.ggml.add_space_prefix", add_prefix, ValueType.BOOL)
    if n_types is not None:
        metadata.set("tokenizer.ggml.token_type_count", n_types, ValueType.UINT32)
    metadata.set("tokenizer.ggml.remove_extra_whitespaces", remove, ValueType.BOOL)
    if model.precompiled_charsmap:
        charsmap = list(model.precompiled_charsmap)
        metadata.set("tokenizer.ggml.precompiled_charsmap", charsmap, ValueType.UINT8)
    metadata.extend(special_metadata(files, n_vocab=len(tokens.texts)))
    return metadata


def _finish(files: TokenizerFiles, tokens: _Tokens) -> Metadata:
    n_tokens = len(tokens.texts)
    text = f"added tokens with ids that are not below {n_tokens}, which are left out: {{}}"
    files.note_all(tokens.out_of_range, text)
    normal = [
        tokens.texts[i]
        for i in tokens.user_defined
        if i < n_tokens and tokens.types[i] == TokenType.NORMAL
    ]
    text = "user-defined pieces that are written as normal ones, as by llama.cpp's converter: {}"
    files.note_all(normal, text)
    metadata = tokens.metadata("llama")
    metadata.extend(special_metadata(files, n_vocab=len(tokens.texts)))
    return metadata


def _read_model(files: TokenizerFiles, name: str) -> SentencePieceModel:
    if not files.has(name):
        raise UnknownTokenizerError(
            f"{files.folder}: {name} is missing; this architecture's tokenizer is read from it"
        )
    return parse_model(read_bytes(files.folder, name, MAX_MODEL_BYTES), str(files.folder / name))


def _base_tokens(
    files: TokenizerFiles, config: Mapping[str, Any], model: SentencePieceModel | None = None
) -> _Tokens:
    """Return the model's pieces and the tokens of added_tokens.json, padded to ``vocab_size``."""
    model = model or _read_model(files, MODEL_NAME)
    size = config.get("vocab_size_per_layer_input", config.get("vocab_size")) or len(model.pieces)
    tokens = _Tokens.padding(checked_size(files, size))
    _put_pieces(tokens, model)
    if len(model.pieces) > len(tokens.texts):
        n = len(model.pieces) - len(tokens.texts)
        files.note(
            f"the last {n} of {len(model.pieces)} pieces are left out: config.json says "
            f"vocab_size {len(tokens.texts)}"
        )
    for text, token_id in added_tokens_json(files).items():
        tokens.add(files, OLDER_NAME, token_id, text, TokenType.USER_DEFINED)
    return tokens


def _put_pieces(tokens: _Tokens, model: SentencePieceModel) -> None:
    for token_id, text in enumerate(model.pieces):
        # The converter treats user-defined pieces of the model as normal tokens.
        kind = model.types[token_id]
        if kind == TokenType.USER_DEFINED:
            tokens.user_defined.append(token_id)
            kind = TokenType.NORMAL
        tokens.put(token_id, text, model.scores[token_id], kind)


def _json_entries(files: TokenizerFiles) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield id and description of each entry of tokenizer.json's added_tokens."""
    for entry in as_list((files.tokenizer_json or {}).get("added_tokens")):
        token_id, text = get(entry, "id"), get(entry, "content")
        if type(token_id) is not int or token_id < 0 or not isinstance(text, str):
            raise files.malformed(JSON_NAME, "an added token has no 'id' or no 'content'")
        yield token_id, entry
