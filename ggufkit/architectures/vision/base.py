"""What a family of vision encoders is made of: the keys of its file, and its weights.

A vision encoder is an `Architecture` of the name ``clip`` whose config is that of the model's
``vision_config``, with two things added: ``model``, the config of the whole model, and
``processor``, what its preprocessor_config.json and processor_config.json say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ggufkit.errors import ConversionError
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.model_header import Renames
from ggufkit.mapping.row_transforms import Chunk, Frame
from ggufkit.mapping.spec import MAX_COUNT, Always, Architecture, Config, Weight, text_config
from ggufkit.types import TensorType, ValueType

NAME = "clip"

# Newer versions of transformers put the vision encoder under "model.".
RENAME: Renames = ((r"^model\.(?=(visual|vision_tower|multi_modal_projector)\.)", ""),)


@dataclass(frozen=True)
class Key:
    """One metadata key, without the prefix ``clip.``.

    Attributes
    ----------
    name : str
        Its name.
    type : ValueType
        Of its value, or of the items of a list.
    source : str or callable
        Config key, or a function of the config. No value writes no key.
    """

    name: str
    type: ValueType
    source: str | Callable[[Config], Any]

    def write(self, metadata: Metadata, config: Config) -> None:
        """Set the key, if there is a value."""
        value = self.source(config) if callable(self.source) else config[self.source]
        if value is not None:
            metadata.set(f"{NAME}.{self.name}", value, self.type)


@dataclass(frozen=True)
class VisionFamily:
    """Vision encoders that llama.cpp runs with one kind of projector.

    Attributes
    ----------
    hf_classes : tuple of str
        Classes of the models that have such a part.
    keys : tuple of Key
        Those that follow the ones that all have.
    weights : tuple of Weight
        Every tensor of the part.
    prefixes : tuple of str
        How the names of its tensors begin, once they are renamed; all others are of other parts.
    defaults : mapping
        What transformers assumes for keys that ``vision_config`` leaves out.
    prepare : callable
        From the config to values that are derived from others.
    rename : tuple or callable
        See `Architecture`.
    ignore : tuple of str
        Globs of tensors under `prefixes` that have no place in the file.
    types : mapping of str to TensorType
        Parts of names of matrices that have this type whatever the file type.
    kind : str
        The ``model_type`` that ``vision_config`` has to have, where a class may have several.
    marker : str
        A token whose number the file needs, as ``marker`` in the config; or empty.
    """

    hf_classes: tuple[str, ...]
    keys: tuple[Key, ...]
    weights: tuple[Weight, ...]
    prefixes: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Config], Mapping[str, Any]] = field(default=lambda _: {})
    rename: Renames | Callable[[Config], Renames] = RENAME
    ignore: tuple[str, ...] = ()
    types: Mapping[str, TensorType] = field(default_factory=dict)
    kind: str = ""
    marker: str = ""

    @property
    def architecture(self) -> Architecture:
        """The same as an architecture, to match tensors with."""
        return Architecture(
            name=NAME,
            hf_classes=self.hf_classes,
            tokenizer="",
            hparams=(),
            weights=self.weights,
            rename=self.rename,
            ignore=self.ignore,
        )

    def complete(self, model: Config, processor: Config) -> dict[str, Any]:
        """Return the vision config with all that keys and weights need.

        Raises
        ------
        ConversionError
            The model's config has none, or one with too many blocks.
        """
        vision = model.get("vision_config")
        if not isinstance(vision, Mapping):
            raise ConversionError(
                "config.json has no vision_config: the model has no vision encoder"
            )
        given = {key: value for key, value in vision.items() if value is not None}
        config = {**self.defaults, **given, "model": model, "processor": processor}
        config |= self.prepare(config)
        count = config["num_hidden_layers"]
        if type(count) is not int or not 0 <= count <= MAX_COUNT:
            raise ConversionError(f"config.json: vision_config can't have {count!r} blocks")
        return config

    def metadata(self, config: Config) -> Metadata:
        """Return the file's own keys, those after ``general.*``."""
        metadata = Metadata()
        for key in (*KEYS, *self.keys):
            key.write(metadata, config)
        return metadata


def _text_width(config: Config) -> Any:
    model = config["model"]
    return (text_config(model) or model)["hidden_size"]


@dataclass(frozen=True)
class ImageStatistic:
    """A statistic of images, one number per channel."""

    name: str

    def __call__(self, config: Config) -> list[float]:
        """Return the numbers.

        Raises
        ------
        ConversionError
            preprocessor_config.json lacks them.
        """
        given = config["processor"].get(self.name)
        if not isinstance(given, list):
            raise ConversionError(f"preprocessor_config.json lacks {self.name}")
        return [float(item) for item in given]


# What every file has, in this order.
KEYS = (
    Key("has_vision_encoder", ValueType.BOOL, Always(True)),
    Key("vision.projection_dim", ValueType.UINT32, _text_width),
    Key("vision.image_size", ValueType.UINT32, "image_size"),
    Key("vision.patch_size", ValueType.UINT32, "patch_size"),
    Key("vision.embedding_length", ValueType.UINT32, "hidden_size"),
    Key("vision.feed_forward_length", ValueType.UINT32, "intermediate_size"),
    Key("vision.block_count", ValueType.UINT32, "num_hidden_layers"),
    Key("vision.attention.head_count", ValueType.UINT32, "num_attention_heads"),
    Key("vision.image_mean", ValueType.FLOAT32, ImageStatistic("image_mean")),
    Key("vision.image_std", ValueType.FLOAT32, ImageStatistic("image_std")),
)


def projector(name: str) -> Key:
    """Return the key that names the kind of projector."""
    return Key("projector_type", ValueType.STRING, Always(name))


def epsilon(default: float) -> Key:
    """Return the key of the norms' epsilon, which vision_config may leave out."""
    return Key(
        "vision.attention.layer_norm_epsilon",
        ValueType.FLOAT32,
        lambda config: config.get("layer_norm_eps", default),
    )


USE_GELU = Key("use_gelu", ValueType.BOOL, Always(True))
USE_SILU = Key("use_silu", ValueType.BOOL, Always(True))


def activation(name: str) -> Key:
    """Return the key that says that ``hidden_act`` is `name`: ``gelu`` or ``silu``."""

    def value(config: Config) -> bool | None:
        if config["hidden_act"] not in ("gelu", "silu"):
            raise ConversionError(f"no vision encoder can have hidden_act {config['hidden_act']!r}")
        return True if config["hidden_act"] == name else None

    return Key(f"use_{name}", ValueType.BOOL, value)


def frames(source: str) -> tuple[Weight, ...]:
    """Return the weights that a convolution over two frames becomes."""
    return tuple(
        Weight(f"v.patch_embd.weight{suffix}", f"{source}.weight", Frame(number), full_name=True)
        for number, suffix in enumerate(("", ".1"))
    )


def thirds(source: str) -> tuple[Weight, ...]:
    """Return queries, keys and values, which one matrix holds."""
    return tuple(
        Weight(f"v.blk.{{i}}.attn_{part}", source, Chunk(number, 3))
        for number, part in enumerate("qkv")
    )


def encoder(prefix: str) -> tuple[Weight, ...]:
    """Return the weights of a block as CLIP and SigLIP name them."""
    names = (
        *(("ln1", "layer_norm1"), ("ln2", "layer_norm2")),
        *((f"attn_{part}", f"self_attn.{part}_proj") for part in "qkv"),
        *(("attn_out", "self_attn.out_proj"), ("ffn_up", "mlp.fc1"), ("ffn_down", "mlp.fc2")),
    )
    return tuple(Weight(f"v.blk.{{i}}.{ours}", f"{prefix}.{theirs}") for ours, theirs in names)
