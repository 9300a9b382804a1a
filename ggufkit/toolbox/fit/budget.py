"""How large a mix may be to run from GPU memory."""

from __future__ import annotations

from ggufkit.converter.mix.result import Limit
from ggufkit.converter.planning.plan import Rung
from ggufkit.converter.sources.base import Source
from ggufkit.toolbox.fit.cache import CACHE_TYPES, RunOptions, check_types
from ggufkit.toolbox.fit.candidates import Candidate
from ggufkit.toolbox.fit.machine import parse_memory
from ggufkit.toolbox.fit.placing import Need, checked_context
from ggufkit.toolbox.fit.shape import ModelShape
from ggufkit.types import FileType


def vram_limit(name: str, source: Source, vram: str | int, context: int, kv: str = "f16") -> Limit:
    """Return the size limit of a rung with every layer on the GPU.

    Parameters
    ----------
    name : str
        Name of the rung.
    source : Source
        The model.
    vram : str or int
        Memory such as ``12G``, in powers of 1024.
    context : int
        Tokens; at most the trained context.
    kv : str
        Type of the KV cache.

    Raises
    ------
    BadValueError
        An amount is malformed, or the context is too long for the model.
    """
    n_bytes = parse_memory(vram)
    metadata = source.metadata(FileType.F16)
    shape = ModelShape.of(metadata)
    cache = CACHE_TYPES[kv]
    options = RunOptions(checked_context(context, shape, context), cache, cache)
    check_types(shape, options)

    def excess(rung: Rung) -> int:
        tensors = {tensor: target.n_bytes for tensor, target in rung.targets.items()}
        need = Need.of(Candidate(rung.name, "", metadata, tensors), shape, options)
        return need.vram(shape.n_layers + 1) - n_bytes

    return Limit(name, excess)
