"""A model's hparams as llama.cpp's loader completes them, and the blocks that they tell apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from math import inf
from typing import Any

from ggufkit.rules.known_tensors import known_tensors
from ggufkit.rules.model import DescribedModel

_HEAD_LENGTHS = ("attention.key_length", "attention.value_length")
# Those of MLA, which llama.cpp takes together or not at all.
_MLA_LENGTHS = ("attention.key_length_mla", "attention.value_length_mla")
_EXPERT_WIDTH = "expert_feed_forward_length"
# What llama.cpp takes for 0 where it is not said.
_ZERO = ("feed_forward_length", "attention.head_count", "attention.q_lora_rank")
_MAX_BLOCKS = 1 << 14


class LoadedHparams:
    """The hparams of a model, as llama.cpp completes them.

    Attributes
    ----------
    model : DescribedModel
        Whose they are.
    n_blocks, n_mtp, n_trunk, n_dense : int
        All blocks; those of the MTP head, which come last; the others; and the first ones without
        experts.
    """

    def __init__(self, model: DescribedModel) -> None:
        self.model = model
        self.n_blocks = min(model.hparam("block_count") or 0, _MAX_BLOCKS)
        self.n_mtp = min(model.hparam("nextn_predict_layers") or 0, self.n_blocks)
        self.n_trunk = self.n_blocks - self.n_mtp
        self.n_dense = min(model.hparam("leading_dense_block_count") or 0, self.n_blocks)

    def raw(self, key: str) -> Any:
        """Return the value that the model has."""
        return self.model.metadata.get(f"{self.model.architecture}.{key}")

    def at(self, key: str, block: int | None) -> int | None:
        """Return a value, of one block where it is given by block."""
        value = self.raw(key)
        if isinstance(value, list):
            index = 0 if block is None else block
            value = value[index] if index < len(value) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def value(self, key: str, block: int | None) -> int | None:
        """Return a number that shapes depend on, None if the model does not say it.

        ``[0]`` behind a key is the value of the first block, for all blocks.
        """
        if key.endswith("[0]"):
            return self.value(key.removesuffix("[0]"), 0)
        if key in _HEAD_LENGTHS and self.value("attention.head_count", block or 0) == 0:
            return 0
        found, made = self.at(key, block), _MADE.get(key)
        if key in _MLA_LENGTHS and not all(self.at(name, block) for name in _MLA_LENGTHS):
            found = None
        if made is not None and (found is None or (found == 0 and key == _EXPERT_WIDTH)):
            return made(self, block)
        return 0 if self.raw(key) is None and key in _ZERO else found

    def limit(self, general: str) -> float:
        """Return the number of blocks of an encoder or decoder; `rules.shapes` checks others."""
        if not general.startswith(("enc.", "dec.")):
            return inf
        decoder = self.at("decoder_block_count", None) if general.startswith("dec.") else None
        return self.n_blocks if decoder is None else decoder

    @cached_property
    def has_trunk(self) -> bool:
        """Whether there are other blocks than those of an MTP head: the first tells llama.cpp."""
        return not self.can_be_partial or "blk.0.attn_norm.weight" in self.model.tensors

    @cached_property
    def can_be_partial(self) -> bool:
        """Whether llama.cpp takes a file without, or only with, the MTP blocks."""
        norm = known_tensors(self.model.architecture).get("blk.{i}.attn_norm.weight")
        return bool(self.n_mtp and norm and norm.where == "not first if mtp")

    @cached_property
    def has_mtp(self) -> bool:
        """Whether the MTP blocks are in the file."""
        first = self.n_trunk
        return not self.can_be_partial or f"blk.{first}.nextn.eh_proj.weight" in self.model.tensors

    @cached_property
    def all(self) -> range:
        """All blocks."""
        return range(self.n_blocks)

    def listed(self, key: str) -> set[int]:
        """Return the blocks whose item of a list is not zero or false; all, of one such value."""
        value = self.raw(key)
        if isinstance(value, list):
            return {i for i in self.all if i < len(value) and value[i]}
        return set(self.all) if value else set()

    @cached_property
    def mla(self) -> set[int]:
        """Blocks with multi-head latent attention."""
        return set.intersection(*map(self.listed, _MLA_LENGTHS))

    @cached_property
    def recurrent(self) -> set[int]:
        """Blocks without attention."""
        if isinstance(self.raw("attention.recurrent_layers"), list):
            return self.listed("attention.recurrent_layers")
        interval = self.at("full_attention_interval", None) or 4
        return {i for i in range(self.n_trunk) if (i + 1) % interval}

    @cached_property
    def with_kv(self) -> set[int]:
        """Blocks with keys and values."""
        key = "attention.head_count_kv"
        return self.listed(key if self.raw(key) is not None else "attention.head_count")

    @cached_property
    def stepped(self) -> set[int]:
        """Blocks with experts, where every n-th has."""
        step = self.at("interleave_moe_layer_step", None)
        return {i for i in self.all if (i + 1) % (1 if step is None else step or i + 2) == 0}

    @cached_property
    def every(self) -> set[int]:
        """Blocks with experts, of ``moe_every_n_layers``."""
        step = self.at("moe_every_n_layers", None) or 0
        return {i for i in self.all if step and i % step == 1}

    @cached_property
    def routed(self) -> set[int]:
        """Blocks that have a router."""
        return {i for i, held in self.model.blocks.items() if "ffn_gate_inp.weight" in held}


def own_length(hparams: LoadedHparams, kind: str, block: int | None) -> int | None:
    """``n_embd_head_k`` or ``_v`` of a block, where those with a sliding window have their own."""
    listed = hparams.listed("attention.sliding_window_pattern")
    return hparams.value(f"attention.{kind}_length{'_swa' if block in listed else ''}", block)


def _expert_width(hparams: LoadedHparams, block: int | None) -> int | None:
    """``n_ff_exp``, where the file does not say it."""
    width = hparams.value("feed_forward_length", block)
    used = hparams.at("expert_used_count", block)
    return width // used if width is not None and used else None


def _head_length(hparams: LoadedHparams, _: int | None) -> int | None:
    """``n_embd_head_k`` and ``n_embd_head_v``, unless the file says them."""
    width, heads = hparams.at("embedding_length", None), hparams.at("attention.head_count", None)
    return None if width is None or heads is None else width // heads if heads else 0


_MADE: Mapping[str, Callable[[LoadedHparams, int | None], int | None]] = {
    "n_tokens": lambda h, _: len(h.model.tokens) or None,
    "n_token_types": lambda h, _: h.model.integer("tokenizer.ggml.token_type_count"),
    "n_labels": lambda h, _: len(h.raw("classifier.output_labels") or (1,)),
    "attention.head_count_kv": lambda h, i: h.at("attention.head_count", i),
    "attention.key_length": _head_length,
    "attention.value_length": _head_length,
    "rope.dimension_count": lambda h, i: h.value("attention.key_length", i),
    "head_length": lambda h, i: own_length(h, "key", i),
    "head_value_length": lambda h, i: own_length(h, "value", i),
    _EXPERT_WIDTH: _expert_width,
    "attention.key_length_mla": lambda h, i: h.value("attention.key_length", i),
    "attention.value_length_mla": lambda h, i: h.value("attention.value_length", i),
}

# The blocks that need a tensor.
WHERE: Mapping[str, Callable[[LoadedHparams], set[int]]] = {
    "all": lambda h: set(h.all),
    "trunk": lambda h: set(range(h.n_trunk)),
    "mtp": lambda h: set(range(h.n_trunk, h.n_blocks)),
    "dense": lambda h: set(range(h.n_dense)),
    "sparse": lambda h: set(range(h.n_dense, h.n_blocks)),
    "sparse trunk": lambda h: set(range(h.n_dense, h.n_trunk)),
    "dense or mtp": lambda h: WHERE["dense"](h) | WHERE["mtp"](h),
    "experts": lambda h: set(h.all) if h.at("expert_count", None) else set(),
    "no experts": lambda h: set() if h.at("expert_count", None) else set(h.all),
    "shared": lambda h: h.listed("expert_shared_feed_forward_length"),
    "shared experts": lambda h: h.listed("expert_shared_count"),
    "kv": lambda h: h.with_kv,
    "no kv": lambda h: set(h.all) - h.with_kv,
    "ff": lambda h: h.listed("feed_forward_length"),
    "no ff": lambda h: set(h.all) - h.listed("feed_forward_length"),
    "mla": lambda h: h.mla,
    "no mla": lambda h: set(h.all) - h.mla,
    "low-rank q": lambda h: h.listed("attention.q_lora_rank"),
    "full-rank q": lambda h: set(h.all) - h.listed("attention.q_lora_rank"),
    "own kv": lambda h: set(range(h.n_blocks - (h.at("attention.shared_kv_layers", None) or 0))),
    "per layer": lambda h: h.listed("embedding_length_per_layer_input"),
    # of EXAONE MoE: llama.cpp counts its factors once more for every MTP block
    "no mtp": lambda h: set() if h.n_mtp else set(h.all),
    "longrope": lambda h: set(h.all) if h.raw("rope.scaling.type") == "longrope" else set(),
    "no longrope": lambda h: set(h.all) - WHERE["longrope"](h),
    # of Command R, the larger ones
    "64 blocks": lambda h: set(h.all) if h.n_blocks >= 64 else set(),
    "recurrent": lambda h: h.recurrent,
    "not recurrent": lambda h: set(h.all) - h.recurrent,
    "attention trunk": lambda h: WHERE["trunk"](h) - h.recurrent,
    "step": lambda h: h.stepped,
    "off step": lambda h: set(h.all) - h.stepped,
    "step sparse": lambda h: {i for i in h.stepped if i >= h.n_dense},
    "not step sparse": lambda h: set(h.all) - WHERE["step sparse"](h),
    "every": lambda h: h.every,
    "not every": lambda h: set(h.all) - h.every,
    "not first": lambda h: set(h.all) - {0},
    # a file of an MTP head alone has no first block: llama.cpp takes its absence for that
    "not first if mtp": lambda h: set(h.all) - ({0} if h.n_mtp else set()),
    "routed": lambda h: h.routed,
    "not routed": lambda h: set(h.all) - h.routed,
    "decoder": lambda h: set(range(h.at("decoder_block_count", None) or h.n_blocks)),
}

# Those whose tensors have no place in the other blocks.
ONLY = (
    "dense",
    "sparse",
    "sparse trunk",
    "dense or mtp",
    "experts",
    "no experts",
    "shared",
    "shared experts",
    "routed",
    "per layer",
    "no mtp",
    "longrope",
    "no longrope",
    "64 blocks",
)


def needing_blocks(where: str, hparams: LoadedHparams) -> set[int] | None:
    """Return the blocks that need a tensor, None where none does."""
    if where not in WHERE and "&" not in where:
        return None
    return set.intersection(*(WHERE[part](hparams) for part in where.split(" & ")))
