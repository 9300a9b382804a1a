"""DeepSeek V2 and V3, GLM-4.7 Flash: multi-head latent attention, and shared experts.

Source: llama.cpp conversion/deepseek.py DeepseekV2Model, conversion/glm.py Glm4MoeLiteModel;
transformers deepseek_v2, deepseek_v3, glm4_moe_lite.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ggufkit.architectures.glm4moe import NEXTN_WEIGHTS, n_layers_with_mtp
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, decoder, moe_feed_forward, only, replaced
from ggufkit.mapping.config_inverse import Less, shortest_preimage
from ggufkit.mapping.model_header import (
    Both,
    ConfigValues,
    HasHparam,
    HasTensor,
    HparamValue,
    ModelHeader,
    Not,
    inverse_of,
)
from ggufkit.mapping.row_transforms import SliceHeads
from ggufkit.mapping.spec import (
    Always,
    Architecture,
    Config,
    Context,
    ExportSpec,
    Hparam,
    NonZero,
    Weight,
)
from ggufkit.mapping.transforms import Compose, Transpose


def key_heads(context: Context) -> Compose:
    """Return the keys' part of the fused latent projection, one transposed matrix per head."""
    keys, values = (int(context.config[f"{n}_head_dim"]) for n in ("qk_nope", "v"))
    return Compose(SliceHeads(keys + values, 0, keys, stack=True), Transpose())


def value_heads(context: Context) -> SliceHeads:
    """Return the values' part of the fused latent projection, one matrix per head."""
    keys, values = (int(context.config[f"{n}_head_dim"]) for n in ("qk_nope", "v"))
    return SliceHeads(keys + values, keys, keys + values, stack=True)


def low_rank_q(config: Config) -> range:
    """Return the layers whose queries have a low-rank projection: all or none."""
    return range(config["num_hidden_layers"] if config.get("q_lora_rank") else 0)


def full_rank_q(config: Config) -> range:
    """Return the layers whose queries have a full-rank projection."""
    return range(0 if config.get("q_lora_rank") else config["num_hidden_layers"])


def tied_output(config: Config) -> tuple[str, ...]:
    """Return the output, where it is the embeddings."""
    return ("lm_head.weight",) if config.get("tie_word_embeddings") else ()


def ignored_tensors(config: Config) -> tuple[str, ...]:
    """Return what is left out: a tied output, and blocks that predict further tokens."""
    first, n = config["num_hidden_layers"], config.get("num_nextn_predict_layers") or 0
    return (*tied_output(config), *(f"model.layers.{i}.*" for i in range(first, first + n)))


def key_length(config: Config) -> int:
    """Return the length of a compressed key."""
    return int(config["kv_lora_rank"] + config["qk_rope_head_dim"])


@inverse_of(Less("qk_nope_head_dim", "rope.dimension_count"))
def key_length_mla(config: Config) -> int:
    """Return the length of a key once it is decompressed."""
    return int(config["qk_nope_head_dim"] + config["qk_rope_head_dim"])


def _multiplier_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    found = shortest_preimage(value / 0.1, lambda mscale: 0.1 * mscale)
    # llama.cpp takes the two for the same
    return {"rope_scaling.mscale_all_dim": found, "rope_scaling.mscale": found}


@inverse_of(_multiplier_to_config)
def log_multiplier(config: Config) -> float | None:
    """Return yarn's factor for attention; llama.cpp wants a tenth of the checkpoint's."""
    mscale = rope.full(config).get("mscale_all_dim")
    return None if mscale is None else 0.1 * mscale


_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.self_attn"
_SAME = ("token_embd", "output_norm", "output", "attn_norm", "attn_output", "ffn_norm")

_NORMED_PROBABILITIES = {
    "norm_topk_prob": lambda header: bool(header.hparams.get("expert_weights_norm")),
    "num_key_value_heads": HparamValue("attention.head_count"),
}
_CORRECTED = {**_NORMED_PROBABILITIES, "topk_method": "noaux_tc"}

DEEPSEEK2 = Architecture(
    name="deepseek2",
    title="DeepSeek V2, V2.5, Lite",
    hf_classes=("DeepseekV2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "first_k_dense_replace": 0,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "moe_intermediate_size": 1407,
        "routed_scaling_factor": 1.0,
    },
    hparams=(
        # attention is over the compressed keys and values, of which there is one head
        *replaced(
            HPARAMS,
            Hparam("attention.head_count_kv", Always(1)),
            Hparam("attention.key_length", key_length),
            Hparam("attention.value_length", "kv_lora_rank"),
        ),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.q_lora_rank", "q_lora_rank"),
        Hparam("attention.kv_lora_rank", "kv_lora_rank"),
        Hparam("attention.key_length_mla", key_length_mla),
        Hparam("attention.value_length_mla", "v_head_dim"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "n_shared_experts"),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", NonZero("norm_topk_prob")),
        Hparam("rope.dimension_count", "qk_rope_head_dim"),
        Hparam("rope.scaling.yarn_log_multiplier", log_multiplier),
    ),
    weights=(
        *only(decoder(), *_SAME),
        Weight("blk.{i}.attn_q", f"{_ATTENTION}.q_proj", in_layers=full_rank_q),
        Weight("blk.{i}.attn_q_a", f"{_ATTENTION}.q_a_proj", in_layers=low_rank_q),
        Weight("blk.{i}.attn_q_a_norm", f"{_ATTENTION}.q_a_layernorm", in_layers=low_rank_q),
        Weight("blk.{i}.attn_q_b", f"{_ATTENTION}.q_b_proj", in_layers=low_rank_q),
        Weight("blk.{i}.attn_kv_a_mqa", f"{_ATTENTION}.kv_a_proj_with_mqa"),
        Weight("blk.{i}.attn_kv_a_norm", f"{_ATTENTION}.kv_a_layernorm"),
        Weight("blk.{i}.attn_k_b", f"{_ATTENTION}.kv_b_proj", key_heads),
        Weight("blk.{i}.attn_v_b", f"{_ATTENTION}.kv_b_proj", value_heads),
        *moe_feed_forward(
            router_bias="gate.e_score_correction_bias",
            shared="shared_experts",
            dense="first_k_dense_replace",
            optional=("router_bias",),
        ),
    ),
    ignore=ignored_tensors,
    export=ExportSpec(
        "deepseek_v2", config=_NORMED_PROBABILITIES, matches=Not(HasTensor("exp_probs_b.bias"))
    ),
)

DEEPSEEK3 = replace(
    DEEPSEEK2,
    title="DeepSeek V3, R1",
    hf_classes=("DeepseekV3ForCausalLM",),
    defaults={
        **DEEPSEEK2.defaults,
        "max_position_embeddings": 4096,
        "first_k_dense_replace": 3,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "norm_topk_prob": True,
        "moe_intermediate_size": 2048,
        "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 1,
    },
    export=ExportSpec(
        "deepseek_v3",
        config=_CORRECTED,
        matches=Both(HasTensor("exp_probs_b.bias"), HasHparam("expert_gating_func")),
    ),
)

_LENGTHS = ("attention.key_length", "attention.value_length")


def _with_late_lengths(hparams: tuple[Hparam | str, ...]) -> Iterator[Hparam | str]:
    """Yield DeepSeek's hparams; without a head_dim, lengths come after those of latents."""
    by_key = {h.key: h for h in hparams if isinstance(h, Hparam)}
    for hparam in hparams:
        key = hparam.key if isinstance(hparam, Hparam) else ""
        if key not in _LENGTHS:
            yield hparam
        if key == "attention.kv_lora_rank":
            yield from (by_key[name] for name in _LENGTHS)


GLM4MOE_LITE = replace(
    DEEPSEEK3,
    title="GLM-4.7 Flash",
    hf_classes=("Glm4MoeLiteForCausalLM",),
    tokenizer="glm4_moe",
    defaults={
        **DEEPSEEK3.defaults,
        "max_position_embeddings": 202752,
        "rms_norm_eps": 1e-5,
        "first_k_dense_replace": 1,
        "n_routed_experts": 64,
        "num_experts_per_tok": 4,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 768,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "moe_intermediate_size": 1536,
        "routed_scaling_factor": 1.8,
        "num_nextn_predict_layers": 0,
    },
    hparams=(
        *_with_late_lengths(replaced(DEEPSEEK3.hparams, Hparam("block_count", n_layers_with_mtp))),
        Hparam("nextn_predict_layers", NonZero("num_nextn_predict_layers")),
    ),
    weights=(*DEEPSEEK3.weights, *NEXTN_WEIGHTS),
    ignore=tied_output,
    export=ExportSpec(
        "glm4_moe_lite",
        config=_CORRECTED,
        matches=Both(HasTensor("exp_probs_b.bias"), Not(HasHparam("expert_gating_func"))),
    ),
)
