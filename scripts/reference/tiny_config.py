"""Shrink a config.json so that the model fits into a file of a few hundred kilobytes.

The rule follows the names of keys. The same kind of number gets the same value everywhere, so that
parts that have to fit each other still do; different kinds get different values, so that a mix-up
changes a shape. What no rule knows stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Config = dict[str, Any]

WIDTH, N_HEADS, N_KV_HEADS, VOCAB = 64, 4, 2, 320
MIN_LAYERS, MAX_LAYERS = 3, 8

HEADS = re.compile(r"(num_attention_heads|n_heads?|num_heads)$")
KV_HEADS = re.compile(r"(num_key_value_heads|n_kv_heads|num_kv_heads|n_head_kv)$")
LAYERS = re.compile(
    r"(num_hidden_layers|n_layers?|num_layers|num_(de|en)coder_layers|(de|en)coder_layers|depth)$"
)
#: Every how many layers something happens: so many layers are needed to see it.
PERIOD = re.compile(r"(interval|period|pattern|_step|every_n_layers)$")
#: How many of the first layers are of another kind.
LEADING = re.compile(r"(first_k_dense_replace|num_dense_layers|moe_layer_start_index)$")
WIDTHS = re.compile(r"(hidden_size|d_model|n_embd|dim)$")
HEAD_DIM = re.compile(r"(head_dim|attention_head_dim|kv_channels|d_kv|d_head)$")

#: From key to value, the first that matches decides. A number that is smaller stays.
SIZES: tuple[tuple[str, int], ...] = (
    (r"vocab_size\w*", VOCAB),
    (r"(hidden_size_per_layer_input|embedding_rank)", 16),
    (r"(\w*_)?(hidden_size|d_model|n_embd|embedding_size|embed_dim|projection_dim)|dim", WIDTH),
    (r"(n_)?shared_(expert_)?intermediate_size", 48),
    (r"(moe|expert)_(intermediate|ffn_hidden|hidden)_(size|dim)|expert_ffn_(hidden_)?size", 32),
    (r"intermediate_size_mlp", 128),
    (r"(\w*_)?(intermediate_size|ffn_dim|ffn_hidden_size|mlp_hidden_size|hidden_dim)", 96),
    (r"(d_ff|n_inner|ffn_size|feed_forward_size|block_ff_dim|intermediate_dim)", 96),
    (r"(\w*_)?(num_key_value_heads|n_kv_heads|num_kv_heads|n_head_kv)", N_KV_HEADS),
    (r"multi_query_group_num", N_KV_HEADS),
    (r"linear_num_key_heads", 2),
    (r"(\w*_)?(num_attention_heads|attention_heads|num_heads|n_heads?|num_value_heads)", N_HEADS),
    (r"qk_rope_head_dim", 16),
    (r"(qk_nope_head_dim|v_head_dim)", 32),
    (r"linear_(key|value)_head_dim", 16),
    (r"\w+_head_dim", 32),
    (r"q_lora_rank", 48),
    (r"kv_lora_rank", 32),
    (r"index_topk", 16),
    (r"index_n_heads", 4),
    (r"(moe_)?(num|n)_(local_|routed_|moe_)?experts", 8),
    (r"(num_experts_per_tok(en)?|top_k_experts|num_selected_experts|moe_(k|topk|top_k))", 3),
    (r"(n_|num_|moe_num_)?shared_experts|num_shared_expert|n_group|n_groups|mamba_n_groups", 2),
    (r"topk_group|num_nextn_predict_layers|num_kv_shared_layers", 1),
    (r"(\w*_)?(d_state|state_size)", 16),
    (r"(time_step_rank|mamba_dt_rank|dt_rank)", 4),
    (r"mamba_(n|num)_heads|n_mamba_heads", 4),
    (r"mamba_d_ssm", 2 * WIDTH),
)
_SIZES = tuple((re.compile(pattern), value) for pattern, value in SIZES)

#: Other sizes: they keep their ratio to the model's width.
_OTHER_SIZE = re.compile(r"(size|dim|rank|width|channels|features)$")
_NO_SIZE = re.compile(r"image|patch|kernel|conv|chunk|window|batch|block|group|max|context|sample")
_EXPERTS = re.compile(r"(n_routed|n_shared|num_local|num)_experts|num_experts_per_tok")
_TOKEN = re.compile(r"token_(id|index)$")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
_N_POSITIONS = 512


def shrink(config: Config) -> Config:
    """Return a config with the same keys, of a model that is small in everything.

    Parameters
    ----------
    config : dict
        As in config.json; the configs of parts (``text_config``) are shrunk in the same way.

    Examples
    --------
    >>> shrink({"hidden_size": 4096, "num_hidden_layers": 32, "rms_norm_eps": 1e-6})
    {'hidden_size': 64, 'num_hidden_layers': 3, 'rms_norm_eps': 1e-06}
    """
    before, after = layer_counts(config)
    small = {
        key: shrink(value) if _is_part(key, value) else _shrunk(key, value, config)
        for key, value in config.items()
    }
    for key, value in small.items():
        if "layer" in key and isinstance(value, dict) and all(map(str.isdigit, value)):
            small[key] = {layer: one for layer, one in value.items() if int(layer) < after}
    for key, value in config.items():
        if isinstance(value, list) and before and len(value) == before:
            small[key] = [_shrunk(key, one, config) for one in value[:after]]
        elif LAYERS.match(key) and isinstance(value, int):
            small[key] = after if value == before else min(value, MIN_LAYERS)
        elif key == "max_window_layers":
            small[key] = min(value, after)
        elif KV_HEADS.match(key) and value in _values(HEADS, config):  # every head has its own
            small[key] = N_HEADS
    return _consistent(small)


def text_part(config: Mapping[str, Any]) -> Config:
    """Return a config with that of its language model, where it lies in a part, lifted."""
    return {**config, **(config.get("text_config") or config.get("llm_config") or {})}


def layer_counts(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of layers, and how many of the first are enough to see every kind."""
    n = next(_values(LAYERS, config), 0)
    needed = [MIN_LAYERS, *_needed(config, n)]
    return n, min(n, MAX_LAYERS, max(needed))


def _needed(config: Mapping[str, Any], n_layers: int) -> Iterator[int]:
    """Yield how many layers it takes to see all that each key speaks of."""
    for key, value in config.items():
        if isinstance(value, list) and len(value) == n_layers:
            kinds = [json.dumps(kind) for kind in value]
            yield 1 + max(kinds.index(kind) for kind in kinds)
        elif type(value) is int and LEADING.search(key):
            yield value + 1
        elif type(value) is int and PERIOD.search(key):
            yield value


def _is_part(key: str, value: Any) -> bool:
    return isinstance(value, dict) and key.endswith("config")


def _shrunk(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    """Return the value of one key that is no list of layers."""
    if value is None and _EXPERTS.fullmatch(key):  # some classes have no default for these
        value = 1 << 10
    if type(value) is not int:
        return value
    if HEAD_DIM.match(key):
        return _head_dim(value, config)
    if key in _POSITIONS and not any("rope" in k or "rotary" in k for k in config):
        return min(value, _N_POSITIONS)
    known = next((size for pattern, size in _SIZES if pattern.fullmatch(key)), None)
    if known is not None:
        return min(value, known)
    width = next(_values(WIDTHS, config), 0)
    if value >= WIDTH < width and _OTHER_SIZE.search(key) and not _NO_SIZE.search(key):
        return max(8, round(value * WIDTH / width / 8) * 8)
    return value


def _head_dim(value: int, config: Mapping[str, Any]) -> int:
    """Return a head's size: the width divided by the heads, or twice that where it was not."""
    width, heads = next(_values(WIDTHS, config), 0), next(_values(HEADS, config), 0)
    plain = WIDTH // N_HEADS
    return plain if heads * value == width else 2 * plain


def _values(names: re.Pattern[str], config: Mapping[str, Any]) -> Iterator[int]:
    """Yield the integers under keys of a kind."""
    yield from (v for k, v in config.items() if names.match(k) and type(v) is int)


def _consistent(config: Config) -> Config:
    """Mend what depends on several numbers: token ids, rotary dimensions, expanded widths."""
    vocab = config.get("vocab_size")
    head = _rotated(config)
    small = {}
    for key, value in config.items():
        if _TOKEN.search(key) and isinstance(vocab, int):
            small[key] = _token(value, vocab)
        elif isinstance(value, dict) and key.startswith("rope"):
            small[key] = {k: _rotary(k, v, head) for k, v in value.items()}
        else:
            small[key] = value
    if small.get("n_group") == 1 and "topk_group" in small:
        small["topk_group"] = 1
    return small | _latent(small) | _state_space(small)


def _latent(config: Config) -> Config:
    """Return what follows from other sizes in latent attention (MLA)."""
    mended = {}
    if config.get("qk_head_dim") and config.get("qk_nope_head_dim"):
        mended["qk_head_dim"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    return mended


def _state_space(config: Config) -> Config:
    """Return what follows from other sizes in state-space models."""
    mended = {}
    expand = config.get("expand") or config.get("mamba_expand") or 2
    if config.get("state_size") and config.get("intermediate_size"):
        mended["intermediate_size"] = expand * WIDTH
    if isinstance(config.get("mamba_d_head"), int):
        width = config.get("mamba_d_ssm") or expand * WIDTH
        mended["mamba_d_head"] = width // config["mamba_n_heads"]
    return mended


def _rotated(config: Config) -> int:
    """Return how many dimensions of a head are rotated."""
    head = config.get("qk_rope_head_dim") or config.get("head_dim") or WIDTH // N_HEADS
    nested = config.get("rope_parameters") or config.get("rope_scaling") or {}
    part = config.get("partial_rotary_factor") or nested.get("partial_rotary_factor") or 1.0
    return int(head * part)


def _token(value: Any, vocab: int) -> Any:
    """Return a token id that the vocabulary has."""
    if isinstance(value, list):
        return [_token(one, vocab) for one in value]
    return value if type(value) is not int or value < vocab else vocab - 1


def _rotary(key: str, value: Any, rotated: int) -> Any:
    """Return a list of rope settings for heads of this size."""
    if key in ("short_factor", "long_factor") and isinstance(value, list):
        return value[: rotated // 2]
    if key == "mrope_section" and isinstance(value, list):
        sections = [section * (rotated // 2) // sum(value) for section in value]
        return [rotated // 2 - sum(sections[1:]), *sections[1:]]
    if isinstance(value, dict):
        return {k: _rotary(k, v, rotated) for k, v in value.items()}
    return value


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for every key whose value was changed.

    Examples
    --------
    >>> changes({"a": 4096, "b": {"c": 8}}, {"a": 64, "b": {"c": 2}})
    ['a: 4096 -> 64', 'b.c: 8 -> 2']
    """
    lines = []
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            lines += changes(old, value, f"{prefix}{key}.")
        elif old != value:
            lines.append(f"{prefix}{key}: {_short(old)} -> {_short(value)}")
    return lines


def _short(value: Any) -> str:
    text = json.dumps(value)
    if isinstance(value, list) and len(text) > 60:
        return (
            f"{len(value)} items"
            if len(set(map(json.dumps, value))) > 1
            else (f"{len(value)} x {json.dumps(value[0])}")
        )
    return text
