"""Hparams and weights that most architectures share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ggufkit.errors import ConversionError
from ggufkit.gguf.metadata import Value
from ggufkit.mapping import rope
from ggufkit.mapping.config_inverse import LayerTypes, RotaryShare, default_head_dim_of
from ggufkit.mapping.model_header import ConfigValues, Invertible, ModelHeader, inverse_of
from ggufkit.mapping.row_transforms import Chunk, PermuteRope
from ggufkit.mapping.spec import (
    BLOCK_COUNT,
    EXPERT_COUNT,
    FILE_TYPE,
    Config,
    Context,
    Hparam,
    Weight,
    block_count,
)
from ggufkit.mapping.transforms import IDENTITY, StackExperts, Transform


def _head_dim_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    """Return head_dim only where it is another than transformers computes."""
    return {} if value == default_head_dim_of(header) else {"head_dim": value}


@inverse_of(_head_dim_to_config)
def head_dim(config: Config) -> int:
    """Return the rows of one attention head."""
    given = config.get("head_dim")
    return int(given) if given else config["hidden_size"] // config["num_attention_heads"]


def n_heads(config: Config) -> Any:
    """Return the default of num_key_value_heads: every head has its own."""
    return config["num_attention_heads"]


def default_head_dim(config: Config) -> int:
    """Return the width divided by the heads, whatever head_dim says."""
    return int(config["hidden_size"]) // int(config["num_attention_heads"])


@inverse_of(RotaryShare("partial_rotary_factor", default_head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the number of dimensions of a head that RoPE rotates, of `default_head_dim`."""
    part = rope.full(config).get("partial_rotary_factor")
    return int((1.0 if part is None else part) * default_head_dim(config))


Make = Transform | Callable[[Context], Transform]
Layers = Callable[[Config], Iterable[int]]

# Fused gates and ups, gates first.
GATE_HALF, UP_HALF = Chunk(0), Chunk(1)


def permute(context: Context) -> Transform:
    """Return the row order of llama.cpp's queries and keys, for models that rotate neighbours."""
    return PermuteRope(head_dim(context.config))


_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}


def _pooling(key: str) -> Invertible[int | None]:
    """Return the number of a pooling method that a config key names, and its inverse."""
    names = {number: name for name, number in _POOLING.items()}
    return Invertible(
        lambda config: _POOLING.get(str(config.get(key))), lambda value, _: {key: names.get(value)}
    )


# How token embeddings become one, where sentence-transformers files say so, and before classifiers.
POOLING = (
    Hparam("pooling_type", _pooling("pooling_mode")),
    Hparam("classifier.pooling_type", _pooling("classifier_pooling")),
)


@inverse_of(LayerTypes("sliding_attention", "full_attention"))
def sliding_layers(config: Config) -> list[bool] | None:
    """Return which layers have sliding-window attention, where config.json lists their types."""
    types = config.get("layer_types")
    return None if types is None else [kind == "sliding_attention" for kind in types]


@inverse_of("is_causal")
def not_causal(config: Config) -> Value | None:
    """Return False where the model says that it attends both ways."""
    return False if config.get("is_causal") is False else None


_GATING = {"softmax": 1, "sigmoid": 2, "sqrtsoftplus": 4}
_GATING_KEYS = (
    "score_function",
    "scoring_func",
    "score_func",
    "moe_router_activation",
    "moe_router_activation_func",
    "expert_selection_fn",
)


def _gating_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    names = {number: name for name, number in _GATING.items()}
    return {"scoring_func": names[value]} if value in names else {}


@inverse_of(_gating_to_config)
def gating_function(config: Config) -> int | None:
    """Return the number of the function that turns a router's outputs into probabilities."""
    name = next((config[key] for key in _GATING_KEYS if config.get(key) is not None), None)
    if name is None:
        return None
    if name not in _GATING:
        known = ", ".join(_GATING)
        raise ConversionError(f"config.json: no expert gating function {name!r}; known are {known}")
    return _GATING[name]


# What TextModel.set_gguf_parameters of llama.cpp's converter writes, in its order.
HPARAMS: tuple[Hparam | str, ...] = (
    Hparam("block_count", BLOCK_COUNT),
    Hparam(
        "context_length",
        (
            "max_position_embeddings",
            "n_ctx",
            "n_positions",
            "max_length",
            "max_sequence_length",
            "model_max_length",
        ),
    ),
    Hparam("embedding_length", ("hidden_size", "n_embd", "dim")),
    Hparam(
        "feed_forward_length",
        (
            "prefix_dense_intermediate_size",
            "dense_intermediate_size",
            "intermediate_size",
            "n_inner",
            "hidden_dim",
        ),
    ),
    Hparam("attention.head_count", ("num_attention_heads", "n_head", "n_heads")),
    Hparam("attention.head_count_kv", ("num_key_value_heads", "n_kv_heads")),
    Hparam("attention.causal", not_causal),
    Hparam("rope.scaling.type", rope.scaling_type),
    Hparam("rope.scaling.factor", rope.scaling_factor),
    Hparam(
        "rope.scaling.original_context_length", rope.Yarn(("original_max_position_embeddings",))
    ),
    Hparam("rope.scaling.yarn_ext_factor", rope.Yarn(("extrapolation_factor",))),
    Hparam("rope.scaling.yarn_attn_factor", rope.Yarn(("attention_factor", "attn_factor"))),
    Hparam("rope.scaling.yarn_beta_fast", rope.Yarn(("beta_fast",))),
    Hparam("rope.scaling.yarn_beta_slow", rope.Yarn(("beta_slow",))),
    Hparam("rope.dimension_sections", rope.sections),
    Hparam("rope.freq_base", rope.freq_base),
    Hparam("rope.freq_base_swa", rope.freq_base_swa),
    Hparam("attention.layer_norm_rms_epsilon", ("rms_norm_eps", "norm_eps")),
    Hparam(
        "attention.layer_norm_epsilon", ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
    ),
    Hparam("expert_count", EXPERT_COUNT),
    Hparam("expert_used_count", ("num_experts_per_tok", "num_experts_per_token", "top_k_experts")),
    Hparam("expert_group_count", "n_group"),
    Hparam("expert_group_used_count", "topk_group"),
    Hparam("expert_gating_func", gating_function),
    Hparam("attention.key_length", "head_dim"),
    Hparam("attention.value_length", "head_dim"),
    FILE_TYPE,
)


def replaced(hparams: Iterable[Hparam | str], *others: Hparam) -> tuple[Hparam | str, ...]:
    """Return hparams, those of `others` in the places of the ones with their keys."""
    by_key = {hparam.key: hparam for hparam in others}
    return tuple(h if isinstance(h, str) else by_key.get(h.key, h) for h in hparams)


def only(weights: Iterable[Weight], *names: str) -> tuple[Weight, ...]:
    """Return the weights with these names, which may leave out ``blk.{i}.``."""
    return tuple(w for w in weights if w.name.removeprefix("blk.{i}.") in names)


def without(weights: Iterable[Weight], *names: str) -> tuple[Weight, ...]:
    """Return the weights but those with these names, which may leave out ``blk.{i}.``."""
    return tuple(w for w in weights if w.name.removeprefix("blk.{i}.") not in names)


def changed(weights: Iterable[Weight], *names: str, **options: Any) -> tuple[Weight, ...]:
    """Return the weights, those with these names (see `only`) with other options."""
    return tuple(replace(w, **options) if only((w,), *names) else w for w in weights)


def decoder(*, q: Make = IDENTITY, k: Make = IDENTITY, norm: Make = IDENTITY) -> tuple[Weight, ...]:
    """Return the weights of a llama-like decoder.

    Parameters
    ----------
    q, k, norm : Transform or callable
        Transforms of queries, keys and norms.
    """
    layer = "model.layers.{i}"
    return (
        Weight("token_embd", "model.embed_tokens"),
        Weight("output_norm", "model.norm", norm),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{layer}.input_layernorm", norm),
        Weight("blk.{i}.attn_q", f"{layer}.self_attn.q_proj", q),
        Weight("blk.{i}.attn_k", f"{layer}.self_attn.k_proj", k),
        Weight("blk.{i}.attn_v", f"{layer}.self_attn.v_proj"),
        Weight("blk.{i}.attn_output", f"{layer}.self_attn.o_proj"),
        Weight("blk.{i}.ffn_norm", f"{layer}.post_attention_layernorm", norm),
        Weight("blk.{i}.ffn_gate", f"{layer}.mlp.gate_proj"),
        Weight("blk.{i}.ffn_up", f"{layer}.mlp.up_proj"),
        Weight("blk.{i}.ffn_down", f"{layer}.mlp.down_proj"),
    )


def experts(source: str, names: tuple[tuple[str, str], ...], **options: Any) -> tuple[Weight, ...]:
    """Return the stacks of a block's experts.

    Parameters
    ----------
    source : str
        The experts' name up to ``{e}``.
    names : tuple of (str, str)
        What follows it in the checkpoint, and what part of an expert that is: ``gate``, ``up``
        or ``down``; in the order in which the stacks are written.
    **options
        Of each `Weight`.
    """
    return tuple(
        Weight(f"blk.{{i}}.ffn_{part}_exps", f"{source}.{{e}}.{name}", StackExperts(), **options)
        for name, part in names
    )


FFN = ("ffn_gate", "ffn_up", "ffn_down")

# The names that most models give the parts of an expert, and those of Mixtral's.
EXPERT_PARTS = (("down_proj", "down"), ("gate_proj", "gate"), ("up_proj", "up"))
MIXTRAL_PARTS = (("w1", "gate"), ("w2", "down"), ("w3", "up"))


@dataclass(frozen=True)
class LeadingLayers:
    """The first layers, whose number is a config key."""

    key: str

    def __call__(self, config: Config) -> range:
        """Return them."""
        return range(min(config[self.key], config["num_hidden_layers"]))


@dataclass(frozen=True)
class LayersAfter:
    """The layers after `LeadingLayers`."""

    key: str

    def __call__(self, config: Config) -> range:
        """Return them."""
        return range(config[self.key], config["num_hidden_layers"])


@dataclass(frozen=True)
class OtherLayers:
    """The layers that a function of the config does not return."""

    known: Layers

    def __call__(self, config: Config) -> list[int]:
        """Return them."""
        known = set(self.known(config))
        return [i for i in range(block_count(config)) if i not in known]


@dataclass(frozen=True)
class KVHeads:
    """The number of key and value heads by layer: 0 in those without attention."""

    attention: Layers

    def __call__(self, config: Config) -> list[int]:
        """Return the numbers."""
        attention, n = set(self.attention(config)), int(config["num_key_value_heads"])
        return [n if i in attention else 0 for i in range(block_count(config))]


def feed_forward(source: str, suffix: str = "", **options: Any) -> tuple[Weight, ...]:
    """Return the weights of a gated feed-forward part.

    Parameters
    ----------
    source : str
        Its name in the checkpoint.
    suffix : str
        What its names in the file end with: ``_shexp`` for shared experts.
    **options
        Of each `Weight`.
    """
    return tuple(
        Weight(f"blk.{{i}}.ffn_{part}{suffix}", f"{source}.{part}_proj", **options)
        for part in ("gate", "up", "down")
    )


def stacked_experts(
    source: str, parts: Iterable[tuple[str, str, Make]], **options: Any
) -> tuple[Weight, ...]:
    """Return the stacks of experts that a checkpoint stores as stacks.

    Parameters
    ----------
    source : str
        The experts' name.
    parts : iterable of (str, str, Transform or callable)
        What part of an expert it is, the stack's name, and its transform.
    **options
        Of each `Weight`.
    """
    return tuple(
        Weight(
            f"blk.{{i}}.ffn_{part}_exps.weight",
            f"{source}.{name}",
            transform,
            full_name=True,
            **options,
        )
        for part, name, transform in parts
    )


def moe_feed_forward(
    mlp: str = "model.layers.{i}.mlp",
    *,
    router: str = "gate",
    parts: tuple[tuple[str, str], ...] = EXPERT_PARTS,
    router_bias: str = "",
    shared: str = "",
    dense: str | Layers | None = None,
    sparse: Layers | None = None,
    optional: tuple[str, ...] = (),
    **options: Any,
) -> tuple[Weight, ...]:
    """Return the weights of feed-forward parts with experts.

    Parameters
    ----------
    mlp : str
        The name of the part in the checkpoint; the following names are inside of it.
    router : str
        The router.
    parts : tuple of (str, str)
        See `experts`; none where the checkpoint stores stacks, which differ between models.
    router_bias : str
        The bias that corrects the router's choice; empty without one.
    shared : str
        The shared experts; empty without them.
    dense : str or callable, optional
        The config key that counts the first layers, which have no experts; or a function of the
        config that returns such layers. By default there are none.
    sparse : callable, optional
        From the config to the layers with experts, where `dense` does not tell.
    optional : tuple of str
        Which of ``router_bias`` and ``shared`` a checkpoint may lack.
    **options
        Of the `Weight` of each stack.
    """
    if isinstance(dense, str):
        sparse = LayersAfter(dense)
        dense = LeadingLayers(dense)
    correction = Weight(
        "blk.{i}.exp_probs_b.bias",
        f"{mlp}.{router_bias}",
        optional="router_bias" in optional,
        in_layers=sparse,
        full_name=True,
    )
    return (
        *(feed_forward(mlp, in_layers=dense) if dense else ()),
        Weight("blk.{i}.ffn_gate_inp", f"{mlp}.{router}", in_layers=sparse),
        *((correction,) if router_bias else ()),
        *experts(f"{mlp}.experts", parts, in_layers=sparse, **options),
        *(
            feed_forward(
                f"{mlp}.{shared}", "_shexp", optional="shared" in optional, in_layers=sparse
            )
            if shared
            else ()
        ),
    )


# Norms of queries and keys, per head.
QK_NORMS = tuple(
    Weight(f"blk.{{i}}.attn_{part}_norm", f"model.layers.{{i}}.self_attn.{part}_norm")
    for part in "qk"
)

# Wrappers put a language model under a prefix; base classes leave out "model.".
WRAPPED = ((r"language_model\.", ""), (r"^text_model\.", ""))
BARE = ((r"^(?=(embed_tokens|layers|norm)\.)", "model."),)
