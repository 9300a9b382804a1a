"""Bytes of weights by where llama.cpp puts them: input, blocks, output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ggufkit.toolbox.fit.shape import ModelShape

_BLOCK = re.compile(r"blk\.(\d{1,4})\.", re.ASCII)

#: What ``--n-cpu-moe`` keeps in RAM.
_EXPERTS = re.compile(r"blk\.\d+\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps\.", re.ASCII)

#: Looked up by token on the CPU, whatever is offloaded (``LLM_TENSOR_LAYER_INPUT``).
_INPUT = frozenset(
    f"{name}.weight"
    for name in ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
)


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of tensor data.

    Attributes
    ----------
    input : int
        Embeddings and others that stay on the CPU.
    blocks : tuple of int
        One item per block; 0 for those that llama.cpp leaves in the file (``nextn``).
    output : int
        The rest; it counts as one more layer.
    tied : int
        Bytes of the token embeddings if they are tied to the output: a GPU gets a copy.
    experts : tuple of int
        The share of each block's bytes that is its experts'.
    """

    input: int
    blocks: tuple[int, ...]
    output: int
    tied: int
    experts: tuple[int, ...] = ()

    @classmethod
    def of(cls, tensors: Mapping[str, int], shape: ModelShape) -> WeightBytes:
        """Assign the tensors' bytes by their names."""
        blocks = [0] * shape.n_layers
        experts = [0] * shape.n_layers
        input_bytes = output = 0
        for name, n_bytes in tensors.items():
            block = _BLOCK.match(name)
            if block and int(block[1]) < shape.n_layers:
                counted = n_bytes if int(block[1]) < shape.n_main else 0
                blocks[int(block[1])] += counted
                experts[int(block[1])] += counted if _EXPERTS.match(name) else 0
            elif name in _INPUT:
                input_bytes += n_bytes
            else:
                output += n_bytes
        tied = 0
        if shape.keeps_cache and "output.weight" not in tensors:
            tied = tensors.get("token_embd.weight", 0)
        return cls(input_bytes, tuple(blocks), output, tied, tuple(experts))

    @property
    def total(self) -> int:
        """All bytes, each once."""
        return self.input + sum(self.blocks) + self.output
