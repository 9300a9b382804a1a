"""Rules about tensors: which an architecture has, in which blocks, and of what shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ggufkit.errors import named
from ggufkit.rules.known_tensors import KnownTensor, evaluate, general_name, known_tensors
from ggufkit.rules.loaded_hparams import ONLY, WHERE, LoadedHparams, needing_blocks, own_length
from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, RawFinding, Severity
from ggufkit.rules.shapes import EMBEDDINGS

# NVFP4 weights bring their scales along.
_COMPANIONS = (".scale", ".input_scale")
# One tensor instead of several.
_FUSED = {
    "attn_q": "attn_qkv",
    "attn_k": "attn_qkv",
    "attn_v": "attn_qkv",
    "ffn_gate_exps": "ffn_gate_up_exps",
    "ffn_up_exps": "ffn_gate_up_exps",
}


def _applies(model: DescribedModel) -> bool:
    return model.intact and model.is_model and bool(known_tensors(model.architecture))


def missing_tensors(model: DescribedModel) -> Iterator[RawFinding]:
    """Every block has the tensors that it needs."""
    if not _applies(model):
        return
    hparams = LoadedHparams(model)
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


def _needed(general: str, tensor: KnownTensor, hparams: LoadedHparams) -> Iterator[str]:
    blocks = needing_blocks(tensor.where, hparams)
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
    known, hparams = known_tensors(model.architecture), LoadedHparams(model)
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


def _has_place(name: str, known: Mapping[str, KnownTensor], hparams: LoadedHparams) -> bool:
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
    places = [WHERE[part](hparams) for part in parts if part in ONLY]
    return all(blocks if block is None else block in blocks for blocks in places)


def tensor_shapes(model: DescribedModel) -> Iterator[RawFinding]:
    """Shapes are those that the hparams say."""
    if not _applies(model):
        return
    known, hparams = known_tensors(model.architecture), LoadedHparams(model)
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


def _reason(hparams: LoadedHparams, dims: tuple[str, ...], name: str) -> str:
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
    hparams = LoadedHparams(model)
    windowed = min(hparams.listed("attention.sliding_window_pattern"), default=0)
    for block in (0, windowed):
        key, value = (own_length(hparams, kind, block) for kind in ("key", "value"))
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
