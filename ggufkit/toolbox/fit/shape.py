"""What every layer caches, from a model's metadata: keys, values and states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ggufkit.errors import BadValueError
from ggufkit.gguf.metadata import Metadata
from ggufkit.toolbox.fit.architectures import (
    COMMON_INTERVAL,
    DEFAULT_INTERVAL,
    HYBRID,
    INDEXED,
    MAX_LAYERS,
    NO_CACHE,
    OWN_CACHE_LAYERS,
    RECURRENT,
    ROUGH,
    WINDOWS,
    HybridLayers,
)

_MAX_VALUE = 1 << 32  # hparams are 32-bit in llama.cpp


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What a layer caches.

    Attributes
    ----------
    k, v : tuple of int
        Numbers per token, one item per tensor of the cache.
    k_head, v_head : int
        Numbers per head and token, which must be whole blocks of the cache type.
    window : int
        Tokens that are cached; 0: the whole context.
    state : int
        Float32 numbers per sequence, independent of the context.
    """

    k: tuple[int, ...] = ()
    v: tuple[int, ...] = ()
    k_head: int = 0
    v_head: int = 0
    window: int = 0
    state: int = 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that memory depends on, in addition to the weights.

    Attributes
    ----------
    architecture : str
        ``general.architecture``.
    trained_context : int
        Context that the model was trained for; 0 if unknown.
    n_layers, n_main : int
        Blocks, and those without the MTP blocks (``nextn``).
    layers : tuple of LayerShape
        What each of them caches.
    n_embd, n_ff, n_side, n_vocab : int
        Numbers per token: between blocks, in the widest part of a block, in per-layer inputs
        (gemma3n, gemma4), and in the output.
    is_mla : bool
        Whether keys and values are cached as one compressed row.
    keeps_cache : bool
        False for encoders.
    rough : bool
        Whether llama.cpp caches more for this architecture than is computed here.
    """

    architecture: str
    trained_context: int
    n_layers: int
    n_main: int
    layers: tuple[LayerShape, ...]
    n_embd: int
    n_ff: int
    n_side: int
    n_vocab: int
    is_mla: bool
    keeps_cache: bool
    rough: bool

    @classmethod
    def of(cls, metadata: Metadata) -> ModelShape:
        """Read a model's shape.

        Raises
        ------
        MetadataError
            A key is missing or of another type.
        BadValueError
            A value is invalid, or the file is not a model that runs by itself.
        """
        hparams = _Hparams(metadata)
        return cls(
            architecture=hparams.architecture,
            trained_context=hparams.number("context_length", 0),
            n_layers=hparams.n_layers,
            n_main=hparams.n_main,
            layers=tuple(_layer(hparams, i) for i in range(hparams.n_layers)),
            n_embd=hparams.n_embd,
            n_ff=_widest(hparams),
            n_side=hparams.number("embedding_length_per_layer_input", 0) * hparams.n_layers,
            n_vocab=_n_vocab(metadata, hparams),
            is_mla=hparams.is_mla,
            keeps_cache=hparams.architecture not in NO_CACHE,
            rough=hparams.architecture in ROUGH,
        )


class _Hparams:
    """The keys of an architecture, checked."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.architecture = metadata.get_str("general.architecture")
        if self.architecture == "clip" or metadata.get("general.type") in ("adapter", "mmproj"):
            raise BadValueError("not a model of its own, but an addition to one")
        self.n_layers = self.number("block_count")
        if not 0 < self.n_layers <= MAX_LAYERS:
            raise BadValueError(
                f"{self.architecture}.block_count is {self.n_layers}, expected 1..{MAX_LAYERS}"
            )
        self.n_embd = self.number("embedding_length")
        self.n_main = max(self.n_layers - self.number("nextn_predict_layers", 0), 0)
        self.heads = self.per_layer("attention.head_count", 0)
        self.kv_heads = self.per_layer("attention.head_count_kv", self.heads)
        self.window = _window(self)

    def number(self, name: str, default: int | None = None) -> int:
        """Return a number from 0 to 2^32."""
        key = f"{self.architecture}.{name}"
        if default is None:
            value = self.metadata.get_int(key)
        else:
            value = self.metadata.get_int(key, default)
        return self._checked(key, value)

    def per_layer(self, name: str, default: int | list[int]) -> list[int]:
        """Return a number per layer; a file holds one for all, or an array."""
        key = f"{self.architecture}.{name}"
        value: Any = self.metadata.get(key, default)
        if not isinstance(value, list):
            value = [value] * self.n_layers
        if len(value) < self.n_layers:
            raise BadValueError(f"{key} has {len(value)} items for {self.n_layers} layers")
        return [self._checked(key, item) for item in value[: self.n_layers]]

    def _checked(self, key: str, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value < _MAX_VALUE:
            raise BadValueError(f"{key} is {value!r}, expected 0..{_MAX_VALUE - 1}")
        return int(value)

    def head_length(self, kind: str, *, in_window: bool) -> int:
        """Return the head lengths of keys or values."""
        heads = self.heads[0]
        whole = self.number(f"attention.{kind}_length", self.n_embd // heads if heads else 0)
        if not in_window:
            return whole
        return self.number(f"attention.{kind}_length_swa", whole)

    @property
    def is_mla(self) -> bool:
        """Whether keys and values are cached as one compressed row."""
        return all(self.number(f"attention.{kind}_length_mla", 0) for kind in ("key", "value"))


def _window(hparams: _Hparams) -> int:
    """Return the sliding window's size; 0 if llama.cpp uses none for this model."""
    facts = WINDOWS.get(hparams.architecture)
    if facts is None or facts.only not in (0, hparams.n_layers):
        return 0
    stated = hparams.number("attention.sliding_window", facts.default)
    return facts.fixed if stated and facts.fixed else stated


def _has_window(hparams: _Hparams, layer: int) -> bool:
    facts = WINDOWS.get(hparams.architecture)
    if not hparams.window or facts is None or layer >= hparams.n_main:
        return False
    name = "attention.sliding_window_pattern"
    pattern: Any = hparams.metadata.get(f"{hparams.architecture}.{name}")
    if isinstance(pattern, list):
        return bool(hparams.per_layer(name, 0)[layer])
    period = hparams.number(name, facts.period)
    if period == 0:
        return True
    return layer % period != (0 if facts.dense_first else period - 1)


def _layer(hparams: _Hparams, layer: int) -> LayerShape:
    if hparams.architecture in NO_CACHE:
        return LayerShape()
    has_cache, has_state = _kinds(hparams, layer)
    state = _state_size(hparams) if has_state else 0
    if not has_cache:
        return LayerShape(state=state)
    in_window = _has_window(hparams, layer)
    n_heads = hparams.kv_heads[layer]
    k_head = hparams.head_length("key", in_window=in_window)
    v_head = hparams.head_length("value", in_window=in_window)
    k = [n_heads * k_head]
    v = [] if hparams.is_mla else [n_heads * v_head]
    if _is_indexed(hparams, layer):
        k.append(hparams.number("attention.indexer.key_length"))
        if v:
            v.append(hparams.head_length("value", in_window=False))
    window = hparams.window if in_window else 0
    return LayerShape(tuple(k), tuple(v), k_head, v_head, window, state)


def _kinds(hparams: _Hparams, layer: int) -> tuple[bool, bool]:
    """Return whether a layer has a KV cache of its own, and whether it has a state."""
    if layer >= hparams.n_main or layer >= _n_own_caches(hparams):
        return False, False
    if hparams.architecture in RECURRENT:
        return False, True
    mix = HYBRID.get(hparams.architecture)
    if mix is None:
        return True, False
    return _MIXES[mix](hparams, layer)


def _n_own_caches(hparams: _Hparams) -> int:
    shared = 0
    if hparams.architecture == "gemma4":
        shared = hparams.number("attention.shared_kv_layers", 0)
    return OWN_CACHE_LAYERS.get(hparams.architecture, hparams.n_layers - shared)


def _by_kv_heads(hparams: _Hparams, layer: int) -> tuple[bool, bool]:
    has_heads = hparams.kv_heads[layer] > 0
    return has_heads, not has_heads


def _by_kv_heads_and_ffn(hparams: _Hparams, layer: int) -> tuple[bool, bool]:
    if hparams.per_layer("feed_forward_length", 0)[layer]:
        return False, False
    return _by_kv_heads(hparams, layer)


def _by_interval(hparams: _Hparams, layer: int) -> tuple[bool, bool]:
    key = "attention.recurrent_layers"
    if f"{hparams.architecture}.{key}" in hparams.metadata:
        recurrent = bool(hparams.per_layer(key, 0)[layer])
    else:
        default = DEFAULT_INTERVAL.get(hparams.architecture, COMMON_INTERVAL)
        interval = hparams.number("full_attention_interval", default) or 1
        recurrent = (layer + 1) % interval != 0
    return not recurrent, recurrent


_MIXES: dict[HybridLayers, Callable[[_Hparams, int], tuple[bool, bool]]] = {
    HybridLayers.NO_KV_HEADS: _by_kv_heads,
    HybridLayers.NO_KV_HEADS_NO_FFN: _by_kv_heads_and_ffn,
    HybridLayers.INTERVAL: _by_interval,
    HybridLayers.BOTH: lambda *_: (True, True),
}


def _state_size(hparams: _Hparams) -> int:
    """Return numbers per sequence (``n_embd_r`` and ``n_embd_s`` of llama-hparams.cpp)."""
    number, n_embd = hparams.number, hparams.n_embd
    head_size = number("wkv.head_size", 0)
    if head_size:
        return n_embd * (number("token_shift_count", 2) + head_size)
    convolution = number("shortconv.l_cache", 0)
    if convolution:
        return n_embd * (convolution - 1)
    taps = number("ssm.conv_kernel", 0)
    kda = number("kda.head_dim", 0)
    if kda:
        return hparams.heads[0] * kda * (3 * (taps - 1 if taps else 3) + kda)
    inner, state = number("ssm.inner_size", 0), number("ssm.state_size", 0)
    conv = max(taps - 1, 0) * (inner + 2 * number("ssm.group_count", 0) * state)
    if hparams.architecture == "minimax-01":
        return conv + hparams.heads[0] * hparams.head_length("key", in_window=False) ** 2
    return conv + inner * state


def _is_indexed(hparams: _Hparams, layer: int) -> bool:
    if hparams.architecture not in INDEXED:
        return False
    if hparams.architecture == "minimax-m3":
        return layer >= hparams.number("leading_dense_block_count", 0)
    if f"{hparams.architecture}.attention.indexer.types" in hparams.metadata:
        return bool(hparams.per_layer("attention.indexer.types", 1)[layer])
    return True


def _widest(hparams: _Hparams) -> int:
    """Return numbers per token in the widest part of a block; with experts, of those used."""
    dense = max(hparams.per_layer("feed_forward_length", 0))
    used = max(hparams.per_layer("expert_used_count", 0))
    experts = used * max(hparams.per_layer("expert_feed_forward_length", 0))
    shared = hparams.number("expert_shared_feed_forward_length", 0)
    return max(dense, experts + shared, 2 * hparams.number("ssm.inner_size", 0))


def _n_vocab(metadata: Metadata, hparams: _Hparams) -> int:
    tokens = "tokenizer.ggml.tokens"
    if tokens in metadata:
        return metadata.n_items_of(tokens)
    return hparams.number("vocab_size", 0)
