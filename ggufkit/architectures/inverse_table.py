"""What a checkpoint says that its GGUF file does not: one line of facts per architecture.

Found by the first class of an `Architecture`. Most only need transformers' ``model_type``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ggufkit.architectures import jamba
from ggufkit.architectures.inverse_of_encoders import ENCODERS
from ggufkit.architectures.registry import architectures_named
from ggufkit.mapping.config_inverse import ModelHeader
from ggufkit.mapping.export_spec import (
    NULL,
    ExportSpec,
    both,
    either,
    has,
    has_biases,
    has_hparam,
    has_mlp_biases,
    has_true,
    hparam,
    lacks,
    lacks_hparam,
    rows,
)
from ggufkit.mapping.spec import Architecture, Renames


def _ahead(known: ModelHeader) -> Renames:
    """Return the names of blocks that look ahead, which come after the others in the file."""
    n_mtp_layers = int(known.hparams.get("nextn_predict_layers") or 1)
    n = int(known.hparams.get("block_count") or 0) - n_mtp_layers
    return (
        (rf"^model\.layers\.{n}\.mtp\.", "mtp."),
        *(
            (rf"^model\.layers\.{n + i}\.", f"mtp.layers.{i}.")
            for i in range(min(n_mtp_layers, 64))
        ),
    )


def _ministral(value: Any) -> Callable[[ModelHeader], Any]:
    """Return what is Ministral 3's, of files of Mistral 3 whose attention has a temperature."""
    return lambda known: value if "attention.temperature_scale" in known.hparams else None


def _positions(known: ModelHeader) -> str:
    """Return whether Granite 4 rotates queries and keys."""
    return "rope" if known.hparams.get("rope.scaling.finetuned") else "nope"


def _sparse_blocks(known: ModelHeader) -> tuple[int, int]:
    """Return the first of Jamba's blocks with experts, and every how many have them."""
    n = int(known.hparams.get("block_count") or 0)
    found = [i for i in range(n) if f"blk.{i}.ffn_gate_inp.weight" in known.shapes]
    return jamba.first_and_period(found, n)


_SPARSE_BLOCKS = {
    "expert_layer_offset": lambda known: _sparse_blocks(known)[0],
    "expert_layer_period": lambda known: _sparse_blocks(known)[1],
}
_BIASES = {"attention_bias": has_biases, "mlp_bias": has_mlp_biases}
_NORMED_PROBABILITIES = {
    "norm_topk_prob": lambda known: bool(known.hparams.get("expert_weights_norm")),
    "num_key_value_heads": hparam("attention.head_count"),
}
_CORRECTED = {**_NORMED_PROBABILITIES, "topk_method": "noaux_tc"}
_MAMBA_BIASES = {
    "mamba_conv_bias": has("ssm_conv1d.bias"),
    "mamba_proj_bias": has("ssm_in.bias"),
}
_INTERLEAVED = {"rope_scaling.mrope_interleaved": True}
_UNDER_LANGUAGE_MODEL = ((r"^model\.", "model.language_model."),)
_EXPERTS = "model.layers.{i}.mlp.experts"
_UNDER_TRANSFORMER = ((r"^(?!lm_head)", "transformer."),)

FACTS: Mapping[str, ExportSpec] = {
    **ENCODERS,
    "ArceeForCausalLM": ExportSpec("arcee", config=_BIASES),
    "BaichuanForCausalLM": ExportSpec("baichuan"),
    "BloomForCausalLM": ExportSpec("bloom", config={"seq_length": hparam("context_length")}),
    "CohereForCausalLM": ExportSpec("cohere", config={"use_qk_norm": has("attn_q_norm.weight")}),
    "Cohere2ForCausalLM": ExportSpec("cohere2"),
    "DeepseekForCausalLM": ExportSpec("deepseek"),
    "DeepseekV2ForCausalLM": ExportSpec(
        "deepseek_v2",
        config=_NORMED_PROBABILITIES,
        fits=lacks("exp_probs_b.bias"),
    ),
    "DeepseekV3ForCausalLM": ExportSpec(
        "deepseek_v3",
        config=_CORRECTED,
        fits=both(has("exp_probs_b.bias"), has_hparam("expert_gating_func")),
    ),
    "DreamModel": ExportSpec("Dream"),
    "Ernie4_5_ForCausalLM": ExportSpec("ernie4_5", hf_class="Ernie4_5ForCausalLM"),
    "Ernie4_5_MoeForCausalLM": ExportSpec("ernie4_5_moe"),
    "ExaoneForCausalLM": ExportSpec("exaone"),
    "Exaone4ForCausalLM": ExportSpec("exaone4"),
    "FalconForCausalLM": ExportSpec(
        "falcon",
        config={"new_decoder_architecture": has("attn_norm_2.weight")},
        beside={"transformer.h.{i}.ln_mlp": "attn_norm_2.weight"},
    ),
    "FalconH1ForCausalLM": ExportSpec(
        "falcon_h1",
        # its multipliers are in the weights
        config={
            **_MAMBA_BIASES,
            "attention_bias": has_biases,
            "mlp_bias": has_mlp_biases,
            "mamba_n_heads": hparam("ssm.time_step_rank"),
            "mamba_norm_before_gate": False,
            "mamba_rms_norm": has("ssm_norm.weight"),
        },
    ),
    "FalconMambaForCausalLM": ExportSpec("falcon_mamba", fits=has_true("ssm.dt_b_c_rms")),
    "GemmaForCausalLM": ExportSpec("gemma"),
    "Gemma2ForCausalLM": ExportSpec("gemma2"),
    "Gemma3ForCausalLM": ExportSpec("gemma3_text"),
    "Gemma3nForCausalLM": ExportSpec(
        "gemma3n_text",
        config={"vocab_size_per_layer_input": rows("per_layer_token_embd.weight")},
        rename=(
            (r"altup_proj\.\{i\}\.", "altup_projections."),
            (r"altup_unembd_proj\.\{i\}\.", "altup_unembed_projections."),
        ),
    ),
    "Glm4ForCausalLM": ExportSpec("glm4", config={"attention_bias": has_biases}),
    "Glm4MoeForCausalLM": ExportSpec(
        "glm4_moe",
        config={"attention_bias": has_biases, "use_qk_norm": has("attn_q_norm.weight")},
    ),
    "Glm4MoeLiteForCausalLM": ExportSpec(
        "glm4_moe_lite",
        config=_CORRECTED,
        fits=both(has("exp_probs_b.bias"), lacks_hparam("expert_gating_func")),
    ),
    "GPT2LMHeadModel": ExportSpec("gpt2", config={"n_positions": hparam("context_length")}),
    "GPTNeoXForCausalLM": ExportSpec("gpt_neox"),
    "GptOssForCausalLM": ExportSpec("gpt_oss", config={"rope_scaling.truncate": False}),
    "GraniteForCausalLM": ExportSpec("granite", config=_BIASES),
    "GraniteMoeForCausalLM": ExportSpec(
        "granitemoe",
        config={"model_type": either("blk.0.ffn_gate_shexp.weight", "granitemoeshared")},
        heads=(("blk.0.ffn_gate_shexp.weight", "GraniteMoeSharedForCausalLM", ""),),
    ),
    "GraniteMoeHybridForCausalLM": ExportSpec(
        "granitemoehybrid",
        config={
            **_MAMBA_BIASES,
            "attention_bias": has_biases,
            "max_position_embeddings": hparam("context_length"),
            "position_embedding_type": _positions,
        },
        fits=has_hparam("ssm.conv_kernel"),
    ),
    "HunYuanDenseV1ForCausalLM": ExportSpec(
        "hunyuan_v1_dense", config={"attention_bias": has_biases}
    ),
    "InternLM2ForCausalLM": ExportSpec("internlm2", config={"bias": has_biases}),
    "InternLM3ForCausalLM": ExportSpec("internlm3", config={"qkv_bias": has_biases}),
    "JambaForCausalLM": ExportSpec("jamba", config={**_MAMBA_BIASES, **_SPARSE_BLOCKS}),
    "Lfm2ForCausalLM": ExportSpec("lfm2"),
    "Lfm2MoeForCausalLM": ExportSpec(
        "lfm2_moe", config={"use_expert_bias": has("exp_probs_b.bias")}
    ),
    "LLaDAModelLM": ExportSpec(
        "llada",
        config={
            "n_layers": hparam("block_count"),
            "n_heads": hparam("attention.head_count"),
            "n_kv_heads": hparam("attention.head_count_kv"),
            "embedding_size": rows("token_embd.weight"),
            "include_bias": False,
            "include_qkv_bias": has_biases,
            "activation_type": "silu",
            "block_type": "llama",
            "layer_norm_type": "rms",
            "rope": True,
            "weight_tying": lacks("output.weight"),
        },
    ),
    "LlamaForCausalLM": ExportSpec("llama", config=_BIASES),
    "Llama4ForConditionalGeneration": ExportSpec("llama4_text", hf_class="Llama4ForCausalLM"),
    "MambaForCausalLM": ExportSpec("mamba"),
    "Mamba2ForCausalLM": ExportSpec("mamba2"),
    "MiniCPMForCausalLM": ExportSpec("minicpm"),
    "MiniCPM3ForCausalLM": ExportSpec("minicpm3"),
    "MiniMaxM2ForCausalLM": ExportSpec(
        "minimax_m2",
        config={"qk_norm_type": "per_layer", "use_qk_norm": True, "use_routing_bias": True},
    ),
    "Mistral3ForConditionalGeneration": ExportSpec(
        "mistral",
        config={
            "model_type": _ministral("ministral3"),
            "architectures": _ministral(["Ministral3ForCausalLM"]),
            "sliding_window": NULL,
        },
        nested="mistral3",
    ),
    "MixtralForCausalLM": ExportSpec("mixtral"),
    "MPTForCausalLM": ExportSpec("mpt"),
    "NemotronForCausalLM": ExportSpec("nemotron", config=_BIASES),
    "OlmoForCausalLM": ExportSpec("olmo"),
    "Olmo2ForCausalLM": ExportSpec("olmo2", fits=lacks_hparam("attention.sliding_window")),
    "Olmo3ForCausalLM": ExportSpec("olmo3", fits=has_hparam("attention.sliding_window")),
    "OlmoeForCausalLM": ExportSpec("olmoe"),
    "OrionForCausalLM": ExportSpec("orion"),
    "PhiForCausalLM": ExportSpec(
        "phi", config={"intermediate_size": hparam("feed_forward_length")}
    ),
    "Phi3ForCausalLM": ExportSpec("phi3"),
    "PhiMoEForCausalLM": ExportSpec(
        "phimoe",
        hf_class="PhimoeForCausalLM",
        config={
            "attention_bias": has_biases,
            "lm_head_bias": has("output.bias"),
            # llama.cpp has one factor for both
            "rope_scaling.long_mscale": hparam("rope.scaling.attn_factor"),
            "rope_scaling.short_mscale": hparam("rope.scaling.attn_factor"),
            "rope_scaling.original_max_position_embeddings": hparam(
                "rope.scaling.original_context_length"
            ),
        },
    ),
    "Qwen2ForCausalLM": ExportSpec("qwen2"),
    "Qwen2MoeForCausalLM": ExportSpec("qwen2_moe"),
    "Qwen2VLForConditionalGeneration": ExportSpec("qwen2_vl"),
    "Qwen3ForCausalLM": ExportSpec("qwen3", config={"attention_bias": has_biases}),
    "Qwen3MoeForCausalLM": ExportSpec("qwen3_moe", config={"attention_bias": has_biases}),
    "Qwen3NextForCausalLM": ExportSpec("qwen3_next", rename=_ahead),
    "Qwen3VLForConditionalGeneration": ExportSpec(
        "qwen3_vl_text",
        config=_INTERLEAVED,
        nested="qwen3_vl",
        rename=_UNDER_LANGUAGE_MODEL,
    ),
    "Qwen3VLMoeForConditionalGeneration": ExportSpec(
        "qwen3_vl_moe_text",
        config=_INTERLEAVED,
        nested="qwen3_vl_moe",
        rename=_UNDER_LANGUAGE_MODEL,
        # its checkpoints have stacks
        beside=dict.fromkeys((f"{_EXPERTS}.down_proj", f"{_EXPERTS}.gate_up_proj"), ""),
    ),
    "Qwen3_5ForCausalLM": ExportSpec("qwen3_5_text", config=_INTERLEAVED, rename=_ahead),
    "Qwen3_5MoeForCausalLM": ExportSpec("qwen3_5_moe_text", config=_INTERLEAVED, rename=_ahead),
    "SeedOssForCausalLM": ExportSpec("seed_oss"),
    "SmolLM3ForCausalLM": ExportSpec("smollm3", config=_BIASES),
    "StableLmForCausalLM": ExportSpec("stablelm", config={"use_qkv_bias": has_biases}),
    "GPTBigCodeForCausalLM": ExportSpec("gpt_bigcode", rename=_UNDER_TRANSFORMER),
    "Starcoder2ForCausalLM": ExportSpec("starcoder2"),
    "XverseForCausalLM": ExportSpec("xverse"),
}


def candidates(name: str) -> list[tuple[Architecture, ExportSpec]]:
    """Return the architectures of a ``general.architecture``, the likelier first."""
    found = architectures_named(name)
    return [(a, FACTS[a.hf_classes[0]]) for a in found if a.hf_classes[0] in FACTS]
