"""Faults of metadata, shapes, names, weights and compatibility."""

from __future__ import annotations

import struct

import numpy as np

from tests.build import ARR, F32, F64, STR, U8, U32, U64
from tests.toolbox.faults import (
    EMBEDDING,
    F16_TYPE,
    FFN,
    VOCAB,
    Model,
    drops,
    fault,
    quantize,
    sets,
    weights,
)

UP = "blk.1.ffn_up.weight"

drops("missing-architecture", "general.architecture", name="no_architecture")
drops("missing-name", "general.name", name="no_name")
drops("missing-file-type", "general.file_type", name="no_file_type")
drops("missing-key", "llama.attention.layer_norm_rms_epsilon", name="no_epsilon")
drops("missing-key", "llama.context_length", name="no_context_length")
sets("unknown-architecture", "general.architecture", STR, "lama", name="misspelt_architecture")
sets("unknown-file-type", "general.file_type", U32, 33, name="retired_file_type")
sets("unknown-file-type", "general.file_type", U32, 777, name="file_type_777")
sets("wrong-value-type", "llama.block_count", U64, 2, name="block_count_as_u64")
sets("wrong-value-type", "llama.rope.freq_base", F64, 1e4, name="freq_base_as_f64")
sets("wrong-value-type", "llama.attention.head_count", STR, "4", name="head_count_as_text")
sets("wrong-value-type", "general.license", U32, 1, name="license_as_number")
sets("block-count", "llama.block_count", U32, 3, name="three_blocks")
sets("block-limit", "llama.block_count", U32, 0, name="no_blocks")
sets("odd-context", "llama.context_length", U32, 0, name="context_of_0")
sets("odd-context", "llama.context_length", U32, 2**31, name="huge_context")
sets("rope-base", "llama.rope.freq_base", F32, 0.0, name="freq_base_of_0")
sets("rope-base", "llama.rope.freq_base", F32, float("inf"), name="infinite_freq_base")
sets("rope-scaling", "llama.rope.scaling.factor", F32, 8.0, name="scaling_factor_alone")
sets("rope-scaling-type", "llama.rope.scaling.type", STR, "llama3", name="unknown_scaling")
sets("rope-scaling", "llama.rope.scaling.type", STR, "linear", name="scaling_without_factor")
sets("rope-dimensions", "llama.rope.dimension_count", U32, 8, name="half_of_a_head")
sets("vocab-size", "llama.vocab_size", U32, 299, name="vocab_size_of_299")
sets("embedding-length", "llama.embedding_length", U32, 80, name="other_embedding_length",
     also=("rope-dimensions",))  # fmt: skip
sets("heads", "llama.attention.head_count_kv", U32, 3, name="three_kv_heads",
     also=("tensor-shapes",))  # fmt: skip
sets("tensor-shapes", "llama.attention.head_count_kv", U32, 4, name="as_many_kv_heads")
sets("tensor-shapes", "llama.feed_forward_length", U32, 100, name="other_feed_forward")
sets("experts", "llama.expert_used_count", U32, 2, name="experts_used_of_none")
sets("size-label", "general.size_label", STR, "7B", name="label_7b")
sets("long-string", "general.description", STR, "x" * ((16 << 20) + 1), name="16_mib_of_text")
sets("long-array", "x.zeros", ARR, struct.pack("<IQ", U8, (64 << 20) + 1) + bytes((64 << 20) + 1),
     name="64_mi_items")  # fmt: skip


def quantized(model: Model) -> None:
    quantize(model, UP)


@fault("missing-quantization-version")
def no_quantization_version(model: Model) -> None:
    quantized(model)
    del model.pairs["general.quantization_version"]


@fault("wrong-file-type")
def file_type_of_another_rung(model: Model) -> None:
    quantized(model)
    model.pairs["general.file_type"] = (U32, 15)
    model.name = model.name.replace("Q8_0", "Q4_K_M")


def three_blocks_of_tensors(model: Model) -> None:
    source = weights(EMBEDDING, FFN, seed=5)
    for name in [n for n in model.tensors if n.startswith("blk.0.")]:
        model.tensors[name.replace("blk.0.", "blk.2.")] = model.tensors[name]
    model.tensors["blk.2.ffn_up.weight"] = source
    model.pairs["llama.block_count"] = (U32, 3)
    del model.pairs["general.size_label"]


@fault("missing-tensors", also=("missing-block-tensors",))
def lost_tensor(model: Model) -> None:
    three_blocks_of_tensors(model)
    del model.tensors["blk.1.ffn_norm.weight"]


@fault("missing-block-tensors")
def lost_bias(model: Model) -> None:
    three_blocks_of_tensors(model)
    for block in (0, 2):
        model.tensors[f"blk.{block}.attn_q.bias"] = weights(EMBEDDING, seed=block)


@fault("missing-embeddings")
def lost_embeddings(model: Model) -> None:
    del model.tensors["token_embd.weight"]
    del model.pairs["general.size_label"]


@fault("vocab-size")
def padded_embeddings(model: Model) -> None:
    model.tensors["token_embd.weight"] = weights(EMBEDDING, VOCAB + 20)


@fault("tensor-shapes")
def short_output(model: Model) -> None:
    model.tensors["output.weight"] = weights(EMBEDDING, VOCAB - 1, seed=4)


@fault("tensor-shapes")
def too_many_rope_factors(model: Model) -> None:
    model.tensors["rope_freqs.weight"] = weights(16)


@fault("surplus-tensors")
def unknown_tensor(model: Model) -> None:
    model.tensors["blk.0.ffn_side.weight"] = weights(EMBEDDING)
    del model.pairs["general.size_label"]


@fault("array-lengths")
def three_kv_heads_for_two_blocks(model: Model) -> None:
    model.pairs["llama.attention.head_count_kv"] = (ARR, struct.pack("<IQ3I", U32, 3, 2, 2, 2))


@fault("expert-groups")
def groups_of_no_experts(model: Model) -> None:
    model.pairs["llama.expert_group_count"] = (U32, 2)


@fault("expansion", also=("missing-key", "missing-tensors", "surplus-tensors"))
def mamba_of_another_width(model: Model) -> None:
    model.pairs = {key.replace("llama.", "mamba."): pair for key, pair in model.pairs.items()}
    model.pairs["general.architecture"] = (STR, "mamba")
    model.pairs["mamba.ssm.inner_size"] = (U32, EMBEDDING)


@fault("head-lengths", also=("missing-key", "missing-tensors", "tensor-shapes"))
def gemma_of_unequal_heads(model: Model) -> None:
    model.pairs = {key.replace("llama.", "gemma4."): pair for key, pair in model.pairs.items()}
    model.pairs["general.architecture"] = (STR, "gemma4")
    model.pairs["gemma4.attention.key_length"] = (U32, 16)
    model.pairs["gemma4.attention.value_length"] = (U32, 17)


@fault("norm-types")
def norm_in_f16(model: Model) -> None:
    raw = np.ones(EMBEDDING, np.float16).tobytes()
    model.tensors["blk.0.attn_norm.weight"] = ([EMBEDDING], F16_TYPE, raw)


@fault("not-finite")
def nan_weight(model: Model) -> None:
    ne, type_id, raw = model.tensors[UP]
    values = np.frombuffer(raw, np.float32).copy()
    values[5 * EMBEDDING + 3] = np.nan
    model.tensors[UP] = (ne, type_id, values.tobytes())


@fault("not-finite")
def infinite_scale(model: Model) -> None:
    quantized(model)
    ne, type_id, raw = model.tensors[UP]
    infinite = np.float16(np.inf).tobytes()
    model.tensors[UP] = (ne, type_id, raw[: 3 * 34] + infinite + raw[3 * 34 + 2 :])


@fault("all-zero")
def lost_weights(model: Model) -> None:
    ne, type_id, raw = model.tensors[UP]
    model.tensors[UP] = (ne, type_id, bytes(len(raw)))


@fault("all-zero")
def scales_of_zero(model: Model) -> None:
    quantized(model)
    ne, type_id, raw = model.tensors[UP]
    blocks = [bytes(2) + raw[i + 2 : i + 34] for i in range(0, len(raw), 34)]
    model.tensors[UP] = (ne, type_id, b"".join(blocks))


@fault("float16-limit")
def scale_at_the_limit(model: Model) -> None:
    quantized(model)
    ne, type_id, raw = model.tensors[UP]
    model.tensors[UP] = (ne, type_id, np.float16(65504).tobytes() + raw[2:])


@fault("tied-twice")
def tied_twice(model: Model) -> None:
    model.tensors["output.weight"] = model.tensors["token_embd.weight"]


@fault("file-name")
def name_without_size(model: Model) -> None:
    model.name = "model.gguf"


@fault("name-encoding")
def name_of_another_rung(model: Model) -> None:
    model.name = model.name.replace("F32", "Q4_K_M")


@fault("young-types")
def mxfp4(model: Model) -> None:
    quantized(model)
    block = b"\x78" + bytes(range(16))
    model.tensors["blk.1.ffn_gate.weight"] = ([EMBEDDING, FFN], 39, block * (2 * FFN))


@fault("internal-types")
def q8_1(model: Model) -> None:
    quantized(model)
    block = np.float16([0.01, 0.02]).tobytes() + bytes(range(32))
    model.tensors["blk.1.ffn_gate.weight"] = ([EMBEDDING, FFN], 9, block * (2 * FFN))


@fault("odd-alignment")
def aligned_to_64(model: Model) -> None:
    model.pairs["general.alignment"] = (U32, 64)
    model.alignment = 64
