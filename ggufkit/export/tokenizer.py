"""The tokenizer files of an export, tried: a conversion must read the file's metadata from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from ggufkit.errors import GGUFKitError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.atomic import output_errors
from ggufkit.mapping.spec import Architecture, complete_config, text_config
from ggufkit.tokenizers import tokenizer_metadata
from ggufkit.tokenizers.restore import Restored, restore_tokenizer
from ggufkit.tokenizers.stored import PRE

_PREFIX = "tokenizer."


def tokenizer_files(
    metadata: Metadata, architecture: Architecture, config: Mapping[str, Any]
) -> Restored:
    """Return the tokenizer files, with notes on what a conversion would read otherwise.

    Parameters
    ----------
    metadata : Metadata
        Of the file.
    architecture : Architecture
        Which says how tokenizers are read.
    config : mapping
        The config.json of the export.
    """
    given = (text_config(config) or config).get("max_position_embeddings")
    context = given if type(given) is int else None
    kind = architecture.tokenizer
    restored = restore_tokenizer(metadata, kind, context=context)
    if not restored.files:
        return restored
    differing = _differing(restored, metadata, architecture, config)
    if PRE in differing:
        restored = restore_tokenizer(metadata, kind, context=context, note_pre=True)
        differing = _differing(restored, metadata, architecture, config)
    restored.notes += differing.values()
    return restored


def _differing(
    restored: Restored,
    metadata: Metadata,
    architecture: Architecture,
    config: Mapping[str, Any],
) -> dict[str, str]:
    """Return what a conversion would write otherwise, by key."""
    complete = complete_config(architecture, config)
    with output_errors(Path(gettempdir())), TemporaryDirectory(prefix="ggufkit-") as folder:
        for name, data in restored.files.items():
            (Path(folder) / name).write_bytes(data)
        (Path(folder) / "config.json").write_text(json.dumps(config))
        try:
            made = tokenizer_metadata(
                Path(folder),
                kind=architecture.tokenizer,
                config=complete,
                architecture=architecture.name,
            )
        except GGUFKitError as error:
            text = str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")
            return {"": f"a conversion would refuse these tokenizer files: {text}"}
    wanted = {key: metadata[key] for key in metadata if key.startswith(_PREFIX)}
    hparams = {h.key for h in architecture.hparams if not isinstance(h, str)}
    return {
        key: f"a conversion would write another {key}{_which(wanted.get(key), made.get(key))}"
        for key in (*wanted, *(key for key in made if key not in wanted))
        if wanted.get(key) != made.get(key) and key not in hparams
    }


def _which(wanted: Any, made: Any) -> str:
    if isinstance(wanted, list) and isinstance(made, list):
        if len(wanted) != len(made):
            return f": {len(made)} entries, not {len(wanted)}"
        first = next(i for i in range(len(wanted)) if wanted[i] != made[i])
        n = sum(a != b for a, b in zip(wanted, made, strict=True))
        return f": {n} entries, the first of them {first}"
    return f": {_said(made)}, not {_said(wanted)}"


def _said(value: Any) -> str:
    text = "none" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
