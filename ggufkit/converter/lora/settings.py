"""What adapter_config.json says: how strong an adapter is, and whether it is a plain LoRA."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ggufkit.errors import ConversionError

# Options of PEFT that make more of an adapter than pairs of small matrices, and why that matters.
REFUSED: Mapping[str, str] = {
    "use_dora": "DoRA also rescales the weights' columns",
    "modules_to_save": "it holds whole modules in addition to the small matrices",
    "trainable_token_indices": "it holds trained embeddings in addition to the small matrices",
    "layer_replication": "it repeats layers of the base model",
    "target_parameters": "it adapts parameters that are no layer's weight",
    "lora_bias": "its matrices have biases",
    "use_qalora": "its matrices are grouped",
    "invocation_string": "it is switched on by text; alora_invocation_tokens would be needed",
}
# Initializations that also change the base model, whose published weights then don't fit.
CHANGED_BASE = ("pissa", "olora", "corda", "loftq")

_MAX_PATTERN = 200


@dataclass(frozen=True)
class Settings:
    """An adapter's strength.

    Attributes
    ----------
    alpha : float
        ``lora_alpha``.
    alphas : mapping of str to float
        ``alpha_pattern``: the alpha of modules whose name ends with, or matches, a pattern.
    rank_stabilized : bool
        Whether alpha is divided by the square root of the rank, not by the rank.
    transposed : bool
        ``fan_in_fan_out``: whether the base's matrices have inputs as rows.
    invocation_tokens : tuple of int
        After these the adapter is to be switched on; empty where it always is.
    base : str
        ``base_model_name_or_path``; may be empty.
    """

    alpha: float
    alphas: Mapping[str, float]
    rank_stabilized: bool
    transposed: bool
    invocation_tokens: tuple[int, ...]
    base: str

    def scale(self, module: str, rank: int) -> float:
        """Return what the product of a module's two matrices is multiplied with."""
        alpha = next((a for p, a in self.alphas.items() if _matches(p, module)), self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def parse_settings(config: Mapping[str, Any], where: str) -> Settings:
    """Return the settings in an adapter_config.json.

    Raises
    ------
    ConversionError
        The adapter is not a plain LoRA, or a value is malformed.
    """
    _refuse_others(config, where)
    tokens = config.get("alora_invocation_tokens") or []
    if not isinstance(tokens, list) or not all(type(t) is int and 0 <= t < 2**32 for t in tokens):
        raise ConversionError(f"{where}: alora_invocation_tokens is no list of tokens")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise ConversionError(f"{where}: alpha_pattern is no JSON object")
    return Settings(
        _number(config.get("lora_alpha"), f"{where}: lora_alpha"),
        {
            _checked(pattern, where): _number(alpha, f"{where}: alpha_pattern")
            for pattern, alpha in patterns.items()
        },
        bool(config.get("use_rslora")),
        bool(config.get("fan_in_fan_out")),
        tuple(tokens),
        str(config.get("base_model_name_or_path") or ""),
    )


def _refuse_others(config: Mapping[str, Any], where: str) -> None:
    kind = str(config.get("peft_type") or "LORA")
    if kind.upper() != "LORA":
        raise ConversionError(
            f"{where}: a {kind[:40]} adapter: llama.cpp applies LoRA alone, the sum of a weight "
            "and a product of two small matrices. Merge it with PEFT, and convert the result"
        )
    has_tokens = bool(config.get("alora_invocation_tokens"))
    for key, why in REFUSED.items():
        if config.get(key) and not (key == "invocation_string" and has_tokens):
            raise ConversionError(
                f"{where}: {key} is set: {why}, for which a GGUF adapter has no place. "
                "Merge it with PEFT (merge_and_unload), and convert the result"
            )
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(CHANGED_BASE):
        raise ConversionError(
            f"{where}: init_lora_weights is {start[:40]!r}: the adapter belongs to a base model "
            "that this initialization changed. Save it with PEFT's "
            "path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        )


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConversionError(f"{where} is {str(value)[:40]!r}, not a number")
    if not value:
        raise ConversionError(f"{where} is 0: the adapter changes nothing")
    return float(value)


def _checked(pattern: str, where: str) -> str:
    """Return a pattern that is quick to match against any name.

    Raises
    ------
    ConversionError
        It is no regular expression, or one that may take long.
    """
    simple = len(pattern) <= _MAX_PATTERN and "(" not in pattern
    if not simple or len(re.findall(r"[*+{?]", pattern)) > 2:
        raise ConversionError(
            f"{where}: alpha_pattern has {pattern[:80]!r}; only names, and patterns without "
            "groups and with at most two repetitions, are taken"
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConversionError(f"{where}: alpha_pattern: {pattern!r}: {error}") from None
    return pattern


def _matches(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None
