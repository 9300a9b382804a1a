"""What a GGUF file says of its model, which inverses and export specs are given.

A computed hparam has its inverse next to it: `inverse_of` makes a pair of a function of the config
and of where its value goes in config.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ggufkit.mapping.transforms import Shape

Config = Mapping[str, Any]
Renames = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ModelHeader:
    """What a GGUF file says of its model.

    Attributes
    ----------
    hparams : mapping
        Values by key, without the architecture's prefix.
    shapes : mapping
        Its tensors.
    ids : mapping
        Ids of special tokens by name: ``bos``, ``pad`` ...
    n_tokens : int
        The size of its vocabulary; 0 without one.
    tokenizer : str
        ``tokenizer.ggml.model``.
    computed : mapping
        The values of tensors that checkpoints do not have: RoPE factors, constants.
    config : dict
        The part of config.json that is recovered so far.
    """

    hparams: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    ids: Mapping[str, int] = field(default_factory=dict)
    n_tokens: int = 0
    tokenizer: str = ""
    computed: Mapping[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def has(self, ending: str) -> bool:
        """Whether some tensor's name ends so."""
        return any(name.endswith(ending) for name in self.shapes)


# Values by keys of config.json, whose dots are levels.
ConfigValues = Mapping[str, Any]

# Where a value goes in config.json: such a key, or a function of the value and the file.
ConfigInverse = str | Callable[[Any, ModelHeader], ConfigValues]

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Invertible(Generic[T]):
    """A function of the config, and the way from its value back to the config."""

    forward: Callable[[Mapping[str, Any]], T]
    inverse: ConfigInverse

    def __call__(self, config: Mapping[str, Any]) -> T:
        """Return the value for a config."""
        return self.forward(config)


def inverse_of(
    inverse: ConfigInverse,
) -> Callable[[Callable[[Mapping[str, Any]], T]], Invertible[T]]:
    """Return the decorator that gives a function of the config its inverse."""
    return lambda forward: Invertible(forward, inverse)


# The value of a key that is null, where transformers assumes something else.
NULL = object()


@dataclass(frozen=True)
class HparamValue:
    """The value of an hparam, None where the file lacks it."""

    key: str

    def __call__(self, header: ModelHeader) -> Any:
        """Return the value."""
        return header.hparams.get(self.key)


@dataclass(frozen=True)
class FirstValue:
    """The first value of a computed tensor, None where the file lacks it."""

    tensor: str

    def __call__(self, header: ModelHeader) -> float | None:
        """Return the value."""
        values = header.computed.get(self.tensor)
        return None if values is None else float(values[0])


@dataclass(frozen=True)
class RowCount:
    """The rows of a tensor, None where the file lacks it."""

    tensor: str

    def __call__(self, header: ModelHeader) -> int | None:
        """Return their number."""
        return header.shapes[self.tensor][0] if self.tensor in header.shapes else None


@dataclass(frozen=True)
class HasTensor:
    """Whether some tensor's name ends so."""

    ending: str

    def __call__(self, header: ModelHeader) -> bool:
        """Return whether there is one."""
        return header.has(self.ending)


@dataclass(frozen=True)
class HasHparam:
    """Whether the file has an hparam."""

    key: str

    def __call__(self, header: ModelHeader) -> bool:
        """Return whether it does."""
        return self.key in header.hparams


@dataclass(frozen=True)
class HasTokenizer:
    """Whether the vocabulary is of this kind, or there is none."""

    model: str

    def __call__(self, header: ModelHeader) -> bool:
        """Return whether it can be."""
        return header.tokenizer in ("", self.model)


@dataclass(frozen=True)
class Not:
    """Whether a condition does not hold."""

    condition: Callable[[ModelHeader], bool]

    def __call__(self, header: ModelHeader) -> bool:
        """Return the opposite."""
        return not self.condition(header)


@dataclass(frozen=True)
class Both:
    """Whether two conditions hold."""

    first: Callable[[ModelHeader], bool]
    second: Callable[[ModelHeader], bool]

    def __call__(self, header: ModelHeader) -> bool:
        """Return whether they do."""
        return self.first(header) and self.second(header)


@dataclass(frozen=True)
class Choose:
    """One of two values, by a condition."""

    condition: Callable[[ModelHeader], bool]
    value: Any
    otherwise: Any = None

    def __call__(self, header: ModelHeader) -> Any:
        """Return the value."""
        return self.value if self.condition(header) else self.otherwise


HAS_BIASES = HasTensor(".attn_q.bias")
BIASES: Mapping[str, Any] = {
    "attention_bias": HAS_BIASES,
    "mlp_bias": HasTensor(".ffn_up.bias"),
}
MAMBA_BIASES: Mapping[str, Any] = {
    "mamba_conv_bias": HasTensor("ssm_conv1d.bias"),
    "mamba_proj_bias": HasTensor("ssm_in.bias"),
}
