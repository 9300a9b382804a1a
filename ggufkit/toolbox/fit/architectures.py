"""What llama.cpp keeps in memory while a model runs, by architecture.

One table per kind of fact, read from llama.cpp's ``llama-arch.cpp`` (``llm_arch_is_recurrent``,
``llm_arch_is_hybrid``), ``llama_model::create_memory`` and the ``load_arch_hparams`` of each model.
An architecture in no table has a KV cache over the whole context in every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

#: llama.cpp refuses models with more (``LLAMA_MAX_LAYERS``).
MAX_LAYERS = 512

#: Encoders and diffusion models: every run sees all tokens, nothing is kept.
NO_CACHE = frozenset(
    {
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert"),
        *("jina-bert-v2", "jina-bert-v3", "gemma-embedding", "wavtokenizer-dec"),
        *("dream", "llada", "llada-moe", "rnd1"),
    }
)

#: A state of fixed size in every layer, and no KV cache.
RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})


class HybridLayers(Enum):
    """Which layers of a hybrid model have a state instead of a KV cache."""

    NO_KV_HEADS = auto()  # those without key-value heads
    NO_KV_HEADS_NO_FFN = auto()  # ... and without feed forward; layers with one have neither
    INTERVAL = auto()  # all but every n-th, or as an array in the file says
    BOTH = auto()  # every layer has both


HYBRID = MappingProxyType(
    {
        "bailingmoe3": HybridLayers.NO_KV_HEADS,
        "falcon-h1": HybridLayers.BOTH,
        "granitehybrid": HybridLayers.NO_KV_HEADS,
        "jamba": HybridLayers.NO_KV_HEADS,
        "kimi-k3": HybridLayers.NO_KV_HEADS,
        "kimi-linear": HybridLayers.NO_KV_HEADS,
        "lfm2": HybridLayers.NO_KV_HEADS,
        "lfm2moe": HybridLayers.NO_KV_HEADS,
        "minimax-01": HybridLayers.INTERVAL,
        "nemotron_h": HybridLayers.NO_KV_HEADS_NO_FFN,
        "nemotron_h_moe": HybridLayers.NO_KV_HEADS_NO_FFN,
        "plamo2": HybridLayers.NO_KV_HEADS,
        "qwen35": HybridLayers.INTERVAL,
        "qwen35moe": HybridLayers.INTERVAL,
        "qwen3next": HybridLayers.INTERVAL,
    }
)

#: Every n-th layer has a KV cache where ``full_attention_interval`` is missing.
DEFAULT_INTERVAL = MappingProxyType({"minimax-01": 8})
COMMON_INTERVAL = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Which of an architecture's layers have a sliding window.

    Attributes
    ----------
    period : int
        One in so many layers sees the whole context, the others a window; 0: every layer with
        attention has a window. An array ``attention.sliding_window_pattern`` takes precedence.
    dense_first : bool
        Whether it is the first of them rather than the last.
    default : int
        The window if the file does not state it; 0: none.
    fixed : int
        Overrides the size of the window, if a file has one.
    only : int
        Only models of so many layers have windows; 0: all.
    """

    period: int
    dense_first: bool = False
    default: int = 0
    fixed: int = 0
    only: int = 0


WINDOWS = MappingProxyType(
    {
        "afmoe": Window(4),
        "cohere2": Window(4),
        "cohere2moe": Window(4, dense_first=True),
        "exaone-moe": Window(4, default=128),
        "exaone4": Window(4, default=4096, only=64),
        "gemma2": Window(2, default=4096),
        "gemma3": Window(6),
        "gemma3n": Window(5),
        "gemma4": Window(6),
        "gpt-oss": Window(2),
        "granite_swa": Window(4),
        "laguna": Window(4, dense_first=True),
        "lfm2": Window(0),
        "lfm2moe": Window(0),
        "llama4": Window(4, default=8192, fixed=8192),
        "maple": Window(4),
        "mellum": Window(4),
        "mimo2": Window(4),
        "muse-glimmer": Window(4),
        "olmo2": Window(4),
        "plamo3": Window(8),
        "smallthinker": Window(4, dense_first=True, fixed=4096),
        "spark2_5": Window(4),
        "step35": Window(4),
    }
)

#: Layers from this one on use the cache of an earlier layer (gemma4: counted by the file).
OWN_CACHE_LAYERS = MappingProxyType({"gemma3n": 20})

#: Sparse attention: one more key per token and layer, of ``attention.indexer.key_length``.
INDEXED = frozenset({"deepseek32", "glm-dsa", "minimax-m3"})

#: They keep more than is computed here, in ways of their own.
ROUGH = frozenset(
    {
        *("deepseek4", "dflash", "dots3note", "gemma4-assistant", "glm5-next", "hy_v4"),
        *("nanbeige", "qwen4exp"),
    }
)
