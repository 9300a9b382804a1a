"""Bytes of the KV cache, of states and of compute buffers, as llama.cpp allocates them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from ggufkit.errors import BadValueError
from ggufkit.gguf.layout import align
from ggufkit.toolbox.fit.shape import LayerShape, ModelShape
from ggufkit.types import TensorType

#: What ``--cache-type-k`` and ``--cache-type-v`` of llama.cpp take.
CACHE_TYPES = MappingProxyType(
    {
        name: TensorType[name.upper()]
        for name in ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
    }
)

_CELLS = 256  # contexts and windows are rounded up to a multiple
_FLOAT = 4


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run, with llama.cpp's names.

    Attributes
    ----------
    context : int
        Tokens of all sequences together (``-c``).
    k, v : TensorType
        Types of the KV cache (``-ctk``, ``-ctv``).
    parallel : int
        Parallel sequences (``-np``), which share the context.
    ubatch : int
        Tokens per micro-batch (``-ub``).
    """

    context: int
    k: TensorType = TensorType.F16
    v: TensorType = TensorType.F16
    parallel: int = 1
    ubatch: int = 512

    @property
    def cells(self) -> int:
        """Context of one sequence."""
        return align(align(self.context, _CELLS) // self.parallel, _CELLS)

    def cells_of(self, layer: LayerShape) -> int:
        """Tokens that a layer caches per sequence."""
        if not layer.window:
            return self.cells
        return align(min(self.cells, layer.window + self.ubatch), _CELLS)


def check_types(shape: ModelShape, options: RunOptions) -> None:
    """Refuse cache types that llama.cpp would refuse.

    Raises
    ------
    BadValueError
        Heads are not whole blocks of the type, or an MLA cache would have two types.
    """
    if shape.is_mla and options.k is not options.v:
        raise BadValueError(
            f"{shape.architecture} caches keys and values in one row: choose one type for both"
        )
    for layer in shape.layers:
        for type_, head in ((options.k, layer.k_head), (options.v, layer.v_head)):
            if head % type_.block_size:
                raise BadValueError(
                    f"a KV cache of {type_.name.lower()} needs head lengths that are multiples of "
                    f"{type_.block_size}, this model's is {head}: choose f16"
                )


def layer_bytes(layer: LayerShape, options: RunOptions) -> tuple[int, int]:
    """Return bytes of a layer's KV cache, and of its states."""
    cells = options.cells_of(layer) * options.parallel
    row = sum(map(options.k.row_size, layer.k)) + sum(map(options.v.row_size, layer.v))
    return row * cells, layer.state * _FLOAT * options.parallel


def compute_bytes(shape: ModelShape, options: RunOptions) -> int:
    """Return an estimate of the buffers for intermediate results.

    Attention masks are exact (with flash attention: float16, one per kind of cache). Activations
    are taken to be three rows of a block's widest part, five between blocks and four of per-layer
    inputs: about what llama.cpp's allocator arrives at.
    """
    tokens = min(options.ubatch, max(options.context, 1))
    kinds = {layer.window: options.cells_of(layer) for layer in shape.layers if layer.k}
    cells = sum(kinds.values()) if shape.keeps_cache else tokens
    masks = tokens * cells * 2
    activations = tokens * (3 * shape.n_ff + 5 * shape.n_embd + 4 * shape.n_side) * _FLOAT
    logits = options.parallel * shape.n_vocab * _FLOAT
    return masks + activations + 2 * logits
