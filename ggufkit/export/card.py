"""Files from the ``general.*`` keys: model card, generation_config.json and pooling files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ggufkit.checkpoint.model_card import FIELDS, LISTS, SAMPLING, SOURCE_FIELDS, SOURCES
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.config_inverse import shortest_decimal

SUPPRESS = "tokenizer.ggml.suppress_tokens"

# More models or data sets than a card names.
MAX_SOURCES = 1000


def card_files(
    metadata: Metadata, config: Mapping[str, Any], pooling: str | None
) -> dict[str, bytes]:
    """Return the contents of the files by name.

    Parameters
    ----------
    metadata : Metadata
        The metadata of the GGUF file.
    config : mapping
        The checkpoint's config.json.
    pooling : str or None
        How an embedding model pools its tokens.
    """
    files = {"README.md": _readme(metadata).encode("utf-8", "replace")}
    generation = _generation(metadata, config)
    if generation:
        files["generation_config.json"] = _json(generation)
    if pooling is not None:
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))
        ]
        flags = {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}
        settings = {f"pooling_mode_{flag}": name == pooling for name, flag in flags.items()}
        width = config.get("hidden_size")
        files["modules.json"] = _json(modules)
        files["1_Pooling/config.json"] = _json({"word_embedding_dimension": width, **settings})
    return files


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


def _generation(metadata: Metadata, config: Mapping[str, Any]) -> dict[str, Any]:
    sampling = {
        names[0]: shortest_decimal(metadata[f"general.sampling.{key}"])
        for key, names in SAMPLING.items()
        if f"general.sampling.{key}" in metadata
    }
    ids = {f"{n}_token_id": config.get(f"{n}_token_id") for n in ("bos", "eos", "pad")}
    given = {key: value for key, value in ids.items() if value is not None}
    turn = metadata.get("tokenizer.ggml.eot_token_id")
    if type(turn) is int and turn != given.get("eos_token_id") and "eos_token_id" in given:
        given["eos_token_id"] = [given["eos_token_id"], turn]
    if SUPPRESS in metadata:
        given["suppress_tokens"] = metadata[SUPPRESS]
    return {**given, **({"do_sample": True} if sampling else {}), **sampling}


def _readme(metadata: Metadata) -> str:
    import yaml

    card: dict[str, Any] = {}
    for key, names in FIELDS.items():
        value = metadata.get(f"general.{key}")
        if isinstance(value, str):
            card[names[0]] = value
    for key, names in SOURCES.items():
        sources = _sources(metadata, key)
        if sources:
            card[names[0]] = sources
    for key, names in LISTS.items():
        words = metadata.get(f"general.{key}")
        if isinstance(words, list):
            card[names[-1] if key == "languages" else names[0]] = words
    head = yaml.safe_dump(card, sort_keys=False, allow_unicode=True) if card else ""
    return (
        f"---\n{head}---\n\nMade from a GGUF file by `ggufkit export-hf`. Weights have the values "
        "that the file holds.\n"
    )


def _sources(metadata: Metadata, key: str) -> list[dict[str, str]]:
    count = metadata.get(f"general.{key}.count")
    found = []
    for index in range(min(count, MAX_SOURCES) if type(count) is int else 0):
        fields = {f: metadata.get(f"general.{key}.{index}.{f}") for f in SOURCE_FIELDS}
        found.append({f: value for f, value in fields.items() if isinstance(value, str)})
    return found
