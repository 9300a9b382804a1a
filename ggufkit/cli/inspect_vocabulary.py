"""Chat templates and tokens, as `ggufkit inspect` shows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.json_output import emit
from ggufkit.errors import MissingKeyError

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata

_TEMPLATE = "tokenizer.chat_template"
_TOKENS = "tokenizer.ggml.tokens"
#: llama_token_type of llama.h.
_TYPES = {1: "normal", 2: "unknown", 3: "control", 4: "user-defined", 5: "unused", 6: "byte"}
_MOST = 200


def show_template(metadata: Metadata, *, as_json: bool) -> None:
    """Print the chat templates.

    Raises
    ------
    MissingKeyError
        There is none.
    """
    found = {
        key: str(metadata[key])
        for key in metadata
        if key == _TEMPLATE or key.startswith(f"{_TEMPLATE}.")
    }
    if not found:
        raise MissingKeyError(f"no {_TEMPLATE}: the file has no chat template")
    if as_json:
        emit(found)
        return

    for key, text in found.items():
        if len(found) > 1:
            render.heading(key)
        for line in text.split("\n"):
            sys.stdout.write(render.plain(line) + "\n")


def show_tokens(metadata: Metadata, text: str, *, as_json: bool) -> None:
    """Print the tokens that contain a text, or the one with that number.

    Raises
    ------
    MissingKeyError
        There is no vocabulary.
    """
    if _TOKENS not in metadata:
        raise MissingKeyError(f"no {_TOKENS}: the file has no vocabulary")
    tokens: Any = metadata[_TOKENS]
    scores: Any = metadata.get("tokenizer.ggml.scores") or ()
    types: Any = metadata.get("tokenizer.ggml.token_type") or ()
    # byte-level vocabularies write a space as Ġ, SentencePiece's as ▁
    wanted = {text, text.replace(" ", "Ġ"), text.replace(" ", "▁")}
    found = [
        {
            "id": i,
            "token": token,
            "type": _TYPES.get(types[i], str(types[i])) if i < len(types) else None,
            "score": scores[i] if i < len(scores) else None,
        }
        for i, token in enumerate(tokens)
        if str(i) == text or any(part in token for part in wanted)
    ]
    if as_json:
        emit(found)
        return

    rows = [
        (str(f["id"]), f["token"], f["type"] or "", "" if f["score"] is None else f"{f['score']:g}")
        for f in found[:_MOST]
    ]
    render.table(("id", "token", "type", "score"), rows, right=("id",))
    if len(found) > _MOST:
        render.note(f"{len(found) - _MOST} more: --json shows all.")
