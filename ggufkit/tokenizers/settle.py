"""What is checked of every converted tokenizer, and what is set beyond the converter.

llama.cpp aborts on two tokens with one text, and takes a default for a special token whose id is
missing or out of range, which may be any token. So texts are refused or noted here, ids that name
no token are left out, and what files say of special tokens in vain is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufkit.tokenizers.files import get
from ggufkit.tokenizers.special import ID_KEYS, TYPES
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.tokenizers.files import TokenizerFiles

TOKENS = "tokenizer.ggml.tokens"
_SUFFIX = "_token_id"
_NAMES = (*TYPES, "eot", "eom")
# Without these, llama.cpp's default decides where a text begins and ends.
_NEEDED = ("bos", "eos")
# The converter does not read the ids of these from config.json.
_UNREAD = ("eot", "eom")
MAX_SHOWN = 80


def settle(files: TokenizerFiles, metadata: Metadata) -> None:
    """Check the tokens and settle the ids of special tokens.

    Parameters
    ----------
    files : TokenizerFiles
        What the metadata was made from; gets notes.
    metadata : Metadata
        The ``tokenizer.*`` keys, changed in place.

    Raises
    ------
    CheckpointError
        llama.cpp can't load these tokens.
    """
    tokens: list[str] = metadata[TOKENS]  # type: ignore[assignment]
    _check_texts(files, tokens)
    for key in [key for key in metadata if key.endswith(_SUFFIX)]:
        token_id = metadata[key]
        if not isinstance(token_id, int) or not 0 <= token_id < len(tokens):
            files.note(f"{key} would be {token_id}, but there are {len(tokens)} tokens: left out")
            del metadata[key]
    for name in _NAMES:
        _settle_id(files, metadata, name, tokens)


def _check_texts(files: TokenizerFiles, tokens: list[str]) -> None:
    seen: dict[str, int] = {}
    for token_id, text in enumerate(tokens):
        read = text.partition("\0")[0] or f"[EMPTY_{token_id}]"
        if not text:
            files.note(f"the token {token_id} has no text: llama.cpp makes up {read!r}")
        elif read != text:
            files.note(f"llama.cpp cuts the token {token_id}, {_shown(text)}, at its NUL character")
        first = seen.setdefault(read, token_id)
        if first != token_id:
            raise files.malformed(
                "",
                f"the tokens {first} and {token_id} are both {_shown(read)}, which llama.cpp does "
                "not load; tokenizer files contradict each other, or need another name for one",
            )


def _settle_id(files: TokenizerFiles, metadata: Metadata, name: str, tokens: list[str]) -> None:
    """Set a special token that has no id yet, and note what files say of it in vain."""
    configured = _id(files, "config.json", name, len(tokens))
    text = _text(files, name, tokens)
    named = tokens.index(text) if text in tokens else None
    if name not in ID_KEYS:
        return
    written: Any = metadata.get(ID_KEYS[name])
    if written is None:
        if name == "eos" and configured is None and named is None:
            configured = _id(files, "generation_config.json", name, len(tokens))
        if configured is not None and named is None and name not in _UNREAD:
            metadata.set(ID_KEYS[name], configured, ValueType.UINT32)
        else:
            _note_missing(files, name, configured, named)
        return
    for where, other in (("config.json", configured), ("tokenizer_config.json", named)):
        if name in _NEEDED and other not in (None, written):
            files.note(
                f"{name} is the token {written} ({_shown(tokens[written])}), but {where} says "
                f"{other} ({_shown(tokens[other or 0])})"
            )


def _note_missing(
    files: TokenizerFiles, name: str, configured: int | None, named: int | None
) -> None:
    """Note that a special token that files name has no id in the metadata."""
    if name in _UNREAD and configured is not None:
        files.note(f"config.json's {name}{_SUFFIX} is not used, as by llama.cpp's converter")
    elif name in _NEEDED and named is not None:
        files.note(
            f"no {name} token is set, as by llama.cpp's converter: ggufkit edit FILE "
            f"--special-token {name}={named} sets the one that tokenizer files name"
        )
    elif name == "eos" and _is_named(files, name):
        files.note("no eos token could be set: llama.cpp takes a default, perhaps any token")


def _id(files: TokenizerFiles, where: str, name: str, n_tokens: int) -> int | None:
    """Return the id of a special token in a config, of a list the first; note unusable ones."""
    config = files.json(where) or {}
    raw = config.get(f"{name}{_SUFFIX}")
    if raw is None:
        raw = get(config, "text_config", f"{name}{_SUFFIX}")
    ids = raw if isinstance(raw, list) else [] if raw is None else [raw]
    usable = [i for i in ids if type(i) is int and 0 <= i < n_tokens]
    # -1 means that there is no such token
    if len(usable) < len(ids) and raw != -1:
        files.note(
            f"{where}: {name}{_SUFFIX} is {_shown(raw)}, but ids are whole numbers below "
            f"{n_tokens}: {usable[0] if usable else 'nothing'} is taken from it"
        )
    return usable[0] if usable else None


def _text(files: TokenizerFiles, name: str, tokens: list[str]) -> str | None:
    """Return the text of a special token, and note one that is unknown or contradictory."""
    key = f"{name}_token"
    older = _content((files.json("special_tokens_map.json") or {}).get(key))
    text = _content((files.config or {}).get(key))
    if older and text and older != text:
        files.note(
            f"special_tokens_map.json says {key} {_shown(older)}, which is not used: "
            f"tokenizer_config.json says {_shown(text)}"
        )
    text = text or older
    if text and text not in tokens:
        files.note(f"{key} is {_shown(text)}, which is no token of the vocabulary")
    return text


def _content(value: Any) -> str | None:
    text = value if isinstance(value, str) else get(value, "content")
    return text if isinstance(text, str) and text else None


def _is_named(files: TokenizerFiles, name: str) -> bool:
    """Whether any file says which a special token is, usable or not."""
    configs = (files.json(where) for where in ("config.json", "generation_config.json"))
    ids = (get(config, f"{name}{_SUFFIX}") for config in configs)
    return _content(get(files.config, f"{name}_token")) is not None or any(
        token_id not in (None, -1) for token_id in ids
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
