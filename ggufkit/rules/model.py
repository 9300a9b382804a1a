"""`DescribedModel`: a model's metadata, names and shapes, for the rules."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ggufkit.rules.llama_cpp import ADDS_BOS, ARCHITECTURES, ENCODERS, PRE_ADDS_BOS, TOKENIZERS
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.gguf.metadata import Metadata

_BLOCK = re.compile(r"blk\.(\d{1,6})\.(.+)", re.ASCII)


class DescribedModel:
    """What a file says of its model, or a plan of the file that it will write.

    Attributes
    ----------
    metadata : Metadata
        Its keys.
    tensors : mapping of str to TensorInfo
        Its tensors.
    readable : bool
        Whether all of both is known, so that absent keys and tensors are really missing.
    intact : bool
        Whether it is readable, and names, shapes and types of all tensors are valid.
    config_keys : mapping of str to str
        The keys of config.json that hparams were taken from, of a plan for a checkpoint.
    """

    readable: bool = True
    intact: bool = True
    config_keys: Mapping[str, str] = MappingProxyType({})

    def __init__(self, metadata: Metadata, tensors: Mapping[str, TensorInfo]) -> None:
        self.metadata = metadata
        self.tensors = tensors

    def typed(self, key: str) -> ValueType | None:
        """Return the type of a key's value or of its items; None if it is absent."""
        if key not in self.metadata:
            return None
        if self.metadata.type_of(key) is ValueType.ARRAY:
            return self.metadata.item_type_of(key)
        return self.metadata.type_of(key)

    def text(self, key: str) -> str:
        """Return a string; empty if it is absent or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | float | None:
        """Return a number; None if it is absent or something else."""
        value = self.metadata.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value

    def integer(self, key: str) -> int | None:
        """Return an integer; None if it is absent or something else."""
        value = self.number(key)
        return value if isinstance(value, int) else None

    def flag(self, key: str) -> bool | None:
        """Return a bool; None if it is absent or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, bool) else None

    def items(self, key: str) -> Sequence[Any]:
        """Return an array; empty if it is absent or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, list) else []

    def hparam(self, key: str, layer: int | None = None) -> int | None:
        """Return an integer hparam of the architecture, or of one layer if given per layer."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list) and layer is not None and layer < len(value):
            value = value[layer]
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @cached_property
    def architecture(self) -> str:
        """``general.architecture``; empty if it is absent."""
        return self.text("general.architecture")

    @cached_property
    def is_model(self) -> bool:
        """Whether this is a model that llama.cpp loads: not an adapter, projector or imatrix."""
        kind = self.text("general.type") or "model"
        loadable = kind == "model" and self.architecture != "clip" and not self.is_foreign
        return loadable and bool(self.tensors)

    @cached_property
    def is_foreign(self) -> bool:
        """Whether this is for other programs, as models that make images are.

        llama.cpp knows neither its architecture nor its tensors. Without an architecture, blocks
        are a sign of llama.cpp's files; others have them too.
        """
        own = "token_embd.weight" in self.tensors or "tokenizer.ggml.model" in self.metadata
        if self.architecture:
            return not own and self.architecture not in ARCHITECTURES
        return not own and not self.blocks

    @cached_property
    def generates(self) -> bool:
        """Whether the model writes text."""
        return self.is_model and self.architecture not in ENCODERS

    @cached_property
    def blocks(self) -> dict[int, dict[str, TensorInfo]]:
        """Block number -> its tensors, by the rest of their names."""
        blocks: dict[int, dict[str, TensorInfo]] = {}
        for name, info in self.tensors.items():
            match = _BLOCK.fullmatch(name)
            if match:
                blocks.setdefault(int(match[1]), {})[match[2]] = info
        return blocks

    @cached_property
    def n_weights(self) -> int:
        """Weights of all tensors of known types."""
        return sum(math.prod(info.shape) for info in self.tensors.values() if info.type.is_known)

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary; empty if it is missing."""
        key = "tokenizer.ggml.tokens"
        if self.typed(key) is not ValueType.STRING:
            return []
        return list(self.items(key))

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """Token -> id; the first, if a token appears twice."""
        ids: dict[str, int] = {}
        for number, token in enumerate(self.tokens):
            ids.setdefault(token, number)
        return ids

    @cached_property
    def token_types(self) -> Sequence[int]:
        """Token types; empty unless every token has one."""
        types = self.items("tokenizer.ggml.token_type")
        usable = len(types) == len(self.tokens) and all(isinstance(t, int) for t in types)
        return types if usable else []

    @cached_property
    def tokenizer(self) -> str:
        """The tokenizer's kind: SPM, BPE, WPM, ...; empty if unknown."""
        return TOKENIZERS.get(self.text("tokenizer.ggml.model"), "")

    def special(self, name: str) -> int | None:
        """Return the id of a special token such as ``bos``, if it names a token."""
        number = self.integer(f"tokenizer.ggml.{name}_token_id")
        return number if number is not None and 0 <= number < len(self.tokens) else None

    def special_text(self, name: str) -> str:
        """Return the text of a special token; empty if it is not defined."""
        number = self.special(name)
        return "" if number is None else self.tokens[number]

    @cached_property
    def adds_bos(self) -> bool:
        """Whether llama.cpp adds BOS to a prompt."""
        said = self.flag("tokenizer.ggml.add_bos_token")
        if said is not None:
            return said
        return self.tokenizer in ADDS_BOS or (
            self.tokenizer == "BPE" and self.text("tokenizer.ggml.pre") in PRE_ADDS_BOS
        )
