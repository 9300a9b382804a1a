"""The tokenizer kinds that architectures name, each the way one model class of llama.cpp reads.

===========  =======================================================================================
llama        tokenizer.model, else tokenizer.json with byte fallback, else byte-level one;
             before these tekken.json, if there is no tokenizer.json
qwen         tokenizer.model, else as gpt2
spm          tokenizer.model
gpt2         byte-level tokenizer.json, else a *.tiktoken file
tiktoken     a *.tiktoken file
gemma        tokenizer.model; Gemma 1, with its fill-in-the-middle tokens
gemma2       tokenizer.model, no space put before the text
gemma3       as gemma2, else byte-level tokenizer.json
gemma3n      as gemma3, with the tokens of pictures and sound
phi3         tokenizer.model with the added tokens of all files; GPT2Tokenizer means gpt2
glm4         byte-level tokenizer.json, with GLM-4's special tokens
glm4_moe     the same with those of GLM-4.5 and later
modernbert   byte-level tokenizer.json, with all special tokens added to a text
ernie        tokenizer.model, with a space put before the text if tokenizer_config.json says so
granite4     as mamba, whatever padding the config asks for
hunyuan      byte-level tokenizer.json; the config's eod_token_id ends a text
llada        as gpt2, with a first token added to a text
mamba        as qwen, padded to a multiple of 8 tokens
mamba2       as qwen, padded to a multiple of 16 tokens
nemotron     tokenizer.model, with Nemotron's padding and unknown tokens
bert         WordPiece tokenizer.json
roberta      byte-level tokenizer.json, with the number of token types
xlm_roberta  unigram sentencepiece.bpe.model, with other special tokens before it
nomic_moe    the same, with its mask token
jamba        tokenizer.model, else tokenizer.json with byte fallback, no space put before the text
jina         as bert, or byte-level tokenizer.json if tokenizer_config.json says RobertaTokenizer
t5           unigram tokenizer.model or spiece.model
any          by what the files are: tokenizer.model, spiece.model, tekken.json, *.tiktoken, or the
             model in tokenizer.json
===========  =======================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.bpe import bpe_metadata, byte_fallback_metadata, has_byte_fallback
from ggufkit.tokenizers.files import TokenizerFiles
from ggufkit.tokenizers.pre import check_pre
from ggufkit.tokenizers.ranks import (
    TEKKEN_NAME,
    find_tiktoken,
    tekken_metadata,
    tiktoken_metadata,
)
from ggufkit.tokenizers.special import special_metadata
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
    from collections.abc import Callable, Mapping
    from pathlib import Path

ADD_SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"

# Of CodeLlama, known by its vocabulary size.
CODE_LLAMA_VOCAB_SIZE = 32016
CODE_LLAMA_TOKENS = {"prefix": 32007, "suffix": 32008, "middle": 32009, "eot": 32010}

# Granite's small models share a vocabulary size and no bos; llama.cpp tells them by that size.
GRANITE_VOCAB_SIZE = 49152

# Of CodeGemma; llama.cpp writes them for every Gemma 1.
GEMMA_TOKENS = {"prefix": 67, "suffix": 69, "middle": 68, "fsep": 70, "eot": 107}

# Of Nomic BERT with experts, whose sentencepiece.bpe.model lacks the mask token.
NOMIC_MASK = 250001

# Of GLM-4, where its files do not name them; the order is that of the file.
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


def tokenizer_metadata(
    folder: Path, *, kind: str, config: Mapping[str, Any], pre: str | None = None
) -> Metadata:
    """Return the ``tokenizer.*`` metadata of a checkpoint, in llama.cpp's order.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    kind : str
        How the architecture's tokenizer is read: one of `KINDS`.
    config : mapping
        The model's config, as the architecture reads it.
    pre : str, optional
        The name of the pre-tokenizer (``tokenizer.ggml.pre``), instead of the one found. Only
        byte-level BPE and WordPiece have one to choose.

    Raises
    ------
    UnknownTokenizerError
        The files the kind needs are absent, the pre-tokenizer is unknown, or llama.cpp knows
        no pre-tokenizer called `pre`.
    CheckpointError
        A file is malformed or contradicts the config.
    """
    if pre is not None:
        check_pre(pre)
    if kind not in KINDS:
        raise UnknownTokenizerError(f"no tokenizer kind {kind!r}; known are {', '.join(KINDS)}")
    return KINDS[kind](TokenizerFiles(folder), config, pre)


def _llama(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.has(TEKKEN_NAME) and files.tokenizer is None:
        return tekken_metadata(files, config)
    metadata = Metadata()
    prefix = (files.config or {}).get("add_prefix_space")
    if isinstance(prefix, bool):
        metadata.set(ADD_SPACE_PREFIX, prefix, ValueType.BOOL)
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
        metadata.set("tokenizer.ggml.add_bos_token", False, ValueType.BOOL)
    return metadata


def _qwen(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.has(MODEL_NAME):
        return spm_metadata(files, config)
    return _gpt2(files, config, pre)


def _gpt2(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.tokenizer is None and find_tiktoken(files):
        return tiktoken_metadata(files, config, pre)
    return bpe_metadata(files, config, pre)


def _spm(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    return spm_metadata(files, config)


def _gemma(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    types = tuple(GEMMA_TOKENS)
    metadata.extend(special_metadata(files, types=types, ids=GEMMA_TOKENS, template=False))
    metadata.set(ADD_SPACE_PREFIX, False, ValueType.BOOL)
    return metadata


def _gemma2(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    metadata.set(ADD_SPACE_PREFIX, False, ValueType.BOOL)
    return metadata


def _gemma3(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if files.has(MODEL_NAME):
        return _gemma2(files, config, pre)
    return bpe_metadata(files, config, pre)


def _gemma3n(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    shown = {key: value for key, value in config.items() if key != "vocab_size_per_layer_input"}
    return _gemma3(files, shown, pre)


def _phi3(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if (files.config or {}).get("tokenizer_class") == "GPT2Tokenizer":
        return bpe_metadata(files, config, pre)
    return phi3_metadata(files, config)


def _glm4(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    return bpe_metadata(files, config, pre, special=GLM4_TOKENS)


def _glm4_moe(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    return bpe_metadata(files, config, pre, special=GLM4_MOE_TOKENS)


def _modernbert(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = Metadata()
    for name in ("bos", "eos", "sep"):
        metadata.set(f"tokenizer.ggml.add_{name}_token", True, ValueType.BOOL)
    metadata.extend(bpe_metadata(files, config, pre))
    return metadata


def _ernie(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    prefix = (files.config or {}).get("add_prefix_space")
    if isinstance(prefix, bool):
        metadata.set(ADD_SPACE_PREFIX, prefix, ValueType.BOOL)
    return metadata


def _hunyuan(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    eod = config.get("eod_token_id", 3)
    if isinstance(eod, int):
        metadata.set("tokenizer.ggml.eos_token_id", eod, ValueType.UINT32)
    return metadata


def _llada(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = _gpt2(files, config, pre)
    metadata.set("tokenizer.ggml.add_bos_token", True, ValueType.BOOL)
    return metadata


def _mamba(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    return _padded(files, config, pre, multiple=8)


def _mamba2(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    return _padded(files, config, pre, multiple=16)


def _granite4(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    return _padded(files, {**config, "pad_vocab_size_multiple": 8}, pre, multiple=8)


def _padded(
    files: TokenizerFiles, config: Mapping[str, Any], pre: str | None, *, multiple: int
) -> Metadata:
    """Return the metadata of a vocabulary whose size is rounded up, as the embeddings' rows are."""
    multiple = config.get("pad_vocab_size_multiple", multiple)
    size = config.get("vocab_size")
    padded = {} if size is None else {"vocab_size": -(-size // multiple) * multiple}
    return _qwen(files, {**config, **padded}, pre)


def _nemotron(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    metadata = spm_metadata(files, config)
    for name, token in (("padding", 0), ("unknown", 1)):
        metadata.set(f"tokenizer.ggml.{name}_token_id", token, ValueType.UINT32)
    return metadata


def _roberta(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    metadata = bpe_metadata(files, config, pre)
    n_types = config.get("type_vocab_size", 1)
    metadata.set("tokenizer.ggml.token_type_count", n_types, ValueType.UINT32)
    return metadata


def _xlm_roberta(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    return xlm_roberta_metadata(files, config)


def _nomic_moe(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    return xlm_roberta_metadata(files, config, mask=NOMIC_MASK)


def _jamba(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    if files.has(MODEL_NAME):
        return spm_metadata(files, config)
    metadata = byte_fallback_metadata(files)
    metadata.set(ADD_SPACE_PREFIX, False, ValueType.BOOL)
    return metadata


def _jina(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    if (files.config or {}).get("tokenizer_class") == "RobertaTokenizer":
        return _roberta(files, {**config, "type_vocab_size": 2}, pre)
    return wpm_metadata(files, config, pre)


def _t5(files: TokenizerFiles, config: Mapping[str, Any], _: str | None) -> Metadata:
    return t5_metadata(files, config)


def _any(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    model = (files.described or {}).get("model")
    if files.has(MODEL_NAME):
        return spm_metadata(files, config)
    if files.has("spiece.model"):
        return t5_metadata(files, config)
    if files.has(TEKKEN_NAME) and files.tokenizer is None:
        return tekken_metadata(files, config)
    if isinstance(model, dict) and model.get("type") == "WordPiece":
        return wpm_metadata(files, config, pre)
    if has_byte_fallback(files):
        return byte_fallback_metadata(files)
    return _gpt2(files, config, pre)


KINDS: Mapping[str, Callable[[TokenizerFiles, Mapping[str, Any], str | None], Metadata]] = {
    "llama": _llama,
    "qwen": _qwen,
    "spm": _spm,
    "gpt2": _gpt2,
    "tiktoken": tiktoken_metadata,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3n": _gemma3n,
    "phi3": _phi3,
    "glm4": _glm4,
    "glm4_moe": _glm4_moe,
    "modernbert": _modernbert,
    "ernie": _ernie,
    "granite4": _granite4,
    "hunyuan": _hunyuan,
    "llada": _llada,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "nemotron": _nemotron,
    "bert": wpm_metadata,
    "roberta": _roberta,
    "xlm_roberta": _xlm_roberta,
    "nomic_moe": _nomic_moe,
    "jamba": _jamba,
    "jina": _jina,
    "t5": _t5,
    "any": _any,
}
