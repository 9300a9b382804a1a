"""Compares two tokenizers in a separate process, started by `ggufkit.tokenizers.selftest`.

It runs as an isolated script without this package, reads one JSON object from standard input and
writes one to standard output. tokenizer.json comes from an untrusted source: if the tokenizers
library crashes on it, only this process ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tokenizers import Tokenizer


def _load(described: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _different_tokens(own: Tokenizer, rebuilt: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield tokens of the model with different ids."""
    model = rebuilt["model"]
    if model["type"] == "Unigram":
        ids = {text: i for i, (text, _) in enumerate(model["vocab"])}
    else:
        ids = model["vocab"]
    added = {token.content for token in own.get_added_tokens_decoder().values()}
    for text, token_id in own.get_vocab(with_added_tokens=False).items():
        if text not in added and ids.get(text) != token_id:
            yield {"what": "token", "text": text, "own": [token_id], "rebuilt": [ids.get(text)]}


def _different_merges(own: Tokenizer, rebuilt: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # the library writes both spellings of merges as pairs
    pairs = json.loads(own.to_str())["model"]["merges"]
    for rank, (one, other) in enumerate(zip_longest(pairs, rebuilt["model"]["merges"])):
        if one != other:
            yield {"what": "merge", "text": str(rank), "own": one, "rebuilt": other}


def _different_texts(
    own: Tokenizer, rebuilt: Tokenizer, texts: list[tuple[str, str]], special: bool
) -> Iterator[dict[str, Any]]:
    for tokenizer in (own, rebuilt):
        tokenizer.encode_special_tokens = not special
    for text, spelled in texts:
        one, other = _ids(own, text), _ids(rebuilt, spelled)
        if one != other:
            what = "text" if special else "text without special tokens"
            yield {"what": what, "text": text, "own": one, "rebuilt": other}


def _differences(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    own, rebuilt = _load(request["own"]), _load(request["rebuilt"])
    for texts, special in (("texts", True), ("special_as_text", False)):
        yield from _different_texts(own, rebuilt, request[texts], special)
    yield from _different_tokens(own, request["rebuilt"])
    if request["merges"]:
        yield from _different_merges(own, request["rebuilt"])


def _main() -> None:
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        answer = {"difference": next(_differences(request), None)}
    except Exception as error:  # the library raises nothing more specific
        answer = {"failed": str(error)[:300]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
