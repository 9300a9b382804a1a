"""Why a tensor of a rung has its type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ReasonCode(Enum):
    """What decided; the value is the text that people read, ``{}`` standing for the detail."""

    CONVERTER = "llama.cpp's converter stores it so"
    KEPT_SMALL = "kept: small or not a matrix"
    KEPT_BLOCKS = "kept: the checkpoint's own blocks"
    LEAVE_OUTPUT_OPTION = "kept: --leave-output-tensor"
    EMBEDDING_OPTION = "--token-embedding-type"
    OUTPUT_OPTION = "--output-tensor-type"
    TIED_OUTPUT_OPTION = "--output-tensor-type (tied embeddings)"
    TENSOR_TYPE_OPTION = "--tensor-type"
    PURE_OPTION = "--pure"
    NAMED = "named by the recipe"
    RULE = "{}"
    LLAMA_70B = "attn_v of a 70B llama"
    OUTPUT = "output is {}"
    OUTPUT_Q8_0 = "output is Q8_0 for falcon and for odd rows"
    BASE = "base type"
    FALLBACK = "fallback: {}"


_KEPT = (ReasonCode.KEPT_SMALL, ReasonCode.KEPT_BLOCKS, ReasonCode.LEAVE_OUTPUT_OPTION)
_SETTLED = (
    *_KEPT,
    ReasonCode.CONVERTER,
    ReasonCode.EMBEDDING_OPTION,
    ReasonCode.OUTPUT_OPTION,
    ReasonCode.TIED_OUTPUT_OPTION,
    ReasonCode.TENSOR_TYPE_OPTION,
    ReasonCode.PURE_OPTION,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a tensor has its type; `str` gives the text for people.

    Attributes
    ----------
    code : ReasonCode
        What decided.
    detail : str
        The rule, the type or the numbers that the text mentions.
    replaces : Reason or None
        Of a fallback: why the tensor was to have the type that its rows do not fit.
    """

    code: ReasonCode
    detail: str = ""
    replaces: Reason | None = None

    def __str__(self) -> str:
        return self.code.value.format(self.detail)

    @property
    def is_kept(self) -> bool:
        """Whether the tensor is not encoded again: it has the type of the file that is read."""
        return self.code in _KEPT

    @property
    def is_by_recipe(self) -> bool:
        """Whether the recipe decided, so that another recipe may decide otherwise."""
        return (self.replaces or self).code not in _SETTLED
