"""Models of which only the size is known: typical shapes of dense models.

Between two rows of the table the larger shape is used, with its weights scaled to the size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ggufkit.converter.sources.base import Reader, Source, SourceTensor
from ggufkit.errors import BadValueError
from ggufkit.gguf.metadata import Metadata
from ggufkit.types import TensorType


class Shape(NamedTuple):
    """A dense model with grouped heads of 64 or 128 numbers."""

    n_layers: int
    n_embd: int
    n_ff: int
    n_heads: int
    n_kv_heads: int
    n_vocab: int
    tied: bool

    @property
    def n_weights(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.n_rows * tensor.n_cols for tensor in tensors_of(self))


#: SmolLM2-135M, Qwen2.5-0.5B, Llama-3.2-1B and -3B, Llama-3.1-8B, Qwen2.5-14B and -32B,
#: Llama-3.1-70B, Mistral-Large-123B, Llama-3.1-405B.
SHAPES = (
    Shape(30, 576, 1536, 9, 3, 49152, True),
    Shape(24, 896, 4864, 14, 2, 151936, True),
    Shape(16, 2048, 8192, 32, 8, 128256, True),
    Shape(28, 3072, 8192, 24, 8, 128256, True),
    Shape(32, 4096, 14336, 32, 8, 128256, False),
    Shape(48, 5120, 13824, 40, 8, 152064, False),
    Shape(64, 5120, 27648, 40, 8, 152064, False),
    Shape(80, 8192, 28672, 64, 8, 128256, False),
    Shape(88, 12288, 28672, 96, 8, 32768, False),
    Shape(126, 16384, 53248, 128, 8, 128256, False),
)

_TRAINED_CONTEXT = 131072
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_params(text: str) -> int:
    """Parse a number of parameters such as ``70B``.

    Raises
    ------
    BadValueError
        It is malformed, or not a plausible size.

    Examples
    --------
    >>> parse_params("1.5B")
    1500000000
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([KMBT])", text.strip(), re.I | re.A)
    n_weights = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if not 10**6 <= n_weights <= 10**13:
        raise BadValueError(f"{text!r} is not a number of parameters: write 7B, 1.5B or 350M")
    return n_weights


def shape_for(n_weights: int) -> Shape:
    """Return the smallest typical shape with about as many parameters, or the largest."""
    return next((s for s in SHAPES if s.n_weights * 1.15 >= n_weights), SHAPES[-1])


def tensors_of(shape: Shape) -> tuple[SourceTensor, ...]:
    """Return the tensors of a shape, as a checkpoint in BF16 would have them."""
    n_embd, n_kv = shape.n_embd, shape.n_embd // shape.n_heads * shape.n_kv_heads
    matrices = {"token_embd": (shape.n_vocab, n_embd)}
    if not shape.tied:
        matrices["output"] = (shape.n_vocab, n_embd)
    for i in range(shape.n_layers):
        matrices |= {
            f"blk.{i}.attn_q": (n_embd, n_embd),
            f"blk.{i}.attn_k": (n_kv, n_embd),
            f"blk.{i}.attn_v": (n_kv, n_embd),
            f"blk.{i}.attn_output": (n_embd, n_embd),
            f"blk.{i}.ffn_gate": (shape.n_ff, n_embd),
            f"blk.{i}.ffn_up": (shape.n_ff, n_embd),
            f"blk.{i}.ffn_down": (n_embd, shape.n_ff),
        }
    return tuple(
        SourceTensor(f"{name}.weight", size, TensorType.BF16) for name, size in matrices.items()
    )


@dataclass(frozen=True, kw_only=True)
class TypicalSource(Source):
    """A source without weights: it can be planned, not converted."""

    @classmethod
    def of(cls, shape: Shape) -> TypicalSource:
        """Return a source with the keys that memory depends on."""
        metadata = Metadata(
            {
                "general.architecture": "llama",
                "general.name": "typical",
                "general.file_type": 0,
                "llama.context_length": _TRAINED_CONTEXT,
                "llama.block_count": shape.n_layers,
                "llama.embedding_length": shape.n_embd,
                "llama.feed_forward_length": shape.n_ff,
                "llama.attention.head_count": shape.n_heads,
                "llama.attention.head_count_kv": shape.n_kv_heads,
                "llama.vocab_size": shape.n_vocab,
            }
        )
        return cls(tensors=tensors_of(shape), origin={}, base_metadata=metadata)

    def reader(self, tensor: SourceTensor) -> Reader:
        """Raise: there are no weights."""
        raise BadValueError(f"{tensor.name}: a typical model has no weights")
