"""Placing a model in memory: what it needs, and how many layers fit on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ggufkit.errors import BadValueError
from ggufkit.toolbox.fit.cache import RunOptions, compute_bytes, layer_bytes
from ggufkit.toolbox.fit.candidates import Candidate
from ggufkit.toolbox.fit.machine import Memory
from ggufkit.toolbox.fit.shape import ModelShape
from ggufkit.toolbox.fit.weights import WeightBytes

#: The program, the vocabulary and what the allocator wastes.
RAM_OVERHEAD = 256 << 20
#: The driver's context and the libraries' workspaces.
VRAM_OVERHEAD = 512 << 20

_STEP = 256
_MAX_CONTEXT = 1 << 24

Where = Literal["gpu", "ram", "both", "nowhere"]


@dataclass(frozen=True)
class Need:
    """The memory that a model in one encoding needs for one context.

    Attributes
    ----------
    candidate : Candidate
        The model.
    shape : ModelShape
        Its layers.
    weights : WeightBytes
        Bytes of weights by device.
    options : RunOptions
        How it is run.
    """

    candidate: Candidate
    shape: ModelShape
    weights: WeightBytes
    options: RunOptions

    @classmethod
    def of(cls, candidate: Candidate, shape: ModelShape, options: RunOptions) -> Need:
        """Return the needs of a candidate of that shape."""
        return cls(candidate, shape, WeightBytes.of(candidate.tensors, shape), options)

    @cached_property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Bytes of KV cache and states of each layer."""
        return tuple(layer_bytes(layer, self.options) for layer in self.shape.layers)

    @property
    def kv(self) -> int:
        """Bytes of the KV cache."""
        return sum(kv for kv, _ in self.layers)

    @property
    def state(self) -> int:
        """Bytes of recurrent states."""
        return sum(state for _, state in self.layers)

    @cached_property
    def compute(self) -> int:
        """Bytes of compute buffers, estimated."""
        return compute_bytes(self.shape, self.options)

    @property
    def total(self) -> int:
        """Bytes without a GPU."""
        return self.weights.total + self.kv + self.state + self.compute + RAM_OVERHEAD

    def vram(self, n_gpu_layers: int) -> int:
        """Bytes on the GPU with ``-ngl``: the output counts as a layer, and comes first."""
        if not n_gpu_layers:
            return 0
        first = self.shape.n_layers + 1 - n_gpu_layers
        caches = sum(kv + state for kv, state in self.layers[first:])
        blocks = sum(self.weights.blocks[first:])
        output = self.weights.output + self.weights.tied
        return output + blocks + caches + self.compute + VRAM_OVERHEAD

    def ram(self, n_gpu_layers: int) -> int:
        """Bytes in RAM with ``-ngl``."""
        if not n_gpu_layers:
            return self.total
        first = self.shape.n_layers + 1 - n_gpu_layers
        caches = sum(kv + state for kv, state in self.layers[:first])
        compute = self.compute if first else 0
        return (
            self.weights.input + sum(self.weights.blocks[:first]) + caches + compute + RAM_OVERHEAD
        )

    def with_context(self, context: int) -> Need:
        """Return the needs for another context."""
        return replace(self, options=replace(self.options, context=context))


@dataclass(frozen=True)
class Placement:
    """Where a model goes.

    Attributes
    ----------
    need : Need
        The memory it needs.
    memory : Memory
        The memory available.
    n_gpu_layers : int
        For ``-ngl``: as many as fit, including the output.
    where : {'gpu', 'ram', 'both', 'nowhere'}
        Where its layers are; 'nowhere' if it does not fit.
    """

    need: Need
    memory: Memory
    n_gpu_layers: int
    where: Where

    @property
    def fits(self) -> bool:
        """Whether it can be run."""
        return self.where != "nowhere"

    @property
    def vram(self) -> int:
        """Bytes on the GPU."""
        return self.need.vram(self.n_gpu_layers)

    @property
    def ram(self) -> int:
        """Bytes in RAM."""
        return self.need.ram(self.n_gpu_layers)

    @cached_property
    def n_cpu_moe(self) -> int:
        """For ``--n-cpu-moe``, with all layers on the GPU: how many keep their experts in RAM.

        The fewest that fit; 0 if there are no experts, if all fits on the GPU, or if this
        does not fit either.
        """
        n_all = self.need.shape.n_layers + 1
        if self.where == "gpu" or not self.memory.vram or self.memory.ram is None:
            return 0
        vram, ram = self.need.vram(n_all), self.need.ram(n_all) + self.need.compute
        for n_blocks, experts in enumerate(self.need.weights.experts, 1):
            vram, ram = vram - experts, ram + experts
            if vram <= self.memory.vram and ram <= self.memory.ram:
                return n_blocks
        return 0

    @property
    def needed(self) -> int:
        """Bytes in all; on the GPU alone if the machine's memory is not known."""
        if self.memory.ram is None:
            return self.need.vram(self.need.shape.n_layers + 1)
        return self.vram + self.ram

    @cached_property
    def longest_context(self) -> int:
        """The longest context with the same placement, at most the trained one; or 0."""
        top = self.need.shape.trained_context or _MAX_CONTEXT
        low, high = 0, min(top, _MAX_CONTEXT) // _STEP
        while low < high:
            middle = (low + high + 1) // 2
            placed = place(self.need.with_context(middle * _STEP), self.memory)
            same = placed.fits and (self.where != "gpu" or placed.where == "gpu")
            low, high = (middle, high) if same else (low, middle - 1)
        return low * _STEP

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, in bytes."""
        need = self.need
        return {
            "name": need.candidate.name,
            "file": need.candidate.file,
            "context": need.options.context,
            "weights": need.weights.total,
            "kv_cache": need.kv,
            "states": need.state,
            "compute": need.compute,
            "overhead": RAM_OVERHEAD + (VRAM_OVERHEAD if self.n_gpu_layers else 0),
            "vram": self.vram,
            "ram": self.ram,
            "n_gpu_layers": self.n_gpu_layers,
            "n_cpu_moe": self.n_cpu_moe,
            "n_layers": need.shape.n_layers + 1,
            "where": self.where,
            "fits": self.fits,
            "longest_context": self.longest_context,
        }


def place(need: Need, memory: Memory) -> Placement:
    """Put as many layers on the GPU as fit, and the rest into RAM."""
    n_all = need.shape.n_layers + 1
    n_gpu = _most_layers(need, memory.vram)
    fits_ram = memory.ram is None or need.ram(n_gpu) <= memory.ram
    where: Where = "nowhere"
    if n_gpu == n_all and fits_ram:
        where = "gpu"
    elif fits_ram and memory.ram is not None:
        where = "both" if n_gpu else "ram"
    return Placement(need, memory, n_gpu, where)


def _most_layers(need: Need, vram: int) -> int:
    """Return the largest number for ``-ngl`` that fits: the output, then blocks from the end."""
    room = vram - need.vram(1)
    if room < 0:
        return 0
    n_gpu = 1
    for block, caches in zip(reversed(need.weights.blocks), reversed(need.layers), strict=True):
        room -= block + sum(caches)
        if room < 0:
            break
        n_gpu += 1
    return n_gpu


def checked_context(context: int | None, shape: ModelShape, default: int) -> int:
    """Return the context to run with: as requested, or `default` within the trained context."""
    if context is None:
        return min(default, shape.trained_context or default)
    if not 0 < context <= _MAX_CONTEXT:
        raise BadValueError(f"a context of {context} tokens, expected 1..{_MAX_CONTEXT}")
    return context
