"""ERNIE 4.5 with experts, of which some are shared.

Source: llama.cpp conversion/ernie.py Ernie4_5MoeModel; transformers ernie4_5_moe.
"""

from dataclasses import replace

from ggufkit.architectures.ernie4_5 import ERNIE4_5
from ggufkit.mapping.blocks import FFN, OtherLayers, decoder, moe_feed_forward, without
from ggufkit.mapping.spec import Config, ExportSpec, Hparam


def moe_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    first, step = config["moe_layer_start_index"], config["moe_layer_interval"]
    return [i for i in range(config["num_hidden_layers"]) if i >= first and (i + 1) % step == 0]


def shared_width(config: Config) -> int | None:
    """Return the width of the shared experts together."""
    return config["moe_num_shared_experts"] * config["moe_intermediate_size"] or None


ERNIE4_5MOE = replace(
    ERNIE4_5,
    name="ernie4_5-moe",
    title="ERNIE 4.5 with experts",
    hf_classes=("Ernie4_5_MoeForCausalLM",),
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 1536,
        "moe_k": 6,
        "moe_num_experts": 64,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_interval": 1,
    },
    hparams=(
        *ERNIE4_5.hparams,
        Hparam("expert_count", "moe_num_experts"),
        Hparam("expert_used_count", "moe_k"),
        Hparam("interleave_moe_layer_step", "moe_layer_interval"),
        Hparam("leading_dense_block_count", "moe_layer_start_index"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "moe_num_shared_experts"),
        Hparam("expert_shared_feed_forward_length", shared_width),
    ),
    weights=(
        *without(decoder(), *FFN),
        *moe_feed_forward(
            router_bias="moe_statics.e_score_correction_bias",
            parts=tuple((f"{part}_proj", part) for part in ("gate", "up", "down")),
            shared="shared_experts",
            dense=OtherLayers(moe_blocks),
            sparse=moe_blocks,
            optional=("router_bias", "shared"),
            stack_size=lambda config: config["moe_num_experts"],
        ),
    ),
    # multi-token prediction, which llama.cpp leaves out
    ignore=tuple(
        f"model.mtp_{part}.*" for part in ("block", "emb_norm", "hidden_norm", "linear_proj")
    ),
    export=ExportSpec("ernie4_5_moe"),
)
