r"""The hash by which llama.cpp's converter identifies a tokenizer: of the ids of a reference text.

The text is encoded here for known pre-tokenizers only, which keeps this small: the expressions
come from our own table, and the classes ``\p{...}``, which Python's `re` lacks, only have to cover
the characters of that text. The encoder is slow, and made for this one text.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ggufkit.tokenizers.alphabet import CHAR_OF
from ggufkit.tokenizers.files import as_list, get
from ggufkit.tokenizers.huggingface import read_vocabulary
from ggufkit.tokenizers.special import read_merges

if TYPE_CHECKING:
    from ggufkit.tokenizers.files import TokenizerFiles

# chktxt of convert_hf_to_gguf.py: spaces, emoji, digits, scripts, punctuation, contractions.
REFERENCE_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n\U0001f680 (n"
    "ormal) \U0001f636\u200d\U0001f32b\ufe0f (multiple emojis concatena"
    "ted) \u2705 \U0001f999\U0001f999 3 33 333 3333 33333 333333 3"
    "333333 33333333 3.3 3..3 3...3 \u1780\u17b6\u1793\u17cb\u178f\u17c2\u1796"
    "\u17b7\u179f\u17c1\u179f\u17a2\u17b6\u1785\U0001f601 ?\u6211\u60f3\u5728apple\u5de5\u4f5c"
    "1314151\u5929\uff5e ------=="
    "===== нещо на Български ''''''```````\""
    '"""......!!!!!!?????? I\'ve been \'told '
    "he's there, 'RE you sure? 'M not sure "
    "I'll make it, 'D you like some tea? We"
    "'Ve a'lL"
)

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CLASSES = {"digit": r"\p{N}", "digits": r"\p{N}+", "punctuation": r"[!-/:-@\[-`{-~\p{P}]+"}


def reference_hash(files: TokenizerFiles, steps: tuple[str, ...]) -> str:
    """Return the hash of the reference text's ids, split by known `steps`; "" if it has none."""
    vocabulary = read_vocabulary(files)
    ids = {text: token_id for token_id, text in vocabulary.texts.items()}
    added = {token.text for token in vocabulary.added.values()}
    tokenizer = files.tokenizer_json_or_legacy or {}
    try:
        if steps == ("bert",):
            tokens = _wordpiece(tokenizer, ids)
        else:
            tokens = _bpe(files, added, steps, ids)
        first, last = _around(tokenizer.get("post_processor"))
        sequence = [ids[token] for token in (*first, *tokens, *last)]
    except (KeyError, TypeError):  # a token is missing in the vocabulary, or not a text
        return ""
    return hashlib.sha256(str(sequence).encode()).hexdigest()


def _around(processor: Any) -> tuple[list[str], list[str]]:
    """Return the special tokens that the post-processor adds before and after a text."""
    if get(processor, "type") == "RobertaProcessing":
        return as_list(processor.get("cls"))[:1], as_list(processor.get("sep"))[:1]
    first: list[str] = []
    last: list[str] = []
    for step in as_list(get(processor, "processors")) or [processor]:
        side = first
        for piece in as_list(get(step, "single")):
            if get(piece, "Sequence") is not None:
                side = last
            elif get(piece, "SpecialToken", "id") is not None:
                side.append(piece["SpecialToken"]["id"])
    return first, last


def _bpe(
    files: TokenizerFiles, added: set[str], steps: tuple[str, ...], ids: dict[str, int]
) -> list[str]:
    ranks = {merge: rank for rank, merge in enumerate(read_merges(files))}
    whole = bool(get(files.tokenizer_json_or_legacy, "model", "ignore_merges"))
    tokens: list[str] = []
    for piece in _split_added(REFERENCE_TEXT, added):
        if piece in added:
            tokens.append(piece)
            continue
        for word in cut(piece, steps):
            tokens += [word] if whole and word in ids else _merge(word, ranks)
    return tokens


def _split_added(text: str, added: set[str]) -> list[str]:
    """Split a text at added tokens, the longest first; they become pieces themselves."""
    present = sorted((token for token in added if token and token in text), key=len, reverse=True)
    if not present:
        return [text]
    pattern = "|".join(re.escape(token) for token in present)
    return [piece for piece in re.split(f"({pattern})", text) if piece]


def cut(text: str, steps: tuple[str, ...]) -> list[str]:
    """Return the words into which the steps of a known pre-tokenizer split a text."""
    pieces = [text]
    for step in steps:
        if step not in ("bytes", "words"):
            pieces = _isolate(pieces, _CLASSES.get(step, step))
            continue
        if step == "words":
            pieces = _isolate(pieces, _WORDS)
        pieces = ["".join(CHAR_OF[byte] for byte in piece.encode()) for piece in pieces]
    return pieces


def _isolate(pieces: list[str], regex: str) -> list[str]:
    """Make each match, and the text between matches, a piece."""
    pattern = re.compile(translate(regex, frozenset("".join(pieces))), re.MULTILINE)
    result = []
    for piece in pieces:
        at = 0
        for match in pattern.finditer(piece):
            result += [piece[at : match.start()], match[0]]
            at = match.end()
        result.append(piece[at:])
    return [piece for piece in result if piece]


def translate(regex: str, alphabet: frozenset[str]) -> str:
    r"""Return an expression for Python's `re` that is equivalent for texts over an alphabet.

    Two things differ: ``\p{X}`` becomes the alphabet's characters of that category, and nested
    classes are flattened.
    """
    result = []
    depth = 0
    for part in re.findall(r"\\p\{\w+\}|\\.|.", regex, re.DOTALL):
        if part.startswith(r"\p"):
            # A class must not be empty; U+FFFF is not a character.
            members = "".join(map(re.escape, _category(part[3:-1], alphabet))) or "\uffff"
            result.append(members if depth else f"[{members}]")
            continue
        if part in "[]":
            depth += 1 if part == "[" else -1
            if depth == (1 if part == "[" else 0):
                result.append(part)
            continue
        result.append(part)
    return "".join(result)


def _category(name: str, alphabet: frozenset[str]) -> list[str]:
    return sorted(char for char in alphabet if unicodedata.category(char).startswith(name))


def _merge(word: str, ranks: dict[str, int]) -> list[str]:
    """Join the pair of the lowest rank, again and again, until no pair has a rank."""
    parts = list(word)
    while len(parts) > 1:
        pairs = [ranks.get(f"{a} {b}", len(ranks)) for a, b in pairwise(parts)]
        best = min(pairs)
        if best == len(ranks):
            break
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _wordpiece(tokenizer: dict[str, Any], ids: dict[str, int]) -> list[str]:
    """Encode the reference text as BERT does."""
    normalizer = tokenizer.get("normalizer")
    lowercase = get(normalizer, "lowercase") is not False
    strip = get(normalizer, "strip_accents")
    text = _normalize_bert(
        lowercase=lowercase,
        strip_accents=lowercase if strip is None else bool(strip),
        space_out_han=get(normalizer, "handle_chinese_chars") is not False,
    )
    unknown = str(get(tokenizer, "model", "unk_token"))
    return [token for word in _bert_words(text) for token in _longest_pieces(word, ids, unknown)]


def _normalize_bert(*, lowercase: bool, strip_accents: bool, space_out_han: bool) -> str:
    chars = []
    for char in REFERENCE_TEXT:
        if char in "\t\n\r" or unicodedata.category(char) == "Zs":
            chars.append(" ")
        elif unicodedata.category(char) not in ("Cc", "Cf", "Cn", "Co"):
            is_han = space_out_han and 0x4E00 <= ord(char) <= 0x9FFF
            chars.append(f" {char} " if is_han else char)
    text = "".join(chars)
    if strip_accents:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    return text.lower() if lowercase else text


def _bert_words(text: str) -> list[str]:
    spaced = "".join(f" {char} " if _is_punctuation(char) else char for char in text)
    return spaced.split()


def _is_punctuation(char: str) -> bool:
    is_ascii = char in r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
    return is_ascii or unicodedata.category(char).startswith("P")


def _longest_pieces(word: str, ids: dict[str, int], unknown: str) -> list[str]:
    pieces = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in ids:
                break
        else:
            return [unknown]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
