"""Rules that compare hparams with the shapes of tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ggufkit.errors import named
from ggufkit.rules.llama_cpp import MAX_EXPERTS, ODD_EMBEDDINGS, PLAIN
from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, RawFinding, Severity
from ggufkit.types import TensorType

EMBEDDINGS, OUTPUT = "token_embd.weight", "output.weight"


def block_count(subject: DescribedModel) -> Iterator[RawFinding]:
    """block_count is the number of blocks."""
    count = subject.hparam("block_count")
    if not (subject.readable and subject.is_model and count and subject.blocks):
        return
    held = max(subject.blocks) + 1
    # Layers that predict further tokens may be left out.
    if held != count and held != count - (subject.hparam("nextn_predict_layers") or 0):
        yield RawFinding(
            f"block_count is {count}, but the tensors are of {held} blocks: llama.cpp refuses "
            "the file; tensors are missing, or the key is wrong"
        )


def missing_block_tensors(subject: DescribedModel) -> Iterator[RawFinding]:
    """Blocks of a plain architecture have the same tensors."""
    if not (subject.readable and subject.is_model and subject.architecture in PLAIN):
        return
    blocks = subject.blocks
    gaps = [str(i) for i in range(max(blocks, default=-1) + 1) if i not in blocks]
    if gaps:
        yield RawFinding(f"block {named(gaps)} has no tensors: convert the model again")
    counts = Counter(name for tensors in blocks.values() for name in tensors)
    for name, n in sorted(counts.items()):
        # Only what most blocks have can be missing in the others.
        if len(blocks) / 2 < n < len(blocks):
            lacking = [f"blk.{i}.{name}" for i, held in sorted(blocks.items()) if name not in held]
            yield RawFinding(f"{named(lacking)} missing, which {n} other blocks have")


def missing_embeddings(subject: DescribedModel) -> Iterator[RawFinding]:
    """Text models embed tokens."""
    is_text_model = subject.is_model and subject.tokens and subject.blocks
    if subject.readable and is_text_model and EMBEDDINGS not in subject.tensors:
        yield RawFinding(f"{EMBEDDINGS} is missing: the file is incomplete")


def vocab_size(subject: DescribedModel) -> Iterator[RawFinding]:
    """One row of embeddings per token."""
    info = subject.tensors.get(EMBEDDINGS)
    n_tokens = 0 if subject.architecture in ODD_EMBEDDINGS else len(subject.tokens)
    is_matrix = info is not None and info.type.is_known and len(info.shape) == 2
    if info is not None and is_matrix and n_tokens and info.shape[0] != n_tokens:
        yield RawFinding(
            f"{EMBEDDINGS} has {info.shape[0]} rows for {n_tokens} tokens: llama.cpp "
            "refuses the file; convert it again with the tokenizer that belongs to it"
        )
    stated = subject.hparam("vocab_size")
    if stated is not None and n_tokens and stated != n_tokens and info is not None:
        yield RawFinding(
            f"vocab_size is {stated}, but the vocabulary has {n_tokens} tokens",
            severity=Severity.WARNING,
        )


def embedding_length(subject: DescribedModel) -> Iterator[RawFinding]:
    """embedding_length is the length of an embedding."""
    info, stated = subject.tensors.get(EMBEDDINGS), subject.hparam("embedding_length")
    if info is None or not info.type.is_known or stated is None or not subject.is_model:
        return
    usual = subject.architecture not in ODD_EMBEDDINGS
    if usual and info.shape and info.shape[-1] != stated:
        yield RawFinding(
            f"embedding_length is {stated}, but {EMBEDDINGS} has rows of {info.shape[-1]}: "
            "llama.cpp refuses the file"
        )


def heads(subject: DescribedModel) -> Iterator[RawFinding]:
    """Heads divide the embedding, and key-value heads the heads."""
    embedding, n_heads = (
        subject.hparam("embedding_length"),
        subject.hparam("attention.head_count", 0),
    )
    n_kv = subject.hparam("attention.head_count_kv", 0)
    if not subject.is_model or not n_heads:
        return
    has_length = subject.hparam("attention.key_length") is not None
    if embedding and embedding % n_heads and not has_length:
        yield RawFinding(
            f"head_count {n_heads} does not divide embedding_length {embedding}, and there is no "
            "attention.key_length"
        )
    if n_kv and (n_kv > n_heads or n_heads % n_kv):
        yield RawFinding(f"head_count_kv {n_kv} does not divide head_count {n_heads}")


def experts(subject: DescribedModel) -> Iterator[RawFinding]:
    """Experts: their number, those in use, and their tensors."""
    count = subject.hparam("expert_count") or 0
    used = subject.hparam("expert_used_count", 0) or 0
    if not subject.is_model:
        return
    if count > MAX_EXPERTS:
        yield RawFinding(f"expert_count is {count}; expected at most {MAX_EXPERTS}")
    if used > count or (count and not used):
        yield RawFinding(
            f"expert_used_count is {used}, expert_count {count}: llama.cpp refuses the file"
        )
    for layer, tensors in sorted(subject.blocks.items()):
        for name, info in tensors.items():
            stack = name.endswith("_exps.weight") and info.type.is_known and len(info.shape) == 3
            if stack and count and info.shape[0] != count:
                yield RawFinding(
                    f"blk.{layer}.{name} stacks {info.shape[0]} experts, expert_count is {count}"
                )
                return


def norm_types(subject: DescribedModel) -> Iterator[RawFinding]:
    """Norms and biases are float32 in every file that llama.cpp makes."""
    wrong = [
        name
        for name, info in subject.tensors.items()
        if len(info.shape) == 1
        and name.endswith(("norm.weight", ".bias"))
        and info.type.is_known
        and info.type is not TensorType.F32
    ]
    if wrong and subject.is_model:
        yield RawFinding(
            f"{named(wrong)}: norms and biases must be F32: ggml aborts on others; convert the "
            "model again"
        )


_E = Severity.ERROR

RULES = (
    CheckRule("block-count", _E, "block_count contradicts the tensors", block_count, refused=True),
    CheckRule(
        "missing-block-tensors",
        Severity.WARNING,
        "a block lacks tensors that others have",
        missing_block_tensors,
    ),
    CheckRule("missing-embeddings", _E, "no token embeddings", missing_embeddings, refused=True),
    CheckRule(
        "vocab-size", _E, "embeddings, tokens and vocab_size differ", vocab_size, refused=True
    ),
    CheckRule(
        "embedding-length",
        _E,
        "embedding_length contradicts the tensors",
        embedding_length,
        refused=True,
    ),
    CheckRule("heads", _E, "head counts do not divide", heads),
    CheckRule("experts", _E, "expert counts contradict", experts, refused=True),
    CheckRule("norm-types", _E, "norms or biases that are not F32", norm_types, refused=True),
)
