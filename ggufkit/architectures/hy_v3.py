"""Hunyuan 3 (HY V3): QK-norm, experts behind dense first blocks, multi-token prediction.

Source: llama.cpp conversion/hunyuan.py HYV3Model; transformers hy_v3.
"""

from ggufkit.architectures.exaone_moe import shared_length
from ggufkit.architectures.glm4moe import NEXTN_WEIGHTS, mtp_layers, n_layers_with_mtp
from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    QK_NORMS,
    OtherLayers,
    decoder,
    moe_feed_forward,
    replaced,
    without,
)
from ggufkit.mapping.spec import Always, Architecture, Config, ExportSpec, Hparam, NonZero, Weight

_LAYER = "model.layers.{i}"


def _dense(config: Config) -> list[int]:
    """Return the blocks without experts."""
    types = config.get("mlp_layer_types")
    if types is None:
        return list(range(int(config["first_k_dense_replace"])))
    return [i for i, kind in enumerate(types) if kind == "dense"]


HY_V3 = Architecture(
    name="hy_v3",
    title="Hunyuan 3",
    hf_classes=("HYV3ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 11158840.0,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_experts": 192,
        "num_experts_per_tok": 8,
        "num_shared_experts": 1,
        "moe_intermediate_size": 1536,
        "first_k_dense_replace": 1,
        "route_norm": True,
        "router_scaling_factor": 2.826,
    },
    hparams=(
        *replaced(HPARAMS, Hparam("block_count", n_layers_with_mtp)),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_feed_forward_length", shared_length),
        Hparam("expert_weights_norm", "route_norm"),
        Hparam("expert_weights_scale", "router_scaling_factor"),
        Hparam("expert_gating_func", Always(2)),
        Hparam("nextn_predict_layers", NonZero("num_nextn_predict_layers")),
    ),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        *moe_feed_forward(
            router="router.gate", shared="shared_mlp", dense=_dense, sparse=OtherLayers(_dense)
        ),
        Weight(
            "blk.{i}.exp_probs_b",
            f"{_LAYER}.mlp.expert_bias",
            in_layers=OtherLayers(_dense),
            full_name=True,
        ),
        *without(NEXTN_WEIGHTS, "nextn.shared_head_norm"),
        Weight("blk.{i}.nextn.shared_head_norm", f"{_LAYER}.final_layernorm", in_layers=mtp_layers),
    ),
    export=ExportSpec("hy_v3"),
)
