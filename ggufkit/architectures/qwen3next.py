"""Qwen3-Next: linear attention in three of four blocks, and multi-token prediction (MTP).

The last block predicts the token after the next; checkpoints keep it apart, under ``mtp.``.

Source: llama.cpp conversion/qwen.py Qwen3NextModel; transformers qwen3_next.
"""

from dataclasses import dataclass, replace
from typing import Any

from ggufkit.architectures.qwen2moe import FUSED_EXPERTS, MOE_HPARAMS
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import QK_NORMS, WRAPPED, decoder, moe_feed_forward, only, replaced
from ggufkit.mapping.config_inverse import Less, RotaryShare, head_dim_of
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, Renames, inverse_of
from ggufkit.mapping.row_transforms import UnfuseGroups
from ggufkit.mapping.spec import Architecture, Config, Context, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import AddOne, NegativeExp, Squeeze


@inverse_of("mtp_num_hidden_layers")
def n_mtp_layers(config: Config) -> int:
    """Return the number of multi-token prediction (MTP) layers."""
    return int(config.get("mtp_num_hidden_layers") or 1)


def layers_with_mtp(config: Config) -> range:
    """Return all layers, those for multi-token prediction at the end."""
    return range(config["num_hidden_layers"] + n_mtp_layers(config))


def _linear_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    n_mtp = int(header.hparams.get("nextn_predict_layers") or 1)
    kinds = ["linear_attention" if linear else "full_attention" for linear in value]
    return {"layer_types": kinds[: len(kinds) - n_mtp]}


@inverse_of(_linear_to_config)
def is_linear(config: Config) -> list[bool]:
    """Return which blocks have linear attention."""
    listed = [kind == "linear_attention" for kind in config["layer_types"]]
    return listed + [False] * n_mtp_layers(config)


def linear_attention_layers(config: Config) -> list[int]:
    """Return the blocks with linear attention."""
    return [i for i, linear in enumerate(is_linear(config)) if linear]


def full_attention_layers(config: Config) -> list[int]:
    """Return the other blocks."""
    return [i for i, linear in enumerate(is_linear(config)) if not linear]


def first_mtp_layer(config: Config) -> range:
    """Return the first MTP layer, which has what joins it to the others."""
    return range(config["num_hidden_layers"], config["num_hidden_layers"] + 1)


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: linear attention but for every fourth block."""
    interval = config.get("full_attention_interval") or 4
    return [
        "full_attention" if (i + 1) % interval == 0 else "linear_attention"
        for i in range(config["num_hidden_layers"])
    ]


def mtp_names(header: ModelHeader) -> Renames:
    """Give the MTP layers, which come after the others in the file, their names back."""
    n_mtp = int(header.hparams.get("nextn_predict_layers") or 1)
    n = int(header.hparams.get("block_count") or 0) - n_mtp
    return (
        (rf"^model\.layers\.{n}\.mtp\.", "mtp."),
        *((rf"^model\.layers\.{n + i}\.", f"mtp.layers.{i}.") for i in range(min(n_mtp, 64))),
    )


def rename(config: Config) -> Renames:
    """Give the MTP layers the numbers after the others."""
    n = config["num_hidden_layers"]
    return (
        *WRAPPED,
        (r"^model\.mtp\.", "mtp."),
        *((rf"^mtp\.layers\.{i}\.", f"model.layers.{n + i}.") for i in range(n_mtp_layers(config))),
        (r"^mtp\.", f"model.layers.{n}.mtp."),
    )


def _inner_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    return {"linear_value_head_dim": value // int(header.hparams["ssm.time_step_rank"])}


@inverse_of(_inner_to_config)
def inner_size(config: Config) -> int:
    """Return the width of linear attention's values."""
    return int(config["linear_value_head_dim"] * config["linear_num_value_heads"])


@inverse_of(RotaryShare("partial_rotary_factor", head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(config["head_dim"] * rope.full(config).get("partial_rotary_factor", 0.25))


@dataclass(frozen=True)
class LinearParts:
    """The transform to some of queries, keys, values and gates, which are fused by group."""

    taken: tuple[int, ...]

    def __call__(self, context: Context) -> UnfuseGroups:
        """Return it."""
        config = context.config
        keys, values = config["linear_key_head_dim"], config["linear_value_head_dim"]
        values *= config["linear_num_value_heads"] // config["linear_num_key_heads"]
        return UnfuseGroups((keys, keys, values, values), self.taken)


_LAYER = "model.layers.{i}"
_LINEAR = f"{_LAYER}.linear_attn"
_MLP = f"{_LAYER}.mlp"


def linear(name: str, source: str, transform: Any = None, *, full_name: bool = False) -> Weight:
    """Return a weight of linear attention."""
    options = {} if transform is None else {"transform": transform}
    return Weight(
        f"blk.{{i}}.{name}",
        f"{_LINEAR}.{source}",
        in_layers=linear_attention_layers,
        full_name=full_name,
        **options,
    )


BLOCK_WEIGHTS = (
    *only(decoder(norm=AddOne()), "token_embd", "output_norm", "output"),
    *(replace(w, in_layers=layers_with_mtp) for w in only(decoder(norm=AddOne()), "attn_norm")),
    Weight(
        "blk.{i}.post_attention_norm",
        f"{_LAYER}.post_attention_layernorm",
        AddOne(),
        in_layers=layers_with_mtp,
    ),
    *(
        replace(w, in_layers=full_attention_layers)
        for w in only(decoder(), "attn_q", "attn_k", "attn_v", "attn_output")
    ),
    *(replace(w, transform=AddOne(), in_layers=full_attention_layers) for w in QK_NORMS),
    linear("ssm_norm", "norm"),
    Weight("blk.{i}.nextn.eh_proj", f"{_LAYER}.mtp.fc", in_layers=first_mtp_layer),
    *(
        Weight(
            f"blk.{{i}}.nextn.{name}", f"{_LAYER}.mtp.{source}", AddOne(), in_layers=first_mtp_layer
        )
        for name, source in (
            ("enorm", "pre_fc_norm_embedding"),
            ("hnorm", "pre_fc_norm_hidden"),
            ("shared_head_norm", "norm"),
        )
    ),
)

EXPERT_WEIGHTS = (
    *moe_feed_forward(shared="shared_expert", sparse=layers_with_mtp),
    *FUSED_EXPERTS,
    Weight("blk.{i}.ffn_gate_inp_shexp", f"{_MLP}.shared_expert_gate", in_layers=layers_with_mtp),
)

LINEAR_HPARAMS = (
    Hparam("nextn_predict_layers", n_mtp_layers),
    Hparam("ssm.conv_kernel", "linear_conv_kernel_dim"),
    Hparam("ssm.state_size", "linear_key_head_dim"),
    Hparam("ssm.group_count", "linear_num_key_heads"),
    Hparam("ssm.time_step_rank", "linear_num_value_heads"),
    Hparam("ssm.inner_size", inner_size),
    Hparam("attention.recurrent_layers", is_linear),
    Hparam("full_attention_interval", "full_attention_interval"),
    Hparam("rope.dimension_count", rope_dim),
)

BLOCK_COUNT = Hparam(
    "block_count",
    lambda config: len(layers_with_mtp(config)),
    inverse=Less("num_hidden_layers", "nextn_predict_layers"),
)

LINEAR_DEFAULTS = {
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.25,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "full_attention_interval": 4,
    "layer_types": default_layer_types,
}

MOE_DEFAULTS = {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}

QWEN3NEXT = Architecture(
    name="qwen3next",
    title="Qwen3-Next",
    hf_classes=("Qwen3NextForCausalLM",),
    tokenizer="gpt2",
    defaults={
        **LINEAR_DEFAULTS,
        **MOE_DEFAULTS,
        "intermediate_size": 5632,
        "num_experts": 512,
        "num_experts_per_tok": 10,
    },
    hparams=(*replaced(MOE_HPARAMS, BLOCK_COUNT), *LINEAR_HPARAMS),
    weights=(
        *BLOCK_WEIGHTS,
        *EXPERT_WEIGHTS,
        linear("attn_qkv", "in_proj_qkvz", LinearParts((0, 1, 2))),
        linear("attn_gate", "in_proj_qkvz", LinearParts((3,))),
        linear("ssm_ba", "in_proj_ba"),
        linear("ssm_conv1d", "conv1d", Squeeze()),
        linear("ssm_a", "A_log", NegativeExp(), full_name=True),
        linear("ssm_dt.bias", "dt_bias", full_name=True),
        linear("ssm_out", "out_proj"),
    ),
    rename=rename,
    export=ExportSpec("qwen3_next", rename=mtp_names),
)
