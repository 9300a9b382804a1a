"""Architectures: one file each, one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ggufkit.architectures.baichuan import BAICHUAN
from ggufkit.architectures.bert import BERT, ROBERTA, XLM_ROBERTA
from ggufkit.architectures.cohere import COHERE, COHERE2
from ggufkit.architectures.deepseek import DEEPSEEK, DEEPSEEK2, DEEPSEEK3
from ggufkit.architectures.diffusion import DREAM, LLADA
from ggufkit.architectures.distilbert import DISTILBERT
from ggufkit.architectures.ernie import ERNIE4_5MOE
from ggufkit.architectures.exaone import EXAONE, EXAONE4
from ggufkit.architectures.falcon import FALCON
from ggufkit.architectures.falcon_h1 import FALCON_H1
from ggufkit.architectures.gemma import GEMMA, GEMMA2, GEMMA3, GEMMA_EMBEDDING
from ggufkit.architectures.gemma3n import GEMMA3N
from ggufkit.architectures.glm import GLM4, GLM4MOE, GLM4MOE_LITE
from ggufkit.architectures.gpt2 import GPT2
from ggufkit.architectures.gpt_oss import GPT_OSS
from ggufkit.architectures.granite import GRANITE, GRANITEMOE
from ggufkit.architectures.granite_hybrid import (
    GRANITE4,
    GRANITE4MOE,
    GRANITEHYBRID,
    GRANITEHYBRID_DENSE,
)
from ggufkit.architectures.internlm import INTERNLM2, INTERNLM3
from ggufkit.architectures.jamba import JAMBA
from ggufkit.architectures.jina import JINA_BERT_V2
from ggufkit.architectures.lfm2 import LFM2, LFM2MOE
from ggufkit.architectures.llama import ARCEE, ERNIE4_5, HUNYUAN, LLAMA, MIXTRAL, SMOLLM3
from ggufkit.architectures.llama4 import LLAMA4
from ggufkit.architectures.mamba import FALCON_MAMBA, MAMBA, MAMBA2
from ggufkit.architectures.minicpm import MINICPM, MINICPM3
from ggufkit.architectures.minimax import MINIMAX_M2
from ggufkit.architectures.mistral3 import MISTRAL3
from ggufkit.architectures.modernbert import MODERNBERT
from ggufkit.architectures.mpt import MPT
from ggufkit.architectures.multimodal import text_classes, text_part
from ggufkit.architectures.nemotron import NEMOTRON
from ggufkit.architectures.neox import BLOOM, GPTNEOX
from ggufkit.architectures.nomic import NOMIC_BERT, NOMIC_BERT_MOE
from ggufkit.architectures.olmo import OLMO, OLMO2, OLMO3, OLMOE
from ggufkit.architectures.orion import ORION
from ggufkit.architectures.phi import PHI2, PHI3, PHIMOE
from ggufkit.architectures.qwen import QWEN2, QWEN2MOE, QWEN3, QWEN3MOE
from ggufkit.architectures.qwen_hybrid import QWEN3NEXT, QWEN35, QWEN35MOE
from ggufkit.architectures.qwen_vl import QWEN2VL, QWEN3VL, QWEN3VLMOE
from ggufkit.architectures.seed_oss import SEED_OSS
from ggufkit.architectures.stablelm import STABLELM
from ggufkit.architectures.starcoder import STARCODER, STARCODER2
from ggufkit.architectures.suggest import best_fit, closest_name
from ggufkit.architectures.t5 import T5, T5_ENCODER
from ggufkit.architectures.xverse import XVERSE
from ggufkit.errors import UnknownArchitectureError
from ggufkit.mapping.spec import Architecture

ARCHITECTURES: tuple[Architecture, ...] = (
    ARCEE,
    BAICHUAN,
    BERT,
    BLOOM,
    COHERE,
    COHERE2,
    DEEPSEEK,
    DEEPSEEK2,
    DEEPSEEK3,
    DISTILBERT,
    DREAM,
    ERNIE4_5,
    ERNIE4_5MOE,
    EXAONE,
    EXAONE4,
    FALCON,
    FALCON_H1,
    FALCON_MAMBA,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GEMMA3N,
    GEMMA_EMBEDDING,
    GLM4,
    GLM4MOE,
    GLM4MOE_LITE,
    GPT2,
    GPTNEOX,
    GPT_OSS,
    GRANITE,
    GRANITE4,
    GRANITE4MOE,
    GRANITEHYBRID,
    GRANITEHYBRID_DENSE,
    GRANITEMOE,
    HUNYUAN,
    INTERNLM2,
    INTERNLM3,
    JAMBA,
    JINA_BERT_V2,
    LFM2,
    LFM2MOE,
    LLADA,
    LLAMA,
    LLAMA4,
    MAMBA,
    MAMBA2,
    MINICPM,
    MINICPM3,
    MINIMAX_M2,
    MISTRAL3,
    MIXTRAL,
    MODERNBERT,
    MPT,
    NEMOTRON,
    NOMIC_BERT,
    NOMIC_BERT_MOE,
    OLMO,
    OLMO2,
    OLMO3,
    OLMOE,
    ORION,
    PHI2,
    PHI3,
    PHIMOE,
    QWEN2,
    QWEN2MOE,
    QWEN2VL,
    QWEN3,
    QWEN35,
    QWEN35MOE,
    QWEN3MOE,
    QWEN3NEXT,
    QWEN3VL,
    QWEN3VLMOE,
    ROBERTA,
    SEED_OSS,
    SMOLLM3,
    STABLELM,
    STARCODER,
    STARCODER2,
    T5,
    T5_ENCODER,
    XLM_ROBERTA,
    XVERSE,
)

BY_HF_CLASS: Mapping[str, Architecture] = MappingProxyType(
    {
        name: architecture
        for architecture in ARCHITECTURES
        for name in architecture.hf_classes
        if architecture.when is None
    }
)


def find_architecture(config: Mapping[str, Any], names: Iterable[str] = ()) -> Architecture:
    """Return the architecture of a checkpoint.

    Parameters
    ----------
    config : mapping
        Its config.json.
    names : iterable of str
        Its tensors, which tell an error the closest architecture better than a class's name.

    Raises
    ------
    UnknownArchitectureError
        No architecture file covers its class, or it names none.
    """
    given = config.get("architectures")
    classes = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    for name in classes:
        for architecture in ARCHITECTURES:
            if architecture.when and name in architecture.hf_classes and architecture.when(config):
                return architecture
        if name in BY_HF_CLASS:
            return BY_HF_CLASS[name]
    for name in text_classes(config):
        if name in BY_HF_CLASS:
            return text_part(BY_HF_CLASS[name], config)
    raise _unknown(config, classes, names)


def _unknown(
    config: Mapping[str, Any], classes: list[str], names: Iterable[str]
) -> UnknownArchitectureError:
    from ggufkit.architectures.from_gguf_py import generic_name  # reads gguf-py's tables

    like = best_fit(ARCHITECTURES, names, config)
    closest = like.hf_classes[0] if like else closest_name(classes, BY_HF_CLASS)
    generic = generic_name(config)
    can = (
        f"gguf-py knows the names of its tensors: --generic converts it, unverified, as {generic}"
        if generic
        else "gguf-py has no table for it either"
    )
    return UnknownArchitectureError(
        f"config.json names the model class {', '.join(classes)[:200] or '(none)'}, which ggufkit "
        f"has no architecture file for; the closest class that it knows is {closest}. {can}. "
        "`ggufkit architectures` lists all; docs/adding-an-architecture.md says how to add one",
        closest=closest,
        generic=generic,
    )
