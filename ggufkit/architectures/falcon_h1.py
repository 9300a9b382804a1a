"""Falcon-H1: attention and Mamba 2 side by side in every block, and multipliers all over.

llama.cpp knows no multipliers of this model: its weights are multiplied when they are converted.

Source: llama.cpp conversion/falcon_h1.py FalconH1Model; transformers falcon_h1.
"""

from dataclasses import dataclass
from typing import Any

from ggufkit.architectures.mamba2 import COLUMN, DECAY_COLUMN, GroupedBy
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import default_head_dim, n_heads
from ggufkit.mapping.model_header import (
    HAS_BIASES,
    MAMBA_BIASES,
    ConfigValues,
    HasTensor,
    HparamValue,
    ModelHeader,
    inverse_of,
)
from ggufkit.mapping.spec import (
    FILE_TYPE,
    Architecture,
    Config,
    Context,
    ExportSpec,
    Hparam,
    Weight,
)
from ggufkit.mapping.transforms import (
    IDENTITY,
    Compose,
    Reshape,
    Scale,
    ScaleParts,
    Squeeze,
    Transform,
)


@dataclass(frozen=True)
class Times:
    """The transform of a weight with multipliers.

    Attributes
    ----------
    keys : tuple of str
        Where the config has them.
    item : int, optional
        Which one of a list.
    """

    keys: tuple[str, ...]
    item: int | None = None

    def __call__(self, context: Context) -> Transform:
        """Return it."""
        found = [context.config[key] for key in self.keys]
        factors = tuple(float(f if self.item is None else f[self.item]) for f in found)
        return IDENTITY if set(factors) == {1.0} else Scale(factors)


def times(*keys: str, item: int | None = None) -> Times:
    """Return the transform of a weight with the multipliers of these config keys."""
    return Times(keys, item)


def projections(context: Context) -> Transform:
    """Return the transform of what is fused before a state space: gate, x, B, C, time steps."""
    config = context.config
    inner, state = int(config["mamba_d_ssm"]), config["mamba_n_groups"] * config["mamba_d_state"]
    heights = (inner, inner, state, state, heads(config))
    parts = tuple(zip(heights, map(float, config["ssm_multipliers"]), strict=True))
    whole = times("ssm_in_multiplier")(context)
    return whole if {factor for _, factor in parts} == {1.0} else Compose(whole, ScaleParts(parts))


def _heads_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    return {"mamba_d_head": int(header.hparams["ssm.inner_size"]) // value} if value else {}


@inverse_of(_heads_to_config)
def heads(config: Config) -> int:
    """Return the heads of a state space, which has a time step for each."""
    return int(config["mamba_d_ssm"]) // int(config["mamba_d_head"])


_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.self_attn"
_MAMBA = f"{_LAYER}.mamba"
_FFN = f"{_LAYER}.feed_forward"
_ONES = (
    "attention_in_multiplier",
    "attention_out_multiplier",
    "embedding_multiplier",
    "key_multiplier",
    "lm_head_multiplier",
    "ssm_in_multiplier",
    "ssm_out_multiplier",
)

FALCON_H1 = Architecture(
    name="falcon-h1",
    title="Falcon-H1",
    hf_classes=("FalconH1ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        **dict.fromkeys(_ONES, 1.0),
        "mlp_multipliers": (1.0, 1.0),
        "ssm_multipliers": (1.0,) * 5,
        "max_position_embeddings": 8192,
        "num_key_value_heads": n_heads,
        "head_dim": default_head_dim,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "mamba_d_conv": 4,
        "mamba_d_head": 8,
        "mamba_d_ssm": 1024,
        "mamba_d_state": 256,
        "mamba_n_groups": 1,
    },
    hparams=(
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("ssm.conv_kernel", "mamba_d_conv"),
        Hparam("ssm.inner_size", "mamba_d_ssm"),
        Hparam("ssm.state_size", "mamba_d_state"),
        Hparam("ssm.time_step_rank", heads),
        Hparam("ssm.group_count", "mamba_n_groups"),
        Hparam("attention.layer_norm_rms_epsilon", ("layer_norm_epsilon", "rms_norm_eps")),
        FILE_TYPE,
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        Hparam("attention.key_length", "head_dim"),
        Hparam("attention.value_length", "head_dim"),
        Hparam("rope.freq_base", rope.freq_base),
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens", times("embedding_multiplier")),
        Weight("output_norm", "model.final_layernorm"),
        Weight("output", "lm_head", times("lm_head_multiplier"), optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.input_layernorm"),
        Weight("blk.{i}.attn_q", f"{_ATTENTION}.q_proj", times("attention_in_multiplier")),
        Weight(
            "blk.{i}.attn_k",
            f"{_ATTENTION}.k_proj",
            times("key_multiplier", "attention_in_multiplier"),
        ),
        Weight("blk.{i}.attn_v", f"{_ATTENTION}.v_proj", times("attention_in_multiplier")),
        Weight("blk.{i}.attn_output", f"{_ATTENTION}.o_proj", times("attention_out_multiplier")),
        Weight("blk.{i}.ssm_in", f"{_MAMBA}.in_proj", projections),
        Weight("blk.{i}.ssm_conv1d", f"{_MAMBA}.conv1d", Squeeze(), bias=Reshape((-1,))),
        Weight("blk.{i}.ssm_dt.bias", f"{_MAMBA}.dt_bias", full_name=True),
        Weight("blk.{i}.ssm_a", f"{_MAMBA}.A_log", DECAY_COLUMN, full_name=True),
        Weight("blk.{i}.ssm_d", f"{_MAMBA}.D", COLUMN, full_name=True),
        Weight("blk.{i}.ssm_norm", f"{_MAMBA}.norm", GroupedBy("mamba_n_groups"), optional=True),
        Weight("blk.{i}.ssm_out", f"{_MAMBA}.out_proj", times("ssm_out_multiplier")),
        # llama.cpp looks for this one without a suffix
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_ff_layernorm.weight", full_name=True),
        Weight("blk.{i}.ffn_gate", f"{_FFN}.gate_proj", times("mlp_multipliers", item=0)),
        Weight("blk.{i}.ffn_up", f"{_FFN}.up_proj"),
        Weight("blk.{i}.ffn_down", f"{_FFN}.down_proj", times("mlp_multipliers", item=1)),
    ),
    export=ExportSpec(
        "falcon_h1",
        # its multipliers are in the weights
        config={
            **MAMBA_BIASES,
            "attention_bias": HAS_BIASES,
            "mlp_bias": HasTensor(".ffn_up.bias"),
            "mamba_n_heads": HparamValue("ssm.time_step_rank"),
            "mamba_norm_before_gate": False,
            "mamba_rms_norm": HasTensor("ssm_norm.weight"),
        },
    ),
)
