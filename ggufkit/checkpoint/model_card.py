"""The ``general.*`` metadata: what a model is called, where it comes from, who may use it.

Taken, in this order, from the model card (the YAML at the head of README.md), the checkpoint's
config and the folder's name; the sampling parameters from generation_config.json. Keys, values
and order are those of llama.cpp's converter: ``Metadata.load`` and ``set_gguf_meta_model`` of
gguf-py, ``prepare_metadata`` of conversion/base.py.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ggufkit.checkpoint.model_id import parse_model_id, title
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.naming import size_label

logger = logging.getLogger(__name__)

#: Larger cards and configs are not read: real ones have kilobytes.
MAX_CARD_BYTES = 8 << 20

#: Key under ``general.sampling.`` -> keys of generation_config.json, the first present counts.
SAMPLING: dict[str, tuple[str, ...]] = {
    "sequence": ("sequence",),
    "top_k": ("top_k",),
    "top_p": ("top_p",),
    "min_p": ("min_p",),
    "xtc_probability": ("xtc_probability",),
    "xtc_threshold": ("xtc_threshold",),
    "temp": ("temperature",),
    "penalty_last_n": ("penalty_last_n",),
    "penalty_repeat": ("penalty_repeat", "repetition_penalty"),
    "mirostat": ("mirostat",),
    "mirostat_tau": ("mirostat_tau",),
    "mirostat_eta": ("mirostat_eta",),
}

#: Key under ``general.`` -> keys of the model card, the first that says something counts.
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

#: The same for lists of other models and of data sets.
SOURCES: dict[str, tuple[str, ...]] = {
    "base_model": ("base_model", "base_models", "base_model_sources"),
    "dataset": ("datasets", "dataset", "dataset_sources"),
}
_SOURCE_FIELDS = (
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url",
)  # fmt: skip

#: The same for lists of words; the lists are joined.
LISTS: dict[str, tuple[str, ...]] = {
    "tags": ("tags", "pipeline_tag"),
    "languages": ("languages", "language"),
}

_HUB = "https://huggingface.co/"


class WeightCounts(NamedTuple):
    """How many weights a model has, as ``size_label`` wants them.

    Attributes
    ----------
    total : int
        Weights of all tensors of the GGUF file: a tied output is not there and does not count,
        computed tensors such as ``rope_freqs.weight`` do.
    shared : int
        Weights of tensors that are not stacks of experts (shared experts are not).
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
        Of the checkpoint; README.md and generation_config.json may be absent, and a card that is
        not valid YAML counts as absent.
    config : Mapping
        The checkpoint's config.json; only ``_name_or_path`` is looked at.
    shapes : Mapping
        GGUF tensor names and shapes, for the size label.
    architecture : str
        The GGUF architecture.
    name : str, optional
        ``general.name``, whatever the card and the folder say.
    folder_name : str, optional
        Instead of the folder's own: a folder of the Hub's cache is named by its commit.
    kind : {"model", "adapter", "mmproj"}
        ``general.type``. An adapter has no size label of its own.

    Raises
    ------
    WrongValueTypeError
        A sampling parameter is not a number.
    """
    folder_name = folder.name if folder_name is None else folder_name
    card = read_card(folder)
    counts = count_weights(shapes)
    # how gguf-py says that a size in a name may be larger than these weights, which adapt some
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
    """Return the YAML at the head of a folder's README.md; empty if there is none."""
    lines = _read_text(folder / "README.md").splitlines()
    if not lines or lines[0] != "---":
        return {}
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    text = "".join(line + "\n" for line in lines[1:end])
    # The language Norwegian is not the answer No; tabs are not allowed, but found in the field.
    text = text.replace("- no\n", '- "no"\n').replace("\t", "  ")
    import yaml

    try:
        card = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        logger.warning("%s: the model card is ignored: %s", folder / "README.md", error)
        return {}
    return card if isinstance(card, dict) else {}


def read_generation_config(folder: Path) -> dict[str, Any]:
    """Return a folder's generation_config.json; empty if it is absent or no JSON object."""
    try:
        found = json.loads(_read_text(folder / "generation_config.json") or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_text(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > MAX_CARD_BYTES:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("%s is ignored: %s", path, error)
        return ""


def _model_ids(folder_name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Names to guess from: the repository the config was saved from, and the folder."""
    saved_from = config.get("_name_or_path")
    if isinstance(saved_from, str) and saved_from.count("/") <= 1:
        yield saved_from
    yield folder_name


def _fill(fields: dict[str, str | None], model_id: str, n_weights: int) -> None:
    """Fill the fields that are still unknown from a model id."""
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
    """Return YAML's numbers and dates as text, as they were most likely meant."""
    if value is None or isinstance(value, bool | list | dict | set):
        return None
    return str(value)


def _words(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for item in values if (text := _text(item)) is not None]


def _license(card: Mapping[str, Any]) -> str | None:
    words = _words(card.get("license"))
    return ",".join(words) if words else None


def _set(metadata: Metadata, key: str, value: Any) -> None:
    """Set a key unless there is nothing to say: gguf-py drops empty text and lists too."""
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
        for field in _SOURCE_FIELDS:
            _set(metadata, f"{key}.{index}.{field}", _text(source.get(field)))


def _parse_source(entry: Any, n_weights: int) -> dict[str, str | None]:
    """Describe another model or a data set, given as its repository id or an address."""
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
