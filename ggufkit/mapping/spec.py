"""What an architecture file is made of: hparams, weights, and the names it ignores.

An architecture is data. Everything that it leaves out here is the same for all of them;
`ggufkit.mapping.matching` matches a checkpoint against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ggufkit.errors import ConversionError, GGUFKitError
from ggufkit.gguf.metadata import Metadata, Value
from ggufkit.mapping.model_header import Config as Config
from ggufkit.mapping.model_header import ConfigInverse, ModelHeader, Renames
from ggufkit.mapping.read_keys import ReadKeys
from ggufkit.mapping.transforms import IDENTITY, Floats, Transform
from ggufkit.types import ValueType

Derived = Callable[[Config], "Value | None"]

# The place of general.file_type among the hparams; its value is the rung's, not the model's.
FILE_TYPE = "general.file_type"

# Keys that do not take the architecture's name as their prefix.
UNPREFIXED = ("general.", "tokenizer.", "ggufkit.", "diffusion.")

# Config keys, the first that is present decides.
BLOCK_COUNT = ("n_layers", "num_hidden_layers", "n_layer", "num_layers")
EXPERT_COUNT = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class ExportSpec:
    """Additional data about an architecture for making checkpoints from its files.

    Attributes
    ----------
    model_type : str
        transformers' name of the config.
    hf_class : str
        The class, where it is not the architecture's first.
    task_heads : tuple of (tensor, class, prefix)
        The class of a model that has this tensor, and what the other tensors' names start with.
    config : mapping
        Config keys that hparams do not tell, whose dots are levels; a callable is given the
        `ModelHeader`. None is no key, `NULL` is null.
    nested : str
        The ``model_type`` of the wrapper, where the language model's config lies in another.
    requires_tensor : mapping
        Sources to choose only where some tensor's name has a given ending, where the architecture
        has several sources for one tensor.
    rename : tuple of (pattern, replacement) or callable
        From the names that the architecture knows to those of the checkpoint; or a function of
        the `ModelHeader`.
    matches : callable, optional
        Whether a file can be of this architecture, of several with one name.
    """

    model_type: str
    hf_class: str = ""
    task_heads: tuple[tuple[str, str, str], ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    nested: str = ""
    requires_tensor: Mapping[str, str] = field(default_factory=dict)
    rename: Renames | Callable[[ModelHeader], Renames] = ()
    matches: Callable[[ModelHeader], bool] | None = None


@dataclass(frozen=True)
class Hparam:
    """One metadata key and where its value comes from.

    Attributes
    ----------
    key : str
        Without the ``{arch}.`` prefix; keys of `UNPREFIXED` never have it.
    source : str, tuple of str or callable
        Config keys, the first that is present decides; or a function of the config. No value
        (absent or None) writes no key.
    inverse : str or callable, optional
        The inverse, from the value to the config, if `source` is a function; one with an
        ``inverse`` of its own, such as `Invertible`, needs none here.
    type : ValueType, optional
        The value's type, of a key that `ggufkit.gguf.keys` does not list.
    """

    key: str
    source: str | tuple[str, ...] | Derived
    inverse: ConfigInverse | None = None
    type: ValueType | None = None

    def value(self, config: Config) -> Value | None:
        """Return the value for `config`, or None."""
        if callable(self.source):
            return self.source(config)
        names = (self.source,) if isinstance(self.source, str) else self.source
        return next((config[name] for name in names if name in config), None)


@dataclass(frozen=True)
class Always:
    """A value that is the same for all models of an architecture."""

    value: Any

    def __call__(self, _: object) -> Any:
        """Return it."""
        return self.value


@dataclass(frozen=True)
class NonZero:
    """The value of a config key, none where it is 0, false or empty."""

    key: str

    @property
    def inverse(self) -> str:
        """The key."""
        return self.key

    def __call__(self, config: Config) -> Value | None:
        """Return the value."""
        return config.get(self.key) or None


@dataclass(frozen=True)
class ComputedTensor:
    """A tensor that no checkpoint has: it is computed from the config. None where there is none.

    Attributes
    ----------
    name : str
        Name in the GGUF file; with ``{i}`` in it, every block has the tensor.
    compute : callable
        From the config to its values.
    before : str
        The tensor of the file that it is written before; before all others, where it is empty.
    """

    name: str
    compute: Callable[[Config], Floats | None]
    before: str = ""


@dataclass(frozen=True)
class Weight:
    """A tensor (with its bias, if there is one) and where it comes from.

    Two weights may have one source, of which each takes its part.

    Attributes
    ----------
    name, source : str
        Name in the GGUF file and in the checkpoint, without ``.weight`` or ``.bias``; ``{i}`` is
        the block. With ``{e}`` in it, `source` is one tensor per expert.
    transform : Transform or callable
        Between the two; or a function of the `Context` that returns it.
    optional : bool
        Whether a checkpoint may lack it. A bias always may.
    in_layers : callable, optional
        From the config to the layers that need it, where not all do.
    bias : Transform or callable, optional
        Of its bias, where that is not transformed like the weight.
    full_name : bool
        Whether `name` and `source` are complete: no suffix is added to them.
    stack_size : callable
        From the config to the number of tensors that a stack is made of.
    allow_duplicates : bool
        Whether a checkpoint may have it several times, of which the first is taken.
    """

    name: str
    source: str
    transform: Transform | Callable[[Context], Transform] = IDENTITY
    optional: bool = False
    in_layers: Callable[[Config], Iterable[int]] | None = None
    bias: Transform | Callable[[Context], Transform] | None = None
    full_name: bool = False
    stack_size: Callable[[Config], int] = field(default=lambda config: expert_count(config))
    allow_duplicates: bool = False

    @property
    def is_stack(self) -> bool:
        """Whether it is made of one tensor per expert."""
        return "{e}" in self.source

    def transform_to(self, target: str, context: Context) -> Transform:
        """Return the transform to one of its tensors in the file, the weight or the bias."""
        is_bias = not self.full_name and target.endswith(".bias")
        given = self.bias if is_bias and self.bias is not None else self.transform
        return given(context) if callable(given) else given


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
    rename : tuple of (pattern, replacement) or callable
        Applied to checkpoint names before they are matched: prefixes of wrapper classes; or a
        function of the config that returns them.
    ignore : tuple of str or callable
        Globs of checkpoint tensors that have no place in the file; or a function of the config
        that returns them.
    computed : tuple of ComputedTensor
        Tensors computed from the config.
    leading_hparams : tuple of Hparam
        Those that are written right after ``general.architecture``.
    matches : callable, optional
        From the config to whether it is this architecture, of several with one class.
    tied_output : bool
        Whether the output weights are the embeddings unless config.json says otherwise. Then a
        checkpoint's copy of them is left out; an output of its own needs a weight here.
    title : str
        What people call the models.
    export : ExportSpec, optional
        What a checkpoint says that the file does not; without it there is no way back.
    """

    name: str
    hf_classes: tuple[str, ...]
    tokenizer: str
    hparams: tuple[Hparam | str, ...]
    weights: tuple[Weight, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rename: Renames | Callable[[Config], Renames] = ()
    ignore: tuple[str, ...] | Callable[[Config], tuple[str, ...]] = ()
    computed: tuple[ComputedTensor, ...] = ()
    leading_hparams: tuple[Hparam, ...] = ()
    matches: Callable[[Config], bool] | None = None
    tied_output: bool = False
    title: str = ""
    export: ExportSpec | None = None


@dataclass(frozen=True)
class Context:
    """What a transform may depend on: the config and the size of the vocabulary."""

    config: Config
    n_tokens: int


def compute_tensors(architecture: Architecture, config: Config) -> dict[str, Floats]:
    """Return the values of an architecture's computed tensors by name."""
    found = {tensor.name: tensor.compute(config) for tensor in architecture.computed}
    return {
        name.replace("{i}", str(block)): values
        for name, values in found.items()
        if values is not None
        for block in (range(block_count(config)) if "{i}" in name else (0,))
    }


# Counts that ranges are made of; no model has nearly as many of anything.
COUNTS = (
    *BLOCK_COUNT,
    *EXPERT_COUNT,
    "moe_num_experts",
    "num_decoder_layers",
    "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
)
MAX_COUNT = 1 << 14


@contextmanager
def config_errors(architecture: Architecture) -> Iterator[None]:
    """Say what is wrong with a config, where an architecture's functions stumble over it.

    Raises
    ------
    ConversionError
        A key is missing, or its value is impossible for the architecture.
    """
    try:
        yield
    except GGUFKitError:
        raise
    except KeyError as error:
        raise ConversionError(
            f"config.json lacks {error}, which {architecture.name} needs"
        ) from None
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
        raise ConversionError(
            f"config.json has a value that {architecture.name} can't have: {error}"
        ) from None


# Where the config of a language model lies in that of a multimodal model; the first decides.
TEXT_CONFIGS = (
    ("lfm",),
    ("language_config",),
    ("thinker_config", "text_config"),
    ("lm_config",),
    ("llm_config",),
    ("text_config",),
)


def text_config(config: Config) -> Mapping[str, Any] | None:
    """Return the config of the language model inside of another, if there is one."""
    for path in TEXT_CONFIGS:
        found: Any = config
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            return found
    return None


def complete_config(architecture: Architecture, config: Config) -> dict[str, Any]:
    """Return the config with nested text configs lifted and defaults filled in.

    Raises
    ------
    ConversionError
        A count is none.
    """
    merged = ReadKeys({**config, **(text_config(config) or {})})
    _check_counts(merged)  # defaults may be made of them
    for key, default in architecture.defaults.items():
        if merged.get(key) is None:
            merged[key] = default(merged) if callable(default) else default
    _check_counts(merged)
    return merged


def _check_counts(config: Config) -> None:
    for key in COUNTS:
        count = config.get(key)
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_COUNT):
            raise ConversionError(f"config.json: {key} is {count!r}, not a count up to {MAX_COUNT}")


def write_hparams(architecture: Architecture, config: Config, file_type: int) -> Metadata:
    """Return the architecture's hparams, ``general.file_type`` in its place, as metadata."""
    metadata = Metadata()
    for hparam in architecture.hparams:
        if isinstance(hparam, str):
            metadata[hparam] = int(file_type)
        else:
            _write(metadata, architecture, hparam, config)
    return metadata


def write_leading_hparams(architecture: Architecture, config: Config) -> Metadata:
    """Return the hparams that come before all of ``general.*`` but the architecture."""
    metadata = Metadata()
    for hparam in architecture.leading_hparams:
        _write(metadata, architecture, hparam, config)
    return metadata


def _write(metadata: Metadata, architecture: Architecture, hparam: Hparam, config: Config) -> None:
    value = hparam.value(config)
    if value is None:
        return
    prefix = "" if hparam.key.startswith(UNPREFIXED) else f"{architecture.name}."
    if hparam.type is None:
        metadata[prefix + hparam.key] = value
    else:
        metadata.set(prefix + hparam.key, value, hparam.type)


def is_tied(architecture: Architecture, config: Config) -> bool:
    """Return whether a config says that the output weights are the embeddings."""
    given = config.get("tie_word_embeddings")
    return architecture.tied_output if given is None else bool(given)


def block_count(config: Config) -> int:
    """Return the number of blocks.

    Raises
    ------
    ConversionError
        The config does not say.
    """
    count = Hparam("", BLOCK_COUNT).value(config)
    if not isinstance(count, int):
        raise ConversionError(f"config.json lacks the number of blocks, {' or '.join(BLOCK_COUNT)}")
    return count


def expert_count(config: Config) -> int:
    """Return the number of experts that a block chooses from; 0 without experts."""
    return int(Hparam("", EXPERT_COUNT).value(config) or 0)  # type: ignore[arg-type]
