"""``KEY=VALUE`` and ``KEY:TYPE=VALUE``: metadata as text.

A type that is not given is that of the table of standard keys, or the one that the key has in the
file. Arrays are written as JSON; their type is ``TYPE[]``.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from ggufkit.errors import BadValueError, MissingKeyError, WrongValueTypeError
from ggufkit.gguf.metadata import Metadata, key_type
from ggufkit.tokenizers.special import ID_KEYS
from ggufkit.types import ValueType

#: Name of a type in an assignment -> type.
TYPES = {
    "u8": ValueType.UINT8,
    "i8": ValueType.INT8,
    "u16": ValueType.UINT16,
    "i16": ValueType.INT16,
    "u32": ValueType.UINT32,
    "i32": ValueType.INT32,
    "u64": ValueType.UINT64,
    "i64": ValueType.INT64,
    "f32": ValueType.FLOAT32,
    "f64": ValueType.FLOAT64,
    "bool": ValueType.BOOL,
    "string": ValueType.STRING,
}
#: Special tokens that only an edit sets, in addition to those of `ID_KEYS`.
_ROLES = ("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep")
_ASSIGNMENT = re.compile(r"([^=]+?)(?::(\w+)(\[\])?)?=(.*)", re.DOTALL)
_FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)


def assign(metadata: Metadata, text: str) -> None:
    """Set the key that `text` names.

    Raises
    ------
    WrongValueTypeError
        The text is not an assignment, the type is unknown, or the value does not fit it.

    Examples
    --------
    >>> m = Metadata()
    >>> assign(m, "llama.block_count=22")
    >>> assign(m, "my.list:f32[]=[1, 2.5]")
    >>> m["llama.block_count"], m["my.list"]
    (22, [1.0, 2.5])
    """
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise WrongValueTypeError(f"{text!r}: write KEY=VALUE or KEY:TYPE=VALUE")
    key, type_name, array, value = match.groups()
    if type_name is None:
        value_type, is_array = _known_type(metadata, key, value)
    elif type_name in TYPES:
        value_type, is_array = TYPES[type_name], bool(array)
    else:
        raise WrongValueTypeError(
            f"{text!r}: unknown type {type_name!r}, expected one of {', '.join(TYPES)}"
        )
    metadata.set(key, _parse(key, value, value_type, is_array), value_type)


def _known_type(metadata: Metadata, key: str, value: str) -> tuple[ValueType, bool]:
    """Return the type of a key's value or items, and whether it is an array."""
    expected = key_type(key)
    if expected is not None:
        is_array = expected.scalar is None or (
            expected.items is not None and value.lstrip().startswith("[")
        )
        found = expected.items if is_array else expected.scalar
        if found is not None:
            return found, is_array
    if key in metadata:
        if metadata.type_of(key) is ValueType.ARRAY:
            return metadata.item_type_of(key), True
        return metadata.type_of(key), False
    raise WrongValueTypeError(
        f"{key!r} is not a standard key: say its type, as in '{key}:u32=1' ({', '.join(TYPES)}; "
        "u32[] for an array)"
    )


def _parse(key: str, text: str, value_type: ValueType, is_array: bool) -> Any:
    try:
        if is_array:
            items = json.loads(text)
            if not isinstance(items, list):
                raise ValueError(text)
            return [float(item) for item in items] if value_type in _FLOATS else items
        if value_type is ValueType.STRING:
            return text
        if value_type is ValueType.BOOL:
            return {"true": True, "false": False}[text.lower()]
        return float(text) if value_type in _FLOATS else int(text, 0)
    except (ValueError, KeyError, TypeError, RecursionError):
        what = f"an array of {value_type.name} in JSON" if is_array else f"a {value_type.name}"
        raise WrongValueTypeError(f"{key!r}: {text[:80]!r} is not {what}") from None


def retype(metadata: Metadata, key: str, type_name: str) -> None:
    """Change the type of a key and keep its value.

    Raises
    ------
    MissingKeyError
        The key does not exist.
    WrongValueTypeError
        The type is unknown, or the value does not fit it.

    Examples
    --------
    >>> m = Metadata({"llama.block_count": 22})
    >>> retype(m, "llama.block_count", "u64")
    >>> m["llama.block_count"], m.type_of("llama.block_count").name
    (22, 'UINT64')
    """
    value = metadata[key]
    assign(metadata, f"{key}:{type_name}={value if isinstance(value, str) else json.dumps(value)}")


def set_special_token(metadata: Metadata, name: str, token: str) -> None:
    """Set the id of a special token.

    Parameters
    ----------
    metadata : Metadata
        With the vocabulary.
    name : str
        Such as ``eos``, ``bos``, ``eot`` or ``pad``.
    token : str
        Its text in the vocabulary, or its id.

    Raises
    ------
    BadValueError
        No special token is called so.
    MissingKeyError
        There is no vocabulary, or the token is not in it.
    """
    key = ID_KEYS.get(name, f"tokenizer.ggml.{name}_token_id")
    if key_type(key) is None:
        roles = sorted(ID_KEYS.keys() | set(_ROLES))
        close = difflib.get_close_matches(name, roles)
        close.sort(key=lambda role: sorted(role) != sorted(name))  # exchanged letters first
        meant = f", did you mean {close[0]!r}?" if close else ";"
        raise BadValueError(
            f"no special token is called {name!r}{meant} there are {', '.join(roles)}"
        )
    tokens: Any = metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        raise MissingKeyError("no tokenizer.ggml.tokens: the file has no vocabulary")
    if token in tokens:
        number = tokens.index(token)
    elif token.isdecimal() and int(token) < len(tokens):
        number = int(token)
    else:
        raise MissingKeyError(
            f"{token!r} is neither a token nor a valid token id; 'ggufkit inspect FILE --vocab "
            "TEXT' searches it"
        )
    metadata.set(key, number, ValueType.UINT32)
