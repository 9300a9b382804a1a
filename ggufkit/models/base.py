"""What an architecture file is made of, and how a checkpoint is matched against it.

An architecture is data: the hparams it writes, the weights it knows, and the names it ignores.
Everything an architecture leaves out here is the same for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ggufkit.errors import MissingWeightsError, UnmappedTensorsError
from ggufkit.gguf.metadata import Metadata, Value
from ggufkit.models.transforms import IDENTITY, Generated, Transform

Config = Mapping[str, Any]
Derived = Callable[[Config], "Value | None"]

# The place of general.file_type among the hparams; its value is the rung's, not the model's.
FILE_TYPE = "general.file_type"

SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True)
class Hparam:
    """One metadata key and where its value comes from.

    Attributes
    ----------
    key : str
        Without the ``{arch}.`` prefix, unless it starts with ``general.``.
    source : str, tuple of str or callable
        Config keys, the first that is present decides; or a function of the config. No value
        (absent or None) writes no key.
    """

    key: str
    source: str | tuple[str, ...] | Derived

    def value(self, config: Config) -> Value | None:
        """Return the value for `config`, or None."""
        if callable(self.source):
            return self.source(config)
        names = (self.source,) if isinstance(self.source, str) else self.source
        return next((config[name] for name in names if name in config), None)


@dataclass(frozen=True)
class Weight:
    """A tensor (with its bias, if there is one) and where it comes from.

    Attributes
    ----------
    name, source : str
        Name in the GGUF file and in the checkpoint, without ``.weight`` or ``.bias``; ``{i}`` is
        the block.
    transform : callable
        From the `Context` to the `Transform` between the two.
    optional : bool
        Whether a checkpoint may lack it. A bias always may.
    """

    name: str
    source: str
    transform: Callable[[Context], Transform] = field(default=lambda _: IDENTITY)
    optional: bool = False


@dataclass(frozen=True)
class Architecture:
    """A family of models that llama.cpp runs under one name.

    Attributes
    ----------
    name : str
        ``general.architecture``.
    hf_classes : tuple of str
        ``architectures`` entries of config.json that it covers.
    tokenizer : str
        Kind of vocabulary, see `ggufkit.tokenizers`.
    hparams : tuple of Hparam or str
        In file order; `FILE_TYPE` marks the place of that key.
    weights : tuple of Weight
        Every tensor that belongs to the model.
    defaults : mapping
        What transformers assumes for config keys that config.json leaves out.
    rename : tuple of (pattern, replacement)
        Applied to checkpoint names before they are matched: prefixes of wrapper classes.
    ignore : tuple of str
        Globs of checkpoint tensors that have no place in the file.
    generated : tuple of Generated
        Tensors computed from the config.
    """

    name: str
    hf_classes: tuple[str, ...]
    tokenizer: str
    hparams: tuple[Hparam | str, ...]
    weights: tuple[Weight, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    generated: tuple[Generated, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a transform may depend on: the config and the size of the vocabulary."""

    config: Config
    n_tokens: int


@dataclass(frozen=True)
class MappedTensor:
    """A tensor of the GGUF file: its name and how it comes out of the checkpoint."""

    name: str
    source: str
    transform: Transform


def complete_config(architecture: Architecture, config: Config) -> dict[str, Any]:
    """Return the config with nested text configs lifted and defaults filled in."""
    text = config.get("text_config")
    merged = {**config, **text} if isinstance(text, Mapping) else dict(config)
    for key, default in architecture.defaults.items():
        if merged.get(key) is None:
            merged[key] = default(merged) if callable(default) else default
    return merged


def write_hparams(architecture: Architecture, config: Config, file_type: int) -> Metadata:
    """Return the architecture's hparams, ``general.file_type`` in its place, as metadata."""
    metadata = Metadata()
    for hparam in architecture.hparams:
        if isinstance(hparam, str):
            metadata[hparam] = int(file_type)
            continue
        value = hparam.value(config)
        if value is not None:
            prefix = "" if hparam.key.startswith("general.") else f"{architecture.name}."
            metadata[prefix + hparam.key] = value
    return metadata


def map_tensors(
    architecture: Architecture, names: Iterable[str], context: Context
) -> list[MappedTensor]:
    """Match a checkpoint's tensors with the architecture's weights.

    Parameters
    ----------
    architecture : Architecture
        What the checkpoint is.
    names : iterable of str
        The checkpoint's tensors, in its order, which the result keeps.
    context : Context
        What transforms depend on.

    Raises
    ------
    UnmappedTensorsError
        The checkpoint has tensors that the architecture neither knows nor ignores.
    MissingWeightsError
        The checkpoint lacks weights that the architecture needs.
    """
    by_source = {weight.source: weight for weight in architecture.weights}
    transforms = {weight.source: weight.transform(context) for weight in architecture.weights}
    mapped: list[MappedTensor] = []
    unknown: list[str] = []
    for name in names:
        stem, suffix, block = _split_name(_renamed(architecture, name))
        weight = by_source.get(stem)
        if weight is not None and suffix:
            target = weight.name.replace("{i}", block) + suffix
            mapped.append(MappedTensor(target, name, transforms[stem]))
        elif not any(fnmatchcase(name, pattern) for pattern in (*IGNORE, *architecture.ignore)):
            unknown.append(name)
    if unknown:
        raise UnmappedTensorsError(
            f"{architecture.name} does not know {len(unknown)} of the checkpoint's tensors: "
            f"{_shorten(unknown)}. Is config.json the one of these weights?"
        )
    _require_all(architecture, {tensor.name for tensor in mapped}, context)
    return mapped


# Buffers that older checkpoints carry along.
IGNORE = ("*.attention.masked_bias", "*.attention.bias", "*.rotary_emb.inv_freq")


def _renamed(architecture: Architecture, name: str) -> str:
    for pattern, replacement in architecture.rename:
        name = re.sub(pattern, replacement, name)
    return name


def _split_name(name: str) -> tuple[str, str, str]:
    """Return the stem with its block as ``{i}``, the suffix ('' if unknown) and the block."""
    suffix = next((s for s in SUFFIXES if name.endswith(s)), "")
    stem = name.removesuffix(suffix)
    block = re.search(r"\.(\d+)\.", stem)
    if block is None:
        return stem, suffix, ""
    return f"{stem[: block.start(1)]}{{i}}{stem[block.end(1) :]}", suffix, block[1]


def _require_all(architecture: Architecture, found: set[str], context: Context) -> None:
    n_blocks = block_count(context.config)
    missing = [
        name
        for weight in architecture.weights
        if not weight.optional
        for name in _expand(f"{weight.name}.weight", n_blocks)
        if name not in found
    ]
    if missing:
        raise MissingWeightsError(
            f"the checkpoint lacks {len(missing)} weights that {architecture.name} needs: "
            f"{_shorten(missing)}. Is a shard missing, or is it an adapter?"
        )


def _expand(name: str, n_blocks: int) -> list[str]:
    return [name.replace("{i}", str(i)) for i in range(n_blocks)] if "{i}" in name else [name]


def block_count(config: Config) -> int:
    """Return the number of blocks."""
    return int(Hparam("", ("n_layers", "num_hidden_layers", "n_layer", "num_layers")).value(config))  # type: ignore[arg-type]


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
