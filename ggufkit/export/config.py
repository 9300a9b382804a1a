"""config.json, recovered from a file's hparams, tensors and special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ggufkit.errors import ConversionError
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.computed import llama3_rope_factors
from ggufkit.mapping.config_inverse import invert_hparams, set_path, shortest_decimal
from ggufkit.mapping.model_header import NULL, ModelHeader
from ggufkit.mapping.spec import Architecture, ExportSpec
from ggufkit.mapping.transforms import Shape
from ggufkit.tokenizers.special import ID_KEYS

EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
ROPE_FACTORS = ("rope_factors_long.weight", "rope_factors_short.weight")
ROPE_FREQS = "rope_freqs.weight"

_TOKENS = "tokenizer.ggml.tokens"


def known_of(architecture: str, metadata: Metadata, shapes: Mapping[str, Shape]) -> ModelHeader:
    """Return the facts in a file's header; hparams without the prefix of the architecture."""
    prefix = f"{architecture}."
    hparams = {
        key.removeprefix(prefix): metadata[key]
        for key in metadata
        if key.startswith(prefix) or key == "tokenizer.ggml.suppress_tokens"
    }
    ids = {name: metadata[key] for name, key in ID_KEYS.items() if key in metadata}
    tokens = metadata.get(_TOKENS)
    return ModelHeader(
        hparams=hparams,
        shapes=shapes,
        ids={name: token for name, token in ids.items() if type(token) is int},
        n_tokens=len(tokens) if isinstance(tokens, list) else 0,
        tokenizer=str(metadata.get("tokenizer.ggml.model", "")),
    )


def recover_config(
    architecture: Architecture, spec: ExportSpec, known: ModelHeader
) -> dict[str, Any]:
    """Return the config of the checkpoint that a file was made from.

    Parameters
    ----------
    architecture, spec
        What the file is.
    known : ModelHeader
        The file.

    Raises
    ------
    ConversionError
        No config gives these RoPE factors.
    """
    head = next((cls for tensor, cls, _ in spec.task_heads if tensor in known.shapes), None)
    config = known.config
    for key, value in spec.config.items():
        found = value(known) if callable(value) else value
        if found is not None:
            set_path(config, key, None if found is NULL else shortest_decimal(found))
    set_path(config, "architectures", [head or spec.hf_class or architecture.hf_classes[0]])
    set_path(config, "model_type", spec.model_type)
    set_path(config, "vocab_size", _vocab_size(known))
    invert_hparams(architecture, known)
    names = {weight.name for weight in architecture.weights}
    if "output" in names:
        set_path(config, "tie_word_embeddings", OUTPUT not in known.shapes)
    for name in ("bos", "eos", "pad", "unk", "sep", "mask"):
        if name in known.ids:
            set_path(config, f"{name}_token_id", known.ids[name])
    _put_rope(config, known)
    _put_rope_by_kind(config)
    is_nested = spec.nested and config["model_type"] == spec.model_type
    return _nested(config, spec.nested) if is_nested else config


def _nested(config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """Return the config of a multimodal model around that of its language model."""
    outer = ("architectures", "vision_config")
    text = {key: value for key, value in config.items() if key not in outer}
    found = {key: config[key] for key in outer if key in config}
    shared = {key: text[key] for key in ("tie_word_embeddings",) if key in text}
    return {**found, "model_type": model_type, **shared, "text_config": text}


def _vocab_size(known: ModelHeader) -> int:
    given = known.hparams.get("vocab_size")
    if type(given) is int and given > 0:
        return given
    return known.shapes[EMBEDDING][0] if EMBEDDING in known.shapes else known.n_tokens


def _put_rope(config: dict[str, Any], known: ModelHeader) -> None:
    """Set the RoPE scaling that tensors hold."""
    long, short = (known.computed.get(name) for name in ROPE_FACTORS)
    if long is not None and short is not None:
        set_path(config, "rope_scaling.rope_type", "longrope")
        for key, values in (("long_factor", long), ("short_factor", short)):
            set_path(config, f"rope_scaling.{key}", [float(str(value)) for value in values])
    freqs = known.computed.get(ROPE_FREQS)
    if freqs is not None and _is_proportional(config):
        share = float(np.mean(freqs == 1))  # the others are not rotated
        set_path(config, "rope_parameters.full_attention.partial_rotary_factor", share)
    elif freqs is not None:
        config["rope_scaling"] = _llama3_scaling(config, known, freqs)


def _put_rope_by_kind(config: dict[str, Any]) -> None:
    """Move RoPE settings to those of a kind of attention, where a config has them by kind."""
    kinds = config.get("rope_parameters", {})
    for kind, theta in (("full", "rope_theta"), ("sliding", "rope_local_base_freq")):
        if theta in config and (params := kinds.get(f"{kind}_attention")):
            params["rope_theta"] = config.pop(theta)
    if full := kinds.get("full_attention"):
        full.update(config.pop("rope_scaling", {}))


def _is_proportional(config: Mapping[str, Any]) -> bool:
    params = config.get("rope_parameters", {}).get("full_attention", {})
    return params.get("rope_type") == "proportional"  # type: ignore[no-any-return]


def _llama3_scaling(config: Mapping[str, Any], known: ModelHeader, freqs: Any) -> dict[str, Any]:
    """Return the settings of Llama 3's RoPE scaling that give these factors.

    Only original context / low and / high matter. Where both borders are among the factors they
    follow from these; the usual low of 1, and high of 4 are tried with every usual context.
    """
    trained = known.hparams.get("context_length")
    contexts = [8192, *(1 << n for n in range(10, 21)), *([trained] if trained else [])]
    for low, high in ((1.0, 4.0), (1.0, 2.0), (1.0, 8.0), (1.0, 16.0), (1.0, 32.0)):
        for context in contexts:
            scaling = {
                "rope_type": "llama3",
                "factor": float(str(np.float32(freqs.max()))),
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": context,
            }
            made = llama3_rope_factors({**config, "rope_scaling": scaling})
            if made is not None and np.array_equal(made, freqs):
                return scaling
    raise ConversionError(
        f"{ROPE_FREQS}: no usual settings of llama 3's rope scaling give these factors"
    )
