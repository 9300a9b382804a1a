"""Jamba: Mamba in most blocks, attention in some, experts in every other one.

Source: llama.cpp conversion/jamba.py JambaModel; transformers jamba.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ggufkit.architectures.mamba import expanded_width
from ggufkit.mapping.blocks import KVHeads, OtherLayers, moe_feed_forward
from ggufkit.mapping.model_header import (
    MAMBA_BIASES,
    ConfigValues,
    ModelHeader,
    Renames,
    inverse_of,
)
from ggufkit.mapping.spec import (
    FILE_TYPE,
    Architecture,
    Config,
    ExportSpec,
    Hparam,
    Weight,
    block_count,
    expert_count,
)
from ggufkit.mapping.transforms import NegativeExp, Reshape, Squeeze


@dataclass(frozen=True)
class EveryNth:
    """The layers with a part, of which the config says the first and the period; or the others.

    Attributes
    ----------
    part : str
        ``attn`` or ``expert``.
    others : bool
        Whether the other layers are wanted.
    """

    part: str
    others: bool = False

    def __call__(self, config: Config) -> list[int]:
        """Return the layers' numbers."""
        first = int(config[f"{self.part}_layer_offset"])
        period = int(config[f"{self.part}_layer_period"])
        has = [i >= first and (i - first) % period == 0 for i in range(block_count(config))]
        return [i for i, there in enumerate(has) if there != self.others]


_ATTENTION_LAYERS = EveryNth("attn")
_MAMBA_LAYERS = EveryNth("attn", others=True)


def first_and_period(found: Sequence[int], n_blocks: int) -> tuple[int, int]:
    """Return the first block with a part, and every how many have one, of the list of `EveryNth`.

    Where less than two of `n_blocks` have it, no period goes on to a second.
    """
    first = found[0] if found else n_blocks
    return first, found[1] - first if len(found) > 1 else max(n_blocks, first + 1)


def sparse(config: Config) -> list[int]:
    """Return the blocks with experts; a single one is no choice."""
    return EveryNth("expert")(config) if expert_count(config) > 1 else []


def _kv_heads_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    first, period = first_and_period([i for i, n in enumerate(value) if n], len(value))
    return {
        "num_key_value_heads": max(value, default=0),
        "attn_layer_offset": first,
        "attn_layer_period": period,
    }


@inverse_of("mamba_dt_rank")
def time_step_rank(config: Config) -> int:
    """Return the rank of the time steps' projection, which "auto" leaves to the width."""
    given = config.get("mamba_dt_rank")
    return given if isinstance(given, int) and given else -(-int(config["hidden_size"]) // 16)


def renames(config: Config) -> Renames:
    """Return the renames of the first checkpoints: blocks of one expert, and a part's old name."""
    single = "|".join(map(str, EveryNth("expert", others=True)(config)))
    return (
        (r"\.moe\.", ".feed_forward."),
        (rf"^(model\.layers\.(?:{single})\.feed_forward)\.experts\.0\.", r"\1."),
    )


_LAYER = "model.layers.{i}"
_MAMBA = f"{_LAYER}.mamba"
_FFN = f"{_LAYER}.feed_forward"


def _weights(names: Iterable[tuple[str, str]], source: str, blocks: object) -> Iterable[Weight]:
    return (
        Weight(f"blk.{{i}}.{name}", f"{source}.{part}", in_layers=blocks)  # type: ignore[arg-type]
        for name, part in names
    )


def _sparse_layers(header: ModelHeader) -> tuple[int, int]:
    """Return the first layer with experts, and every how many have some."""
    n = int(header.hparams.get("block_count") or 0)
    found = [i for i in range(n) if f"blk.{i}.ffn_gate_inp.weight" in header.shapes]
    return first_and_period(found, n)


_SPARSE_LAYERS = {
    "expert_layer_offset": lambda header: _sparse_layers(header)[0],
    "expert_layer_period": lambda header: _sparse_layers(header)[1],
}

JAMBA = Architecture(
    name="jamba",
    title="Jamba",
    hf_classes=("JambaForCausalLM",),
    tokenizer="jamba",
    defaults={
        "max_position_embeddings": 262144,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "attn_layer_offset": 4,
        "attn_layer_period": 8,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_d_conv": 4,
        "mamba_d_state": 16,
        "mamba_expand": 2,
    },
    hparams=(
        Hparam("block_count", "num_hidden_layers"),
        Hparam("context_length", ("max_position_embeddings", "n_ctx")),
        Hparam("embedding_length", "hidden_size"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", KVHeads(_ATTENTION_LAYERS), _kv_heads_to_config),
        Hparam("ssm.conv_kernel", "mamba_d_conv"),
        Hparam("ssm.inner_size", expanded_width),
        Hparam("ssm.state_size", "mamba_d_state"),
        Hparam("ssm.time_step_rank", time_step_rank),
        Hparam("attention.layer_norm_rms_epsilon", ("layer_norm_epsilon", "rms_norm_eps")),
        Hparam("expert_count", expert_count, inverse="num_experts"),
        Hparam("expert_used_count", ("num_experts_per_tok", "num_experts_per_token")),
        FILE_TYPE,
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens"),
        Weight("output_norm", "model.final_layernorm"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.input_layernorm"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_ff_layernorm"),
        *_weights(
            [(f"attn_{part}", f"{part}_proj") for part in "qkv"] + [("attn_output", "o_proj")],
            f"{_LAYER}.self_attn",
            _ATTENTION_LAYERS,
        ),
        *_weights(
            [
                *((f"ssm_{name}_norm", f"{name}_layernorm") for name in ("dt", "b", "c")),
                *((f"ssm_{name}", f"{name}_proj") for name in ("in", "x", "dt", "out")),
            ],
            _MAMBA,
            _MAMBA_LAYERS,
        ),
        Weight(
            "blk.{i}.ssm_conv1d",
            f"{_MAMBA}.conv1d",
            Squeeze(),
            bias=Reshape((-1,)),
            in_layers=_MAMBA_LAYERS,
        ),
        Weight(
            "blk.{i}.ssm_a",
            f"{_MAMBA}.A_log",
            NegativeExp(),
            full_name=True,
            in_layers=_MAMBA_LAYERS,
        ),
        Weight("blk.{i}.ssm_d", f"{_MAMBA}.D", full_name=True, in_layers=_MAMBA_LAYERS),
        *moe_feed_forward(_FFN, router="router", dense=OtherLayers(sparse), sparse=sparse),
    ),
    rename=renames,
    export=ExportSpec("jamba", config={**MAMBA_BIASES, **_SPARSE_LAYERS}),
)
