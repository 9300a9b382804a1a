"""The vocabulary in a GGUF file, and the tokenizer_config.json that corresponds to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.sentencepiece import TOKEN_TYPES, TokenType
from ggufkit.tokenizers.special import ADD_KEYS, ID_KEYS
from ggufkit.tokenizers.templates import TEMPLATE_KEY

TOKENS, TYPES, SCORES = (f"tokenizer.ggml.{n}" for n in ("tokens", "token_type", "scores"))
MODEL, PRE, MERGES = (f"tokenizer.ggml.{n}" for n in ("model", "pre", "merges"))
CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"
TEMPLATES = "tokenizer.chat_templates"

# Special tokens without a name in tokenizer_config.json.
_NAMELESS = ("eot", "eom")


@dataclass(frozen=True)
class StoredVocabulary:
    """The ``tokenizer.*`` keys of a file."""

    metadata: Metadata

    @property
    def model(self) -> str:
        """``tokenizer.ggml.model``: gpt2, bert, llama, t5 ..."""
        return str(self.metadata.get(MODEL))

    @cached_property
    def tokens(self) -> list[str]:
        """The text of every token; empty if there is no vocabulary.

        Raises
        ------
        UnknownTokenizerError
            The key is not a list of texts.
        """
        found = self.metadata.get(TOKENS)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise UnknownTokenizerError(f"{TOKENS} must be a list of texts")
        return found

    @cached_property
    def types(self) -> list[int]:
        """The type of every token; missing and unknown types count as normal.

        Raises
        ------
        UnknownTokenizerError
            The key is not a list with an integer per token.
        """
        given = self._column(TYPES, int) or [int(TokenType.NORMAL)] * len(self.tokens)
        return [kind if kind in TOKEN_TYPES else int(TokenType.NORMAL) for kind in given]

    @cached_property
    def scores(self) -> list[float]:
        """The score of every token; empty if the file has none.

        Raises
        ------
        UnknownTokenizerError
            The key is not a list with a float per token.
        """
        return self._column(SCORES, float)

    def _column(self, key: str, of: type) -> list[Any]:
        found = self.metadata.get(key)
        if found is None:
            return []
        if not isinstance(found, list) or len(found) != len(self.tokens):
            raise UnknownTokenizerError(f"{key} must be a list with an entry for every token")
        if not all(type(value) is of for value in found):
            raise UnknownTokenizerError(f"{key} must be a list of type {of.__name__}")
        return found

    @property
    def charsmap(self) -> bytes:
        """SentencePiece's precompiled table that normalizes characters; empty without one.

        Raises
        ------
        UnknownTokenizerError
            The key is not a list of bytes.
        """
        found = self.metadata.get(CHARSMAP)
        if found is None:
            return b""
        if not isinstance(found, list) or not all(
            type(byte) is int and 0 <= byte < 256 for byte in found
        ):
            raise UnknownTokenizerError(f"{CHARSMAP} must be a list of bytes")
        return bytes(found)

    @cached_property
    def special(self) -> dict[str, int]:
        """The ids of special tokens by name, as far as they are in the vocabulary."""
        found = {name: self.metadata.get(key) for name, key in ID_KEYS.items()}
        n = len(self.tokens)
        return {name: i for name, i in found.items() if type(i) is int and 0 <= i < n}

    def adds(self, name: str) -> bool | None:
        """Return whether a special token is added to a text; None if the file does not say."""
        value = self.metadata.get(ADD_KEYS[name])
        return value if isinstance(value, bool) else None

    def is_padding(self, token_id: int) -> bool:
        """Whether a token is a placeholder for an unused row of the embeddings."""
        mark = "▁" if self.model == "bert" else ""
        is_unused = self.types[token_id] == TokenType.UNUSED
        return is_unused and self.tokens[token_id] == f"{mark}[PAD{token_id}]"

    def config(self, context: int | None) -> dict[str, Any]:
        """Return tokenizer_config.json; `context` is the model's context length."""
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if context is not None:
            config["model_max_length"] = context
        config["clean_up_tokenization_spaces"] = False
        for name in ADD_KEYS:
            if self.adds(name) is not None:
                config[f"add_{name}_token"] = self.adds(name)
        if isinstance(self.metadata.get(SPACE_PREFIX), bool):
            config["add_prefix_space"] = self.metadata[SPACE_PREFIX]
        config |= self._special_tokens()
        templates = self._templates()
        if templates is not None:
            config["chat_template"] = templates
        return config

    def _special_tokens(self) -> dict[str, str]:
        """Return the special tokens' texts, as tokenizer_config.json names them."""
        texts = {
            f"{name}_token": self.tokens[token_id]
            for name, token_id in self.special.items()
            # A conversion takes every token that is named here for a special one.
            if self.types[token_id] in (TokenType.CONTROL, TokenType.UNKNOWN)
            and name not in _NAMELESS
        }
        if self.adds("eos") and "eot" in self.special and "eos_token" in texts:
            # Where texts end with another token, the tokenizer's eos ends a turn.
            texts["eos_token"] = self.tokens[self.special["eot"]]
        if self.model == "bert":
            for name, other in (("cls", "bos"), ("sep", "eos")):
                if f"{other}_token" in texts:
                    texts.setdefault(f"{name}_token", texts[f"{other}_token"])
        return texts

    def _templates(self) -> Any:
        """Return the chat template, or a list of named ones."""
        main = self.metadata.get(TEMPLATE_KEY)
        names = self.metadata.get(TEMPLATES)
        if not isinstance(names, list):
            return main if isinstance(main, str) else None
        named = [(name, self.metadata.get(f"{TEMPLATE_KEY}.{name}")) for name in names]
        all_of_them = [("default", main), *named]
        return [
            {"name": name, "template": text} for name, text in all_of_them if isinstance(text, str)
        ]
