"""WordPiece vocabularies of BERT and similar models ("bert")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.bpe import base_tokens, vocabulary_metadata
from ggufkit.tokenizers.pre import find_pre
from ggufkit.tokenizers.sentencepiece import TokenType
from ggufkit.tokenizers.special import special_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ggufkit.tokenizers.files import TokenizerFiles


# Tokens that llama.cpp searches for in the text as it is.
WHOLE = (TokenType.CONTROL, TokenType.USER_DEFINED)


def wpm_metadata(files: TokenizerFiles, config: Mapping[str, Any], pre: str | None) -> Metadata:
    """Return the metadata of a WordPiece tokenizer (``BertModel.set_vocab``).

    WordPiece marks pieces inside a word with ``##``; llama.cpp marks those at the start of a word
    with "▁", as SentencePiece does.

    Raises
    ------
    UnknownTokenizerError
        There is no tokenizer.json; or it is not like BERT's, and `pre` is None.
    CheckpointError
        A file is malformed or contradicts the config.
    """
    texts, types = base_tokens(files, config)
    texts = [
        text if kind in WHOLE else _mark_start(text)
        for text, kind in zip(texts, types, strict=True)
    ]
    metadata = Metadata()
    n_types = config.get("type_vocab_size", 1)
    metadata.set("tokenizer.ggml.token_type_count", n_types, ValueType.UINT32)
    metadata.extend(vocabulary_metadata("bert", pre or find_pre(files), texts, types))
    metadata.extend(special_metadata(files, n_vocab=len(texts)))
    return metadata


def _mark_start(text: str) -> str:
    return text[2:] if text.startswith("##") else "▁" + text
