"""The ``general.*`` metadata: a model's name, origin and license.

The values come from, in this order, the model card (the YAML front matter of README.md), the
checkpoint's config and the folder's name; sampling parameters come from generation_config.json.
Keys, values and order are those of llama.cpp's converter: ``Metadata.load`` and
``set_gguf_meta_model`` of gguf-py, ``prepare_metadata`` of conversion/base.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ggufkit.checkpoint.model_id import parse_model_id, title
from ggufkit.errors import CheckpointError, MissingFileError
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.naming import size_label
from ggufkit.io.guarded_files import parse_json, read_bytes

logger = logging.getLogger(__name__)

#: Larger cards and configs are not read; real ones have a few kilobytes.
MAX_CARD_BYTES = 8 << 20
_MAX_INT_BITS = 64  # no version, name or license is a longer number

_SAMPLING_KEYS = (
    *("sequence", "top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold", "temp"),
    *("penalty_last_n", "penalty_repeat", "mirostat", "mirostat_tau", "mirostat_eta"),
)
#: Key under ``general.sampling.`` -> keys of generation_config.json; the first one present counts.
SAMPLING: dict[str, tuple[str, ...]] = {key: (key,) for key in _SAMPLING_KEYS} | {
    "temp": ("temperature",),
    "penalty_repeat": ("penalty_repeat", "repetition_penalty"),
}

#: Key under ``general.`` -> keys of the model card; the first one with a value counts.
FIELDS: dict[str, tuple[str, ...]] = {
    "name": ("name", "model_name"),
    "author": ("author", "model_author", "model_creator"),
    "version": ("version", "model_version"),
    "organization": ("organization", "model_organization"),
    "finetune": ("finetune", "model_finetune"),
    "basename": ("basename", "model_basename", "model_type"),
    "description": ("description", "model_description"),
    "size_label": ("size_label", "model_size_label"),
    "license": ("license",),
    "license.name": ("license_name",),
    "license.link": ("license_link",),
    "source.url": ("url", "model_url"),
    "source.doi": ("doi", "model_doi"),
    "source.uuid": ("uuid", "model_uuid"),
    "source.repo_url": ("repo_url", "model_repo_url"),
}

#: The same for lists of other models and of datasets.
SOURCES: dict[str, tuple[str, ...]] = {
    "base_model": ("base_model", "base_models", "base_model_sources"),
    "dataset": ("datasets", "dataset", "dataset_sources"),
}
SOURCE_FIELDS = (
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url",
)  # fmt: skip

#: The same for lists of words; the lists are concatenated.
LISTS: dict[str, tuple[str, ...]] = {
    "tags": ("tags", "pipeline_tag"),
    "languages": ("languages", "language"),
}

_HUB = "https://huggingface.co/"


class WeightCounts(NamedTuple):
    """Numbers of weights, as `size_label` needs them.

    Attributes
    ----------
    total : int
        Weights of all tensors of the GGUF file. A tied output is not in the file and does not
        count, computed tensors such as ``rope_freqs.weight`` do.
    shared : int
        Weights of all tensors except stacks of experts (so shared experts count).
    expert : int
        Weights of one expert, summed over all stacks.
    n_experts : int
        Experts of a stack, on average; 0 without stacks.
    """

    total: int
    shared: int
    expert: int
    n_experts: int


def count_weights(shapes: Mapping[str, Sequence[int]]) -> WeightCounts:
    """Count weights from GGUF tensor names and shapes in numpy order.

    A stack of experts is a tensor of at least 3 dimensions with ``_exps.`` in its name.
    """
    total = shared = expert = 0
    stacks = []
    for name, shape in shapes.items():
        size = prod(shape)
        total += size
        if "_exps." in name and len(shape) >= 3:
            n_experts = shape[-2 if ".bias" in name else -3]
            stacks.append(n_experts)
            expert += size // n_experts if n_experts else 0
        else:
            shared += size
    return WeightCounts(total, shared, expert, sum(stacks) // len(stacks) if stacks else 0)


def general_metadata(
    folder: Path,
    config: Mapping[str, Any],
    *,
    shapes: Mapping[str, Sequence[int]],
    architecture: str,
    name: str | None = None,
    folder_name: str | None = None,
    kind: str = "model",
) -> Metadata:
    """Return the keys from ``general.architecture`` to ``general.languages``.

    Parameters
    ----------
    folder : Path
        The checkpoint; README.md and generation_config.json are optional, and a card that is
        not valid YAML counts as missing.
    config : Mapping
        The checkpoint's config.json; only ``_name_or_path`` is used.
    shapes : Mapping
        GGUF tensor names and shapes, for the size label.
    architecture : str
        The GGUF architecture.
    name : str, optional
        ``general.name``, instead of the one from the card or the folder.
    folder_name : str, optional
        A name to use instead of the folder's; folders of the Hub's cache are named after commits.
    kind : {"model", "adapter", "mmproj"}
        ``general.type``. An adapter has no computed size label.

    Raises
    ------
    WrongValueTypeError
        A sampling parameter is not a number.
    """
    folder_name = folder.name if folder_name is None else folder_name
    card = read_card(folder)
    counts = count_weights(shapes)
    # for an adapter, whose name may have the size of its base model, gguf-py takes the negative
    n_weights = -counts.total if kind == "adapter" else counts.total
    fields = {key: _first_text(card, names) for key, names in FIELDS.items()}
    fields["license"] = _license(card)
    for model_id in _model_ids(folder_name, config):
        _fill(fields, model_id, n_weights)
    if name is not None or fields["name"] is None:
        fields["name"] = folder_name if name is None else name
    if fields["size_label"] is None and n_weights > 0:
        fields["size_label"] = size_label(*counts)

    metadata = Metadata({"general.architecture": architecture, "general.type": kind})
    sampling = read_generation_config(folder)
    for key, names in SAMPLING.items():
        _set(metadata, f"general.sampling.{key}", _first(sampling, names))
    for key in FIELDS:
        _set(metadata, f"general.{key}", fields[key])
    for key, names in SOURCES.items():
        _set_sources(metadata, f"general.{key}", card, names, n_weights)
    for key, names in LISTS.items():
        _set(metadata, f"general.{key}", [word for n in names for word in _words(card.get(n))])
    return metadata


def read_card(folder: Path) -> dict[str, Any]:
    """Return the YAML front matter of a folder's README.md; empty if there is none."""
    lines = _read_text(folder, "README.md").splitlines()
    if not lines or lines[0] != "---":
        return {}
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    text = "".join(line + "\n" for line in lines[1:end])
    # "no" is Norwegian here, not False; YAML forbids tabs, but published cards have them.
    text = text.replace("- no\n", '- "no"\n').replace("\t", "  ")
    from ggufkit.io.guarded_yaml import parse_yaml

    try:
        card = parse_yaml(text)
    except ValueError as error:
        logger.warning("%s: the model card is ignored: %s", folder / "README.md", error)
        return {}
    return card if isinstance(card, dict) else {}


def read_generation_config(folder: Path) -> dict[str, Any]:
    """Return a folder's generation_config.json; empty if it is missing or not a JSON object."""
    try:
        found = parse_json(_read_text(folder, "generation_config.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_text(folder: Path, name: str) -> str:
    """Return a file's text; one that can't be used is not worth stopping for."""
    try:
        return read_bytes(folder, name, MAX_CARD_BYTES).decode("utf-8")
    except MissingFileError:
        return ""
    except (CheckpointError, UnicodeDecodeError) as error:
        logger.warning("%s is ignored: %s", name, error)
        return ""


def _model_ids(folder_name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield names to guess from: the repository the config was saved from, then the folder."""
    saved_from = config.get("_name_or_path")
    if isinstance(saved_from, str) and saved_from.count("/") <= 1:
        yield saved_from
    yield folder_name


def _fill(fields: dict[str, str | None], model_id: str, n_weights: int) -> None:
    """Fill missing fields with guesses from a model id."""
    found = parse_model_id(model_id, n_weights)
    guesses = {
        "name": title(found.name),
        "organization": None if found.organization is None else title(found.organization),
        "basename": found.basename,
        "finetune": found.finetune,
        "version": found.version,
        "size_label": found.size_label,
    }
    for key, guess in guesses.items():
        if fields[key] is None:
            fields[key] = guess


def _first(mapping: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((mapping[name] for name in names if name in mapping), None)


def _first_text(card: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    texts = (_text(card.get(name)) for name in names)
    return next((text for text in texts if text is not None), None)


def _text(value: Any) -> str | None:
    """Return a scalar as text: unquoted versions and dates were most likely meant as such."""
    if value is None or isinstance(value, bool | list | dict | set):
        return None
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return None
    return str(value)


def _words(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for item in values if (text := _text(item)) is not None]


def _license(card: Mapping[str, Any]) -> str | None:
    words = _words(card.get("license"))
    return ",".join(words) if words else None


def _set(metadata: Metadata, key: str, value: Any) -> None:
    """Set a key unless the value is empty, as gguf-py does."""
    if value is not None and value not in ("", []):
        metadata[key] = value


def _set_sources(
    metadata: Metadata, key: str, card: Mapping[str, Any], names: tuple[str, ...], n_weights: int
) -> None:
    if not any(name in card for name in names):
        return
    value = _first(card, names)
    entries = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    metadata[f"{key}.count"] = len(entries)
    for index, entry in enumerate(entries):
        source = entry if isinstance(entry, dict) else _parse_source(entry, n_weights)
        for field in SOURCE_FIELDS:
            _set(metadata, f"{key}.{index}.{field}", _text(source.get(field)))


def _parse_source(entry: Any, n_weights: int) -> dict[str, str | None]:
    """Describe another model or a dataset, given by its repository id or URL."""
    if not isinstance(entry, str):
        return {}
    source: dict[str, str | None] = {}
    model_id = entry
    if entry.startswith(("http://", "https://", "ssh://")):
        source["repo_url"] = entry
        match = re.match(r"https?://huggingface.co/([^/]+/[^/]+)$", entry)
        if not match:
            return source
        model_id = match[1]
    found = parse_model_id(model_id, n_weights)
    source["name"] = title(found.name)
    source["version"] = found.version
    if found.organization is not None:
        source["organization"] = title(found.organization)
        source.setdefault("repo_url", f"{_HUB}{found.organization}/{found.name}")
    return source
