"""Tokenizer kinds: how each model class of llama.cpp reads the tokenizer of a checkpoint.

An architecture names one of these kinds:

===========  =======================================================================================
llama        tokenizer.model, or tokenizer.json with byte fallback, or a byte-level one; before
             these tekken.json, if there is no tokenizer.json
qwen         tokenizer.model, or as gpt2
spm          tokenizer.model
gpt2         byte-level tokenizer.json, or a *.tiktoken file
tiktoken     a *.tiktoken file
gemma        as gemma2, with the fill-in-the-middle tokens of Gemma 1
gemma2       tokenizer.model, without a space before the text
gemma3       as gemma2, or byte-level tokenizer.json
gemma3n      as gemma3, with the image and audio tokens
gemma4       tokenizer.json with byte fallback, its tokens for tool calls shown as text
phi3         tokenizer.model with the added tokens of all files; as gpt2 for GPT2Tokenizer
glm4         byte-level tokenizer.json, with GLM-4's special tokens
glm4_moe     byte-level tokenizer.json, with the special tokens of GLM-4.5 and later
solar_open   byte-level tokenizer.json, with Solar Open's special tokens
modernbert   byte-level tokenizer.json, all special tokens are added to a text
eurobert     as gpt2, no first token is added to a text unless tokenizer_config.json asks for it
ernie        tokenizer.model, with a space before the text if tokenizer_config.json asks for it
granite4     as mamba, whatever padding the config asks for
hunyuan      byte-level tokenizer.json; the config's eod_token_id ends a text
laguna       byte-level tokenizer.json; the first of eos_token_id that is not bos ends a turn
muse_glimmer byte-level tokenizer.json; the token <|eot|> ends a turn
llada        as gpt2, a first token is added to a text
mamba        as qwen, padded to a multiple of 8 tokens
mamba2       as qwen, padded to a multiple of 16 tokens
nemotron     tokenizer.model, with Nemotron's padding and unknown tokens
bert         WordPiece tokenizer.json
roberta      byte-level tokenizer.json, with the number of token types
xlm_roberta  unigram sentencepiece.bpe.model, preceded by other special tokens
nomic_moe    as xlm_roberta, with a mask token
jamba        tokenizer.model, or tokenizer.json with byte fallback, without a space before the text
jina         as bert, or as roberta if tokenizer_config.json says RobertaTokenizer
t5           unigram tokenizer.model or spiece.model
any          by the files: tokenizer.model, spiece.model, tekken.json, *.tiktoken, or the model in
             tokenizer.json
===========  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.bpe import (
    bpe_metadata,
    byte_fallback_metadata,
    checked_size,
    gemma4_metadata,
    has_byte_fallback,
)
from ggufkit.tokenizers.files import TokenizerFiles, get
from ggufkit.tokenizers.pre import check_pre
from ggufkit.tokenizers.ranks import TEKKEN_NAME, find_tiktoken, tekken_metadata, tiktoken_metadata
from ggufkit.tokenizers.sentencepiece import TokenType
from ggufkit.tokenizers.settle import settle
from ggufkit.tokenizers.special import ADD_KEYS, ID_KEYS, MAX_ID, special_metadata
from ggufkit.tokenizers.spm import (
    MODEL_NAME,
    phi3_metadata,
    spm_metadata,
    t5_metadata,
    xlm_roberta_metadata,
)
from ggufkit.tokenizers.wpm import wpm_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from pathlib import Path


#: Takes the files, the config and the name of a pre-tokenizer; SentencePiece ignores the last.
Reader = Callable[[TokenizerFiles, Mapping[str, Any], str | None], Metadata]

ADD_SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"
ADD_BOS = ADD_KEYS["bos"]

_PADDING = "pad_vocab_size_multiple"

# CodeLlama is recognised by its vocabulary size.
CODE_LLAMA_VOCAB_SIZE = 32016
CODE_LLAMA_TOKENS = {"prefix": 32007, "suffix": 32008, "middle": 32009, "eot": 32010}

# Granite's small models have no bos; llama.cpp recognises them by their vocabulary size, too.
GRANITE_VOCAB_SIZE = 49152

# CodeGemma's; llama.cpp writes them for every Gemma 1.
GEMMA_TOKENS = {"prefix": 67, "suffix": 69, "middle": 68, "fsep": 70, "eot": 107}

# The sentencepiece.bpe.model of Nomic BERT with experts lacks the mask token.
NOMIC_MASK = 250001

# GLM-4's and Solar Open's, unless their files name them; in the order of llama.cpp's files.
GLM4_TOKENS = {
    "eos": "<|endoftext|>",
    "eot": "<|user|>",
    "unk": "<|endoftext|>",
    "bos": "<|endoftext|>",
}
GLM4_MOE_TOKENS = {
    "bos": "[gMASK]",
    "eot": "<|user|>",
    "unk": "<|endoftext|>",
    "eom": "<|observation|>",
}

LAGUNA_END = "</assistant>"
MUSE_GLIMMER_EOT = "<|eot|>"

SOLAR_OPEN_TOKENS = {
    "eos": "<|endoftext|>",
    "eot": "<|endoftext|>",
    "unk": "<unk>",
    "bos": "<|startoftext|>",
}


def tokenizer_metadata(
    folder: Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    pre: str | None = None,
    architecture: str = "",
    notes: list[str] | None = None,
) -> Metadata:
    """Return the ``tokenizer.*`` metadata of a checkpoint, in llama.cpp's order.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    kind : str
        The architecture's tokenizer kind, one of `KINDS`.
    config : mapping
        The model's config, completed by the architecture.
    pre : str, optional
        The name of the pre-tokenizer (``tokenizer.ggml.pre``), instead of the detected one. Only
        byte-level BPE and WordPiece use it.
    architecture : str, optional
        ``general.architecture``. Among pre-tokenizers with the same splitting rules, the one that
        its published models carry is preferred.
    notes : list of str, optional
        Gets what a reader of the summary should know: contradictions, and what is left out.

    Raises
    ------
    UnknownTokenizerError
        The files that the kind needs are missing, the pre-tokenizer is unknown, or llama.cpp has
        no pre-tokenizer called `pre`.
    CheckpointError
        A file is malformed or contradicts the config.
    """
    if pre is not None:
        check_pre(pre)
    if kind not in KINDS:
        raise UnknownTokenizerError(
            f"{folder}: no tokenizer kind {kind!r}; known are {', '.join(KINDS)}: this model's "
            "tokenizer can't be converted yet"
        )
    files = TokenizerFiles(folder, architecture)
    metadata = KINDS[kind].read(files, config, pre)
    settle(files, metadata)
    if notes is not None:
        notes += files.notes
    return metadata


@dataclass(frozen=True)
class Kind:
    """One way to read a tokenizer.

    Attributes
    ----------
    reader : Reader
        Reads the files.
    fallback : Kind, optional
        The kind to use without a tokenizer.model.
    sets_first, sets : mapping of str to bool or int
        Keys that are set before and after those of `reader`.
    ignores : tuple of str
        Keys of the config that are not used.
    pad_to : int
        The vocabulary size is rounded up to a multiple of this, as the rows of the embeddings are,
        unless the config's ``pad_vocab_size_multiple`` is another.
    """

    reader: Reader
    fallback: Kind | None = None
    sets_first: Mapping[str, bool | int] = field(default_factory=dict)
    sets: Mapping[str, bool | int] = field(default_factory=dict)
    ignores: tuple[str, ...] = ()
    pad_to: int = 1

    def read(self, files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
        """Return the ``tokenizer.*`` metadata."""
        config = self._seen(files, config)
        if self.fallback is not None and not files.has(MODEL_NAME):
            return self.fallback.read(files, config, pre)
        metadata = Metadata(self.sets_first)
        metadata.extend(self.reader(files, config, pre))
        metadata.update(self.sets)
        return metadata

    def _seen(self, files: TokenizerFiles, config: Mapping[str, Any]) -> Mapping[str, Any]:
        used = {key: value for key, value in config.items() if key not in self.ignores}
        size = used.get("vocab_size")
        if self.pad_to > 1 and size is not None:
            multiple = used.get(_PADDING)
            multiple = self.pad_to if multiple is None else checked_size(files, multiple, _PADDING)
            used["vocab_size"] = -(-checked_size(files, size) // multiple) * multiple
        return used


def _llama(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.has(TEKKEN_NAME) and files.tokenizer_json is None:
        return tekken_metadata(files, config)
    metadata = _space_prefix(files)
    if files.has(MODEL_NAME):
        metadata.extend(spm_metadata(files, config))
    elif has_byte_fallback(files):
        metadata.extend(byte_fallback_metadata(files))
    else:
        metadata.extend(bpe_metadata(files, config, pre))
    vocab_size = config.get("vocab_size", 32000)
    if vocab_size == CODE_LLAMA_VOCAB_SIZE:
        types = tuple(CODE_LLAMA_TOKENS)
        metadata.extend(special_metadata(files, types=types, ids=CODE_LLAMA_TOKENS))
    if vocab_size == GRANITE_VOCAB_SIZE:
        metadata[ADD_BOS] = False
    return metadata


def _space_prefix(files: TokenizerFiles) -> Metadata:
    prefix = (files.config or {}).get("add_prefix_space")
    return Metadata({ADD_SPACE_PREFIX: prefix} if isinstance(prefix, bool) else {})


def _gpt2(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.tokenizer_json is None and find_tiktoken(files):
        return tiktoken_metadata(files, config, pre)
    return bpe_metadata(files, config, pre)


def _gemma(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    types = tuple(GEMMA_TOKENS)
    metadata.extend(special_metadata(files, types=types, ids=GEMMA_TOKENS, template=False))
    return metadata


def _phi3(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if (files.config or {}).get("tokenizer_class") == "GPT2Tokenizer":
        return bpe_metadata(files, config, pre)
    return phi3_metadata(files, config)


def _ernie(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    metadata.extend(_space_prefix(files))
    return metadata


def _hunyuan(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    eod = config.get("eod_token_id", 3)
    if type(eod) is int and 0 <= eod < MAX_ID:
        metadata["tokenizer.ggml.eos_token_id"] = eod
    return metadata


def _laguna(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    texts: Any = metadata["tokenizer.ggml.tokens"]
    types: Any = metadata["tokenizer.ggml.token_type"]
    control = int(TokenType.CONTROL)
    types = [control if t == LAGUNA_END else k for t, k in zip(texts, types, strict=True)]
    metadata.set("tokenizer.ggml.token_type", types, ValueType.INT32)
    eos = config.get("eos_token_id")
    others = [i for i in eos if i != config.get("bos_token_id")] if isinstance(eos, list) else []
    if others:
        metadata[ID_KEYS["eot"]] = others[0]
    return metadata


def _muse_glimmer(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    texts: Any = metadata["tokenizer.ggml.tokens"]
    if MUSE_GLIMMER_EOT in texts:
        metadata[ID_KEYS["eot"]] = texts.index(MUSE_GLIMMER_EOT)
    return metadata


def _roberta(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    metadata["tokenizer.ggml.token_type_count"] = config.get("type_vocab_size", 1)
    return metadata


def _jina(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if (files.config or {}).get("tokenizer_class") == "RobertaTokenizer":
        return _roberta(files, {**config, "type_vocab_size": 2}, pre)
    return wpm_metadata(files, config, pre)


def _any(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.has(MODEL_NAME):
        return spm_metadata(files, config)
    if files.has("spiece.model"):
        return t5_metadata(files, config)
    if files.has(TEKKEN_NAME) and files.tokenizer_json is None:
        return tekken_metadata(files, config)
    if get(files.tokenizer_json_or_legacy, "model", "type") == "WordPiece":
        return wpm_metadata(files, config, pre)
    if has_byte_fallback(files):
        return byte_fallback_metadata(files)
    return _gpt2(files, config, pre)


_GPT2 = Kind(_gpt2)
_NO_SPACE: Mapping[str, bool | int] = {ADD_SPACE_PREFIX: False}
_ALL_ADDED: Mapping[str, bool | int] = dict.fromkeys(ADD_KEYS.values(), True)
_NEMOTRON: Mapping[str, bool | int] = {ID_KEYS["pad"]: 0, ID_KEYS["unk"]: 1}
_GEMMA3 = Kind(spm_metadata, sets=_NO_SPACE, fallback=Kind(bpe_metadata))

KINDS: Mapping[str, Kind] = {
    "llama": Kind(_llama),
    "qwen": Kind(spm_metadata, _GPT2),
    "spm": Kind(spm_metadata),
    "gpt2": _GPT2,
    "tiktoken": Kind(tiktoken_metadata),
    "gemma": Kind(_gemma, sets=_NO_SPACE),
    "gemma2": Kind(spm_metadata, sets=_NO_SPACE),
    "gemma3": _GEMMA3,
    "gemma3n": replace(_GEMMA3, ignores=("vocab_size_per_layer_input",)),
    "gemma4": Kind(gemma4_metadata, sets={**_NO_SPACE, ADD_BOS: True}),
    "phi3": Kind(_phi3),
    "glm4": Kind(partial(bpe_metadata, special=GLM4_TOKENS)),
    "glm4_moe": Kind(partial(bpe_metadata, special=GLM4_MOE_TOKENS)),
    "solar_open": Kind(partial(bpe_metadata, special=SOLAR_OPEN_TOKENS)),
    "modernbert": Kind(bpe_metadata, sets_first=_ALL_ADDED),
    "eurobert": Kind(_gpt2, sets_first={ADD_BOS: False}),
    "ernie": Kind(_ernie),
    "granite4": Kind(spm_metadata, _GPT2, ignores=(_PADDING,), pad_to=8),
    "hunyuan": Kind(_hunyuan),
    "laguna": Kind(_laguna),
    "muse_glimmer": Kind(_muse_glimmer),
    "llada": Kind(_gpt2, sets={ADD_BOS: True}),
    "mamba": Kind(spm_metadata, _GPT2, pad_to=8),
    "mamba2": Kind(spm_metadata, _GPT2, pad_to=16),
    "nemotron": Kind(spm_metadata, sets=_NEMOTRON),
    "bert": Kind(wpm_metadata),
    "roberta": Kind(_roberta),
    "xlm_roberta": Kind(xlm_roberta_metadata),
    "nomic_moe": Kind(partial(xlm_roberta_metadata, mask=NOMIC_MASK)),
    "jamba": Kind(spm_metadata, Kind(byte_fallback_metadata, sets=_NO_SPACE)),
    "jina": Kind(_jina),
    "t5": Kind(t5_metadata),
    "any": Kind(_any),
}
