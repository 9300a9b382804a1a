"""The vocabulary of Hugging Face's AutoTokenizer, read from its files without transformers.

The vocabulary is tokenizer.json's model plus added tokens. Tokens are added in three places:
tokenizer.json itself; ``added_tokens_decoder`` of tokenizer_config.json (before transformers 4.34:
added_tokens.json and special_tokens_map.json); and the special tokens that tokenizer_config.json
names. An added token that the model knows keeps its id, a new one gets the next free id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.tokenizers.files import get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ggufkit.tokenizers.files import TokenizerFiles

# Special tokens with a name; all others are "additional" or "extra".
NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
MAX_ID_DIGITS = 10
# What an added token asks of the text around it; llama.cpp has no such flags.
FLAGS = ("single_word", "lstrip", "rstrip")


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before it is split.

    `flagged` says that it takes the spaces around it, or must be a whole word.
    """

    text: str
    special: bool = False
    normalized: bool = False
    flagged: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens.

    Attributes
    ----------
    texts : dict of int to str
        All tokens, including added ones, by id.
    added : dict of int to AddedToken
        The added tokens by id.
    special : frozenset of str
        The texts of the tokens that tokenizer_config.json calls special.
    n_model : int
        Number of tokens of the model, without added ones.
    """

    texts: dict[int, str]
    added: dict[int, AddedToken]
    special: frozenset[str]
    n_model: int


def read_vocabulary(files: TokenizerFiles) -> Vocabulary:
    """Return the vocabulary of a checkpoint with a tokenizer.json.

    Raises
    ------
    UnknownTokenizerError
        There is neither a tokenizer.json nor its older equivalent.
    CheckpointError
        A file is malformed.
    """
    tokenizer = files.tokenizer_json_or_legacy
    if tokenizer is None:
        raise UnknownTokenizerError(
            f"{files.folder}: neither tokenizer.json nor a suitable tokenizer.model; to get a "
            "tokenizer.json, load the tokenizer with transformers and save it with save_pretrained"
        )
    ids = get(tokenizer, "model", "vocab")
    if not isinstance(ids, dict) or not all(type(i) is int and i >= 0 for i in ids.values()):
        raise files.malformed("tokenizer.json", "model.vocab must map tokens to ids")
    named, extra = _special_tokens(files)
    texts = {token_id: text for text, token_id in ids.items()}
    if len(texts) != len(ids):
        raise files.malformed("tokenizer.json", "two tokens of model.vocab have the same id")
    added: dict[int, AddedToken] = {}
    all_ids = dict(ids)
    next_id = len(ids)
    for token in _added_tokens(files, named, extra):
        if not token.text:  # the tokenizers library ignores these
            continue
        token_id = all_ids.setdefault(token.text, next_id)
        # The tokenizers library counts from the model's size, or from the last added token.
        next_id = max(next_id, token_id + 1)
        if texts.setdefault(token_id, token.text) != token.text:
            what = f"the tokens {texts[token_id]!r} and {token.text!r} both have the id {token_id}"
            raise files.malformed("tokenizer.json", what)
        added[token_id] = token
    _check_ids(files, all_ids)
    _check_utf8(files, texts)
    special = frozenset(token.text for token in (*named, *extra))
    return Vocabulary(texts, added, special, len(ids))


def _check_ids(files: TokenizerFiles, ids: dict[str, int]) -> None:
    """Refuse files that give an added token another id than it has.

    The tokenizers library counts added tokens, and ignores the ids that files give them. It is
    unclear then which row of the embeddings belongs to a token.
    """
    empty = []
    for name, token_id, text in _claimed_ids(files):
        if not text:
            empty.append(token_id)
        elif ids.get(text, token_id) != token_id:
            raise files.malformed(
                name,
                f"the added token {text!r} has the id {token_id}, but as transformers counts it "
                f"has {ids[text]}: there is a gap, or files contradict each other. Save the "
                "tokenizer with transformers (save_pretrained), and see that the ids are those "
                "of the embeddings' rows",
            )
    files.note_all(empty, "left out, as they have no text: the added tokens {}")


def _check_utf8(files: TokenizerFiles, texts: dict[int, str]) -> None:
    """Refuse half characters (surrogates), which JSON can spell, but UTF-8 can't."""
    try:
        "".join(texts.values()).encode()
    except UnicodeEncodeError:
        wrong = next(i for i, text in texts.items() if any("\ud800" <= c <= "\udfff" for c in text))
        what = f"the token {wrong} is {texts[wrong]!r}, half a character, which no text can hold"
        raise files.malformed("tokenizer.json", what) from None


def _claimed_ids(files: TokenizerFiles) -> Iterator[tuple[str, int, str]]:
    """Yield the ids that files give added tokens: the file's name, the id and the text."""
    for entry in (files.tokenizer_json or {}).get("added_tokens") or ():
        if type(entry.get("id")) is not int:
            what = f"the added token {entry['content'][:40]!r} has no 'id'"
            raise files.malformed("tokenizer.json", what)
        yield "tokenizer.json", entry["id"], entry["content"]
    decoder = decoder_entries(files)
    for token_id, entry in decoder or ():
        yield "tokenizer_config.json", token_id, entry["content"]
    if decoder is None:
        for text, token_id in added_tokens_json(files).items():
            yield "added_tokens.json", token_id, text


def decoder_entries(files: TokenizerFiles) -> list[tuple[int, dict[str, Any]]] | None:
    """Return tokenizer_config.json's ``added_tokens_decoder`` by id; None if it has none.

    Raises
    ------
    CheckpointError
        It is malformed.
    """
    name = "tokenizer_config.json"
    entries = (files.config or {}).get("added_tokens_decoder")
    if entries is None:
        return None
    if not isinstance(entries, dict):
        raise files.malformed(name, "'added_tokens_decoder' must be an object")
    found: dict[int, dict[str, Any]] = {}
    for token_id, entry in entries.items():
        if not isinstance(get(entry, "content"), str):
            what = f"'added_tokens_decoder' entry {token_id[:40]!r} has no 'content'"
            raise files.malformed(name, what)
        if not (token_id.isascii() and token_id.isdigit() and len(token_id) <= MAX_ID_DIGITS):
            what = f"'added_tokens_decoder' key {token_id[:40]!r} is not a token id"
            raise files.malformed(name, what)
        if int(token_id) in found:
            raise files.malformed(name, f"'added_tokens_decoder' has the id {token_id} twice")
        found[int(token_id)] = entry
    return list(found.items())


def added_tokens_json(files: TokenizerFiles) -> dict[str, int]:
    """Return the ids in added_tokens.json by text; empty without this file.

    Raises
    ------
    CheckpointError
        It is malformed.
    """
    found = files.json("added_tokens.json", 64 << 20) or {}
    for text, token_id in found.items():
        if type(token_id) is not int or token_id < 0:
            what = f"the id of the token {text[:80]!r} is {str(token_id)[:40]}, not a token id"
            raise files.malformed("added_tokens.json", what)
    return found


def _added_tokens(
    files: TokenizerFiles, named: list[AddedToken], extra: list[AddedToken]
) -> Iterator[AddedToken]:
    """Yield added tokens in the order in which they are added; later ones replace equal texts."""
    seen: dict[str, AddedToken] = {}
    for token in _tokens_in_json(files):
        seen[token.text] = token
        yield token
    names = {token.text for token in named}
    for token in _configured_tokens(files, names | {token.text for token in extra}):
        wanted = replace(token, special=token.special or token.text in names)
        if seen.get(token.text) != wanted:
            seen[token.text] = wanted
            yield wanted
    model = get(files.tokenizer_json_or_legacy, "model", "vocab")
    new = []
    for token in (*named, *extra):
        if token.text not in seen:
            if token.text not in model:
                new.append(token.text)
            seen[token.text] = token
            yield token
    text = "new tokens, as with transformers, since the vocabulary lacks what files name: {}"
    files.note_all(new, text)


def _configured_tokens(files: TokenizerFiles, special: set[str]) -> Iterator[AddedToken]:
    """Yield the added tokens of tokenizer_config.json, or of the files that preceded it."""
    decoder = decoder_entries(files)
    if decoder is not None:
        for _, entry in sorted(decoder, key=lambda pair: pair[0]):
            yield _parse(files, "tokenizer_config.json", entry)
        return
    in_json = _tokens_in_json(files)
    older = added_tokens_json(files)
    known = {token.text for token in in_json}
    for text in sorted(older, key=older.__getitem__):
        if text not in known:
            yield AddedToken(text, special=text in special, normalized=text not in special)
    yield from in_json


def _tokens_in_json(files: TokenizerFiles) -> list[AddedToken]:
    entries = (files.tokenizer_json_or_legacy or {}).get("added_tokens") or []
    if not isinstance(entries, list):
        raise files.malformed("tokenizer.json", "'added_tokens' must be a list")
    return [_parse(files, "tokenizer.json", entry) for entry in entries]


def _special_tokens(files: TokenizerFiles) -> tuple[list[AddedToken], list[AddedToken]]:
    """Return the special tokens with a name, such as bos, and those without."""
    config = dict(files.config or {})
    if "added_tokens_decoder" not in config:
        config |= files.json("special_tokens_map.json") or {}
    names = [f"{name}_token" for name in NAMED]
    names += [name for name in config if name.endswith("_token") and name not in names]
    named = [config.get(name) for name in names]
    extra = config.get("extra_special_tokens")
    if isinstance(extra, dict):
        named += extra.values()
        extra = None
    extra = extra or config.get("additional_special_tokens") or []
    return _as_special(named), _as_special(extra if isinstance(extra, list) else [])


def _as_special(values: list[Any]) -> list[AddedToken]:
    tokens = []
    for value in values:
        if isinstance(value, str) and value:
            tokens.append(AddedToken(value, special=True))
        elif isinstance(get(value, "content"), str):
            normalized = bool(value.get("normalized", False))
            tokens.append(AddedToken(value["content"], special=True, normalized=normalized))
    return tokens


def _parse(files: TokenizerFiles, name: str, entry: Any) -> AddedToken:
    text = get(entry, "content")
    if not isinstance(text, str):
        raise files.malformed(name, f"an added token has no 'content': {str(entry)[:80]}")
    special = entry.get("special", False) is True
    flagged = any(entry.get(flag) is True for flag in FLAGS)
    return AddedToken(text, special, bool(entry.get("normalized", not special)), flagged)
