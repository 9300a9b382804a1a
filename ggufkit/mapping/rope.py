"""Rope settings: one form for the many that config.json has had.

transformers 5 writes ``rope_parameters``, per attention type where the types differ; before it
there were ``rope_theta``, ``rope_scaling`` and ``rope_local_base_freq``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ggufkit.gguf.metadata import Value
from ggufkit.mapping.config_inverse import shortest_decimal
from ggufkit.mapping.model_header import Config, ConfigValues, ModelHeader, inverse_of

_SCALED = ("linear", "yarn")
LONGROPE = ("su", "longrope")


# Names that config.json has had for the same.
THETA = (
    "global_rope_theta",
    "rope_global_theta",
    "rope_theta_global",
    "rope_theta",
    "rotary_emb_base",
)
THETA_SLIDING = (
    "local_rope_theta",
    "rope_local_theta",
    "rope_theta_local",
    "swa_rope_theta",
    "rope_local_base_freq",
)
PARTIAL = ("partial_rotary_factor", "rope_pct", "rope_percent")


def _first(config: Config, names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def rope_parameters(config: Config) -> dict[str, Any]:
    """Return ``{"full_attention": {...}, "sliding_attention": {...}}``, either may be empty."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    per_type = {k: v for k, v in given.items() if k.endswith("_attention") and v}
    full: dict[str, Any] = {**(per_type.get("full_attention", {}) if per_type else given)}
    sliding: dict[str, Any] = {**per_type.get("sliding_attention", {})}
    _set_missing(full, "rope_theta", _first(config, THETA))
    _set_missing(full, "rope_type", full.get("type"))
    _set_missing(full, "partial_rotary_factor", _first(config, PARTIAL))
    _set_missing(
        full, "original_max_position_embeddings", config.get("original_max_position_embeddings")
    )
    _set_missing(sliding, "rope_theta", _first(config, THETA_SLIDING))
    return {"full_attention": full, "sliding_attention": sliding}


def _set_missing(params: dict[str, Any], key: str, value: object) -> None:
    if params.get(key) is None and value is not None:
        params[key] = value


def full(config: Config) -> Mapping[str, Any]:
    """Return the parameters of full attention."""
    return rope_parameters(config)["full_attention"]  # type: ignore[no-any-return]


def _base_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    known = "global_rope_theta" in header.config
    return {} if known else {"rope_theta": shortest_decimal(value)}


@inverse_of(_base_to_config)
def freq_base(config: Config) -> Value | None:
    """Return ``rope.freq_base``."""
    return full(config).get("rope_theta")


def _swa_base_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    known = "local_rope_theta" in header.config
    return {} if known else {"rope_local_base_freq": shortest_decimal(value)}


@inverse_of(_swa_base_to_config)
def freq_base_swa(config: Config) -> Value | None:
    """Return ``rope.freq_base_swa``: the base of sliding-window layers."""
    theta: Value | None = rope_parameters(config)["sliding_attention"].get("rope_theta")
    return theta


def scaling_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    """Return the type; where the file says none in spite of a factor, the one that left others."""
    if value == "none":
        others = [key for key in header.hparams if key.startswith("rope.scaling.")]
        if "rope.scaling.factor" not in others:
            return {}
        value = "yarn" if len(others) > 2 else "linear"
    return {"rope_scaling.rope_type": value}


@inverse_of(scaling_to_config)
def scaling_type(config: Config) -> Value | None:
    """Return ``rope.scaling.type``; llama3's scaling is a tensor instead."""
    kind = full(config).get("rope_type")
    if kind in LONGROPE:
        return "longrope"
    return kind if kind in _SCALED and full(config).get("factor") is not None else None


@inverse_of(scaling_to_config)
def unscaled(_: Config) -> str:
    """Return the scaling type of models whose RoPE is never scaled."""
    return "none"


@inverse_of("rope_scaling.factor")
def scaling_factor(config: Config) -> Value | None:
    """Return ``rope.scaling.factor``."""
    return full(config).get("factor") if scaling_type(config) in _SCALED else None


@dataclass(frozen=True)
class Yarn:
    """A parameter of yarn's, by the names that configs have for it; none of other scalings."""

    names: tuple[str, ...]

    @property
    def inverse(self) -> str:
        """The config key of the first name."""
        return f"rope_scaling.{self.names[0]}"

    def __call__(self, config: Config) -> Value | None:
        """Return the value."""
        if scaling_type(config) != "yarn":
            return None
        return next((full(config)[n] for n in self.names if full(config).get(n) is not None), None)


def _sections_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    found = list(value)
    while len(found) > 3 and found[-1] == 0:  # that there are four is llama.cpp's
        found.pop()
    return {"rope_scaling.mrope_section": found, "rope_scaling.rope_type": "default"}


@inverse_of(_sections_to_config)
def sections(config: Config) -> Value | None:
    """Return ``rope.dimension_sections``: dimensions for time, height, width and one more."""
    given = full(config).get("mrope_section")
    return None if given is None else (list(given) + [0] * 4)[:4]
