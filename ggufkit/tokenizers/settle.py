"""What is checked of every converted tokenizer, and what is set beyond the converter.

llama.cpp aborts on two tokens with one text, and takes a default for a special token whose id is
missing or out of range, which may be any token. So texts are refused or noted here, ids that name
no token are left out, and what files say of special tokens in vain is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufkit.checkpoint.model_card import read_generation_config
from ggufkit.tokenizers.files import MAX_NAMED, get, shorten
from ggufkit.tokenizers.special import ID_KEYS, TYPES
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.tokenizers.files import TokenizerFiles

TOKENS = "tokenizer.ggml.tokens"
GENERATION = "generation_config.json"
_SUFFIX = "_token_id"
# llama.cpp's default for WordPiece.
WORDPIECE_UNKNOWN = 100
_NAMES = (*TYPES, "eot", "eom")
# Without these, llama.cpp's default decides where a text begins and ends.
_NEEDED = ("bos", "eos")
# The converter does not read the ids of these from config.json.
_UNREAD = ("eot", "eom")
_ENDS = ("eos", "eot", "eom")


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
    _check_unknown(files, metadata, tokens)


def _check_texts(files: TokenizerFiles, tokens: list[str]) -> None:
    """Refuse two tokens that are one to llama.cpp, and note texts that it changes."""
    seen: dict[str, int] = {}
    empty: list[int] = []
    cut: list[int] = []
    for token_id, text in enumerate(tokens):
        read = text.partition("\0")[0] or f"[EMPTY_{token_id}]"
        if read != text:
            (cut if text else empty).append(token_id)
        first = seen.setdefault(read, token_id)
        if first != token_id:
            raise files.malformed(
                "",
                f"the tokens {first} and {token_id} are both {shorten(read)}, which llama.cpp does "
                "not load; tokenizer files contradict each other, or need another name for one",
            )
    files.note_all(empty, "no text, for which llama.cpp makes up one: the tokens {}")
    files.note_all(cut, "cut by llama.cpp at their NUL character: the tokens {}")


def _check_unknown(files: TokenizerFiles, metadata: Metadata, tokens: list[str]) -> None:
    """Note that there is nothing for characters that are no tokens."""
    model = metadata["tokenizer.ggml.model"]
    if model == "llama":
        have = set(tokens)
        lost = [f"<0x{byte:02X}>" for byte in range(256) if f"<0x{byte:02X}>" not in have]
        text = "no byte tokens {}: llama.cpp can't encode characters outside the vocabulary"
        files.note_all(lost, text)
    known = tokens[WORDPIECE_UNKNOWN : WORDPIECE_UNKNOWN + 1] == ["[UNK]"]
    if model == "bert" and ID_KEYS["unk"] not in metadata and not known:
        files.note(f"no unknown token is set: llama.cpp takes the token {WORDPIECE_UNKNOWN}")


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
            configured = _id(files, GENERATION, name, len(tokens))
        if configured is not None and named is None and name not in _UNREAD:
            metadata.set(ID_KEYS[name], configured, ValueType.UINT32)
        else:
            _note_missing(files, name, configured, named)
        return
    if name == "eos":
        _note_other_ends(files, metadata, tokens)
    if tokens[written].endswith(f"[PAD{written}]"):
        files.note(f"{name} is {written}, which is no token of the vocabulary, but padding")
    for where, other in (("config.json", configured), ("tokenizer_config.json", named)):
        if name in _NEEDED and other not in (None, written):
            files.note(
                f"{name} is the token {written} ({shorten(tokens[written])}), but {where} says "
                f"{other} ({shorten(tokens[other or 0])})"
            )


def _note_other_ends(files: TokenizerFiles, metadata: Metadata, tokens: list[str]) -> None:
    """Note that transformers ends a generated text at other tokens than the file does."""
    ends = _ids(files, GENERATION, "eos", len(tokens))
    if ends and not {metadata.get(ID_KEYS[name]) for name in _ENDS} & set(ends):
        shown = ", ".join(f"{i} ({shorten(tokens[i])})" for i in ends[:MAX_NAMED])
        files.note(
            f"{GENERATION} ends texts at {shown}, but eos is {metadata[ID_KEYS['eos']]}: llama.cpp "
            "goes on there, unless it knows the text of such a token"
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


def _raw_ids(files: TokenizerFiles, where: str, name: str) -> Any:
    """Return what a config says of the id of a special token, also in its part for text."""
    # not all published generation_config.json are valid
    lenient = where == GENERATION
    config = read_generation_config(files.folder) if lenient else files.json(where)
    found = get(config, f"{name}{_SUFFIX}")
    return get(config, "text_config", f"{name}{_SUFFIX}") if found is None else found


def _id(files: TokenizerFiles, where: str, name: str, n_tokens: int) -> int | None:
    """Return the id of a special token in a config, of a list the first usable one."""
    return next(iter(_ids(files, where, name, n_tokens)), None)


def _ids(files: TokenizerFiles, where: str, name: str, n_tokens: int) -> list[int]:
    """Return the usable ids of a special token in a config; note the others."""
    raw = _raw_ids(files, where, name)
    ids = raw if isinstance(raw, list) else [] if raw is None else [raw]
    usable = [i for i in ids if type(i) is int and 0 <= i < n_tokens]
    # -1 means that there is no such token
    if len(usable) < len(ids) and raw != -1:
        files.note(
            f"{where}: {name}{_SUFFIX} is {shorten(raw)}, but ids are whole numbers below "
            f"{n_tokens}: {usable[0] if usable else 'nothing'} is taken from it"
        )
    return usable


def _text(files: TokenizerFiles, name: str, tokens: list[str]) -> str | None:
    """Return the text of a special token, and note one that is unknown or contradictory."""
    key = f"{name}_token"
    older = _content((files.json("special_tokens_map.json") or {}).get(key))
    given = (files.config or {}).get(key)
    text = _content(given)
    if given and text is None:
        files.note(f"tokenizer_config.json: {key} is {shorten(given)}, which is no text")
    if older and text and older != text:
        files.note(
            f"special_tokens_map.json says {key} {shorten(older)}, which is not used: "
            f"tokenizer_config.json says {shorten(text)}"
        )
    text = text or older
    if text and text not in tokens:
        files.note(f"{key} is {shorten(text)}, which is no token of the vocabulary")
    return text


def _content(value: Any) -> str | None:
    text = value if isinstance(value, str) else get(value, "content")
    return text if isinstance(text, str) and text else None


def _is_named(files: TokenizerFiles, name: str) -> bool:
    """Whether any file says which a special token is, usable or not."""
    ids = [_raw_ids(files, where, name) for where in ("config.json", GENERATION)]
    text = _content(get(files.config, f"{name}_token"))
    return text is not None or any(token_id not in (None, -1) for token_id in ids)
