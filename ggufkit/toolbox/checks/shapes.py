"""Rules that compare hparams with the shapes of tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ggufkit.toolbox.checks.llama_cpp import MAX_EXPERTS, ODD_EMBEDDINGS, ONE_ROPE, PLAIN
from ggufkit.toolbox.checks.rule import CheckRule, RawFinding, Severity, named
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.types import TensorType

EMBEDDINGS, OUTPUT = "token_embd.weight", "output.weight"
_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def block_count(subject: CheckedModel) -> Iterator[RawFinding]:
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


def missing_block_tensors(subject: CheckedModel) -> Iterator[RawFinding]:
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


def missing_embeddings(subject: CheckedModel) -> Iterator[RawFinding]:
    """Text models embed tokens."""
    is_text_model = subject.is_model and subject.tokens and subject.blocks
    if subject.readable and is_text_model and EMBEDDINGS not in subject.tensors:
        yield RawFinding(f"{EMBEDDINGS} is missing: the file is incomplete")


def vocab_size(subject: CheckedModel) -> Iterator[RawFinding]:
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


def output_rows(subject: CheckedModel) -> Iterator[RawFinding]:
    """The output has the embeddings' shape."""
    a, b = subject.tensors.get(EMBEDDINGS), subject.tensors.get(OUTPUT)
    if a is None or b is None or not (a.type.is_known and b.type.is_known):
        return
    if subject.architecture in PLAIN and a.shape != b.shape:
        yield RawFinding(f"{OUTPUT} has the shape {b.shape}, but {EMBEDDINGS} {a.shape}")


def embedding_length(subject: CheckedModel) -> Iterator[RawFinding]:
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


def heads(subject: CheckedModel) -> Iterator[RawFinding]:
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


def head_shapes(subject: CheckedModel) -> Iterator[RawFinding]:
    """Q, K and V have heads times head length rows."""
    if subject.architecture not in PLAIN or not subject.is_model:
        return
    embedding = subject.hparam("embedding_length")
    for layer, tensors in sorted(subject.blocks.items()):
        n_heads = subject.hparam("attention.head_count", layer)
        if not n_heads or not embedding:
            continue
        n_kv = subject.hparam("attention.head_count_kv", layer) or n_heads
        head = embedding // n_heads
        wanted = {
            "attn_q.weight": n_heads * (subject.hparam("attention.key_length") or head),
            "attn_k.weight": n_kv * (subject.hparam("attention.key_length") or head),
            "attn_v.weight": n_kv * (subject.hparam("attention.value_length") or head),
        }
        for name, rows in wanted.items():
            info = tensors.get(name)
            if info is not None and info.type.is_known and info.shape and info.shape[0] != rows:
                yield RawFinding(
                    f"blk.{layer}.{name} has {info.shape[0]} rows, by head_count, head_count_kv, "
                    f"key_length and value_length it has {rows}: llama.cpp refuses the file"
                )
                return


def feed_forward(subject: CheckedModel) -> Iterator[RawFinding]:
    """feed_forward_length is the width of the feed-forward."""
    if subject.architecture not in PLAIN or not subject.is_model:
        return
    for layer, tensors in sorted(subject.blocks.items()):
        stated, info = subject.hparam("feed_forward_length", layer), tensors.get("ffn_up.weight")
        if stated and info and info.type.is_known and info.shape and info.shape[0] != stated:
            yield RawFinding(
                f"feed_forward_length is {stated}, but blk.{layer}.ffn_up.weight has "
                f"{info.shape[0]} rows: llama.cpp refuses the file"
            )
            return


def experts(subject: CheckedModel) -> Iterator[RawFinding]:
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


def rope_factors(subject: CheckedModel) -> Iterator[RawFinding]:
    """One factor for every two RoPE dimensions."""
    n_heads, embedding = (
        subject.hparam("attention.head_count", 0),
        subject.hparam("embedding_length"),
    )
    if not n_heads or not embedding or subject.architecture not in ONE_ROPE:
        return
    head = subject.hparam("attention.key_length") or embedding // n_heads
    dims = subject.hparam("rope.dimension_count") or head
    for name in _FACTORS:
        info = subject.tensors.get(name)
        if info is not None and info.type.is_known and info.shape != (dims // 2,):
            yield RawFinding(f"{name} has the shape {info.shape}, expected ({dims // 2},)")


def norm_types(subject: CheckedModel) -> Iterator[RawFinding]:
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
    CheckRule("block-count", _E, "block_count contradicts the tensors", block_count),
    CheckRule(
        "missing-block-tensors", _E, "a block lacks tensors that others have", missing_block_tensors
    ),
    CheckRule("missing-embeddings", _E, "no token embeddings", missing_embeddings),
    CheckRule("vocab-size", _E, "embeddings, tokens and vocab_size differ", vocab_size),
    CheckRule("output-rows", _E, "output and embeddings differ in shape", output_rows),
    CheckRule("embedding-length", _E, "embedding_length contradicts the tensors", embedding_length),
    CheckRule("heads", _E, "head counts do not divide", heads),
    CheckRule("head-shapes", _E, "attention tensors contradict the head counts", head_shapes),
    CheckRule("feed-forward", _E, "feed_forward_length contradicts the tensors", feed_forward),
    CheckRule("experts", _E, "expert counts contradict", experts),
    CheckRule("rope-factors", _E, "rope factors of a wrong length", rope_factors),
    CheckRule("norm-types", _E, "norms or biases that are not F32", norm_types),
)
