"""Rules about tensors: which an architecture has, in which blocks, and of what shape.

``llama_tensors.json`` says it for architectures that `ggufkit.architectures` covers. It was
measured with llama.cpp's loader, on tiny files: what it refuses to load without, and the shapes
that it expects of every tensor as each hparam is changed (``check_tensor_dims`` of
``llama_model_loader``). tests/real/test_rules.py compares it with the loader again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf, prod
from pathlib import Path
from typing import Any

from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, RawFinding, Severity, named
from ggufkit.rules.shapes import EMBEDDINGS

_BLOCK = re.compile(r"(?<![a-z])blk\.(\d{1,6})\.", re.ASCII)
# NVFP4 weights bring their scales along.
_COMPANIONS = (".scale", ".input_scale")
_HEAD_LENGTHS = ("attention.key_length", "attention.value_length")
# Those of MLA, which llama.cpp takes together or not at all.
_MLA_LENGTHS = ("attention.key_length_mla", "attention.value_length_mla")
_EXPERT_WIDTH = "expert_feed_forward_length"
# What llama.cpp takes for 0 where it is not said.
_ZERO = ("feed_forward_length", "attention.head_count", "attention.q_lora_rank")
# One tensor instead of several.
_FUSED = {
    "attn_q": "attn_qkv",
    "attn_k": "attn_qkv",
    "attn_v": "attn_qkv",
    "ffn_gate_exps": "ffn_gate_up_exps",
    "ffn_up_exps": "ffn_gate_up_exps",
}
_MAX_BLOCKS = 1 << 14


@dataclass(frozen=True)
class KnownTensor:
    """A tensor of an architecture, as in ``llama_tensors.json``.

    Attributes
    ----------
    where : str
        The blocks that need it, keys of `_WHERE` joined by ``&``; ``-`` where none does, before
        a key where only these can have it.
    dims : tuple of str
        Its shape, in numpy order: sums of products of hparams, or others behind ``|`` where
        they are 0 or absent; ``?`` where that is not known.
    """

    where: str
    dims: tuple[str, ...]


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    path = Path(__file__).with_name("llama_tensors.json")
    found: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def known_tensors(architecture: str) -> Mapping[str, KnownTensor]:
    """Return an architecture's tensors by name, ``{i}`` for the block; empty if it is unknown."""
    found = {}
    for name, line in _table().get(architecture, {}).items():
        where, _, dims = line.partition(": ")
        found[name] = KnownTensor(where, tuple(dims.split(", ")))
    return found


def general_name(name: str) -> tuple[str, int | None]:
    """Return a tensor's name with ``{i}`` for its block, and the block."""
    match = _BLOCK.search(name)
    if match is None:
        return name, None
    return f"{name[: match.start()]}blk.{{i}}.{name[match.end() :]}", int(match[1])


class _LoadedHparams:
    """The hparams of a model, as llama.cpp completes them."""

    def __init__(self, model: DescribedModel) -> None:
        self.model = model
        self.n_blocks = min(model.hparam("block_count") or 0, _MAX_BLOCKS)
        self.n_mtp = min(model.hparam("nextn_predict_layers") or 0, self.n_blocks)
        self.n_trunk = self.n_blocks - self.n_mtp
        self.n_dense = min(model.hparam("leading_dense_block_count") or 0, self.n_blocks)

    def raw(self, key: str) -> Any:
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
        return range(self.n_blocks)

    def listed(self, key: str) -> set[int]:
        """Return the blocks whose item of a list is not zero or false; all, of one such value."""
        value = self.raw(key)
        if isinstance(value, list):
            return {i for i in self.all if i < len(value) and value[i]}
        return set(self.all) if value else set()

    @cached_property
    def mla(self) -> set[int]:
        return set.intersection(*map(self.listed, _MLA_LENGTHS))

    @cached_property
    def recurrent(self) -> set[int]:
        if isinstance(self.raw("attention.recurrent_layers"), list):
            return self.listed("attention.recurrent_layers")
        interval = self.at("full_attention_interval", None) or 4
        return {i for i in range(self.n_trunk) if (i + 1) % interval}

    @cached_property
    def with_kv(self) -> set[int]:
        key = "attention.head_count_kv"
        return self.listed(key if self.raw(key) is not None else "attention.head_count")

    @cached_property
    def stepped(self) -> set[int]:
        step = self.at("interleave_moe_layer_step", None)
        return {i for i in self.all if (i + 1) % (1 if step is None else step or i + 2) == 0}

    @cached_property
    def every(self) -> set[int]:
        step = self.at("moe_every_n_layers", None) or 0
        return {i for i in self.all if step and i % step == 1}

    @cached_property
    def routed(self) -> set[int]:
        return {i for i, held in self.model.blocks.items() if "ffn_gate_inp.weight" in held}


def _own_length(hparams: _LoadedHparams, kind: str, block: int | None) -> int | None:
    """``n_embd_head_k`` or ``_v`` of a block, where those with a sliding window have their own."""
    listed = hparams.listed("attention.sliding_window_pattern")
    return hparams.value(f"attention.{kind}_length{'_swa' if block in listed else ''}", block)


def _expert_width(hparams: _LoadedHparams, block: int | None) -> int | None:
    """``n_ff_exp``, where the file does not say it."""
    width = hparams.value("feed_forward_length", block)
    used = hparams.at("expert_used_count", block)
    return width // used if width is not None and used else None


def _head_length(hparams: _LoadedHparams, _: int | None) -> int | None:
    """``n_embd_head_k`` and ``n_embd_head_v``, unless the file says them."""
    width, heads = hparams.at("embedding_length", None), hparams.at("attention.head_count", None)
    return None if width is None or heads is None else width // heads if heads else 0


_MADE: Mapping[str, Callable[[_LoadedHparams, int | None], int | None]] = {
    "n_tokens": lambda h, _: len(h.model.tokens) or None,
    "n_token_types": lambda h, _: h.model.integer("tokenizer.ggml.token_type_count"),
    "n_labels": lambda h, _: len(h.raw("classifier.output_labels") or (1,)),
    "attention.head_count_kv": lambda h, i: h.at("attention.head_count", i),
    "attention.key_length": _head_length,
    "attention.value_length": _head_length,
    "rope.dimension_count": lambda h, i: h.value("attention.key_length", i),
    "head_length": lambda h, i: _own_length(h, "key", i),
    "head_value_length": lambda h, i: _own_length(h, "value", i),
    _EXPERT_WIDTH: _expert_width,
    "attention.key_length_mla": lambda h, i: h.value("attention.key_length", i),
    "attention.value_length_mla": lambda h, i: h.value("attention.value_length", i),
}

# The blocks that need a tensor.
_WHERE: Mapping[str, Callable[[_LoadedHparams], set[int]]] = {
    "all": lambda h: set(h.all),
    "trunk": lambda h: set(range(h.n_trunk)),
    "mtp": lambda h: set(range(h.n_trunk, h.n_blocks)),
    "dense": lambda h: set(range(h.n_dense)),
    "sparse": lambda h: set(range(h.n_dense, h.n_blocks)),
    "sparse trunk": lambda h: set(range(h.n_dense, h.n_trunk)),
    "dense or mtp": lambda h: _WHERE["dense"](h) | _WHERE["mtp"](h),
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
    "no longrope": lambda h: set(h.all) - _WHERE["longrope"](h),
    # of Command R, the larger ones
    "64 blocks": lambda h: set(h.all) if h.n_blocks >= 64 else set(),
    "recurrent": lambda h: h.recurrent,
    "not recurrent": lambda h: set(h.all) - h.recurrent,
    "attention trunk": lambda h: _WHERE["trunk"](h) - h.recurrent,
    "step": lambda h: h.stepped,
    "off step": lambda h: set(h.all) - h.stepped,
    "step sparse": lambda h: {i for i in h.stepped if i >= h.n_dense},
    "not step sparse": lambda h: set(h.all) - _WHERE["step sparse"](h),
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
_ONLY = (
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


def _blocks(where: str, hparams: _LoadedHparams) -> set[int] | None:
    """Return the blocks that need a tensor, None where none does."""
    if where not in _WHERE and "&" not in where:
        return None
    return set.intersection(*(_WHERE[part](hparams) for part in where.split(" & ")))


def evaluate(formula: str, value: Callable[[str], int | None]) -> int | None:
    """Return what a formula of the table is, None if it depends on what is not known.

    Parameters
    ----------
    formula : str
        A sum (``+``) of products (``*``) of integers and hparams, each divided (``//``) by one
        or not; or several, the first that is neither 0 nor unknown (``|``).
    value : callable
        From the name of an hparam to its value.

    Examples
    --------
    >>> evaluate("a*b//2+3*c", {"a": 3, "b": 5, "c": 1}.get)
    10
    >>> evaluate("c|b", {"b": 5, "c": 0}.get)
    5
    """
    found = [_sum(option, value) for option in formula.split("|")]
    return next(filter(None, found), found[-1])


def _sum(formula: str, value: Callable[[str], int | None]) -> int | None:
    total = 0
    for term in formula.split("+"):
        product, _, divisor = term.partition("//")
        factors = [_number(part, value) for part in product.split("*")]
        by = _number(divisor, value) if divisor else 1
        known = [factor for factor in factors if factor is not None]
        if len(known) < len(factors) or not by:
            return None
        total += prod(known) // by
    return total


def _number(word: str, value: Callable[[str], int | None]) -> int | None:
    return int(word) if word.lstrip("-").isdigit() else None if word == "?" else value(word)


def _applies(model: DescribedModel) -> bool:
    return model.intact and model.is_model and bool(known_tensors(model.architecture))


def missing_tensors(model: DescribedModel) -> Iterator[RawFinding]:
    """Every block has the tensors that it needs."""
    if not _applies(model):
        return
    hparams = _LoadedHparams(model)
    missing = [
        name
        for general, tensor in known_tensors(model.architecture).items()
        for name in _needed(general, tensor, hparams)
        if name not in model.tensors
        and _fused(name) not in model.tensors
        and not (name == EMBEDDINGS and model.blocks)  # rule missing-embeddings speaks of it
    ]
    if missing:
        yield RawFinding(
            f"{named(missing)} missing, which llama.cpp needs: it refuses the file; a shard is "
            "missing, or config.json is of another model"
        )


def _needed(general: str, tensor: KnownTensor, hparams: _LoadedHparams) -> Iterator[str]:
    blocks = _blocks(tensor.where, hparams)
    if blocks is None:
        return
    if "{i}" not in general:
        if blocks or not hparams.n_blocks:
            yield general
        return
    # rule block-count speaks of blocks that are missing at the end
    held = max(hparams.model.blocks, default=-1) + 1
    for block in sorted(blocks):
        if block >= held != hparams.n_trunk and general.startswith("blk."):
            break
        is_mtp = block >= hparams.n_trunk and not general.startswith("dec.")
        if hparams.has_mtp if is_mtp else hparams.has_trunk:
            yield general.replace("{i}", str(block))


def _fused(name: str) -> str:
    head, _, rest = name.rpartition(".")
    start, _, part = head.rpartition(".")
    return f"{start}.{_FUSED[part]}.{rest}" if part in _FUSED else name


def surplus_tensors(model: DescribedModel) -> Iterator[RawFinding]:
    """No tensor is one that the architecture does not have."""
    if not _applies(model):
        return
    known, hparams = known_tensors(model.architecture), _LoadedHparams(model)
    surplus = [
        name
        for name in model.tensors
        if not name.endswith(_COMPANIONS) and not _has_place(name, known, hparams)
    ]
    if surplus:
        yield RawFinding(
            f"{named(surplus)}: {model.architecture} has no such tensor, and llama.cpp refuses "
            "files with tensors that it does not use"
        )


def _has_place(name: str, known: Mapping[str, KnownTensor], hparams: _LoadedHparams) -> bool:
    """Whether an architecture has a tensor, in this block."""
    general, block = general_name(name)
    if general.startswith("blk.") and (block or 0) >= hparams.n_blocks:
        return True  # rule block-count speaks of it
    if ".nextn." in general:
        return block is not None and block >= hparams.n_trunk
    if general not in known or (block or 0) >= hparams.limit(general):
        return False
    if block is not None and block >= hparams.n_trunk:
        return True
    parts = known[general].where.removeprefix("- ").split(" & ")
    places = [_WHERE[part](hparams) for part in parts if part in _ONLY]
    return all(blocks if block is None else block in blocks for blocks in places)


def tensor_shapes(model: DescribedModel) -> Iterator[RawFinding]:
    """Shapes are those that the hparams say."""
    if not _applies(model):
        return
    known, hparams = known_tensors(model.architecture), _LoadedHparams(model)
    wrong = []
    for name, info in model.tensors.items():
        general, block = general_name(name)
        dims = known[general].dims if general in known else ("?",)
        if dims == ("?",) or not info.type.is_known:
            continue
        expected = [evaluate(dim, lambda key, i=block: hparams.value(key, i)) for dim in dims]  # type: ignore[misc]
        if not _fits(info.shape, expected):
            wrong.append((name, info.shape, expected, dims))
    if any(name == EMBEDDINGS for name, *_ in wrong):
        return  # rules vocab-size and embedding-length speak of it
    for name, shape, expected, dims in wrong[:1]:
        more = f"; so do {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        yield RawFinding(
            f"{name} has the shape {shape}, but {_reason(hparams, dims, name)} make "
            f"{_shown(expected)}: llama.cpp refuses the file; config.json or the tokenizer is of "
            f"another model{more}"
        )


def _fits(shape: tuple[int, ...], expected: list[int | None]) -> bool:
    """Whether a shape is as expected, but for leading dimensions of 1."""
    n = max(len(shape), len(expected))
    have = (1,) * (n - len(shape)) + shape
    want = [1] * (n - len(expected)) + expected
    return all(w is None or h == w for h, w in zip(have, want, strict=True))


def _reason(hparams: _LoadedHparams, dims: tuple[str, ...], name: str) -> str:
    """Return the keys that a shape follows from, with their values."""
    block = general_name(name)[1]
    words = dict.fromkeys(word for dim in dims for word in re.findall(r"[a-z][\w.]*", dim))
    told = {word: hparams.value(word, block) for word in words}
    keys = hparams.model.config_keys
    return ", ".join(
        f"{word} {value}{f' (config.json: {keys[word]})' if word in keys else ''}"
        for word, value in told.items()
        if value is not None
    )


def _shown(expected: list[int | None]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in expected)})"


# Architectures whose state space is twice as wide as the embeddings.
_EXPANDED = ("mamba", "jamba")


def expansion(model: DescribedModel) -> Iterator[RawFinding]:
    """Mamba's blocks are twice as wide as the embeddings."""
    inner, width = model.hparam("ssm.inner_size"), model.hparam("embedding_length")
    if model.architecture in _EXPANDED and inner is not None and width and inner != 2 * width:
        yield RawFinding(
            f"ssm.inner_size is {inner}, embedding_length {width}: llama.cpp supports blocks that "
            "are twice as wide only"
        )


# Architectures whose heads have keys as long as values.
_EQUAL_HEADS = ("gemma4",)


def head_lengths(model: DescribedModel) -> Iterator[RawFinding]:
    """Gemma 4's keys are as long as its values, in blocks with a sliding window and the first."""
    if model.architecture not in _EQUAL_HEADS or not model.is_model:
        return
    hparams = _LoadedHparams(model)
    windowed = min(hparams.listed("attention.sliding_window_pattern"), default=0)
    for block in (0, windowed):
        key, value = (_own_length(hparams, kind, block) for kind in ("key", "value"))
        if key != value:
            yield RawFinding(
                f"attention.key_length of block {block} is {key}, but attention.value_length "
                f"{value}: llama.cpp refuses the file, they have to be equal"
            )
            return


RULES = (
    CheckRule(
        "missing-tensors",
        Severity.ERROR,
        "a tensor that llama.cpp needs is missing",
        missing_tensors,
        refused=True,
    ),
    CheckRule(
        "surplus-tensors",
        Severity.ERROR,
        "a tensor that the architecture does not have",
        surplus_tensors,
        refused=True,
    ),
    CheckRule(
        "head-lengths",
        Severity.ERROR,
        "keys and values of unequal length",
        head_lengths,
        refused=True,
    ),
    CheckRule(
        "expansion", Severity.ERROR, "a state space of an odd width", expansion, refused=True
    ),
    CheckRule(
        "tensor-shapes",
        Severity.ERROR,
        "shapes contradict the hparams",
        tensor_shapes,
        refused=True,
    ),
)
