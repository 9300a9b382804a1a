"""Rules about the vocabulary, its special tokens and the pre-tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ggufkit.errors import named
from ggufkit.gguf.metadata import KEYS
from ggufkit.rules.llama_cpp import PHI_3_NAMES, PHI_3_TOKENS, TOKENIZERS
from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.tokenizers.bpe import looks_special
from ggufkit.tokenizers.pre_table import BPE_NAMES
from ggufkit.tokenizers.sentencepiece import TOKEN_TYPES, TokenType

_PREFIX = "tokenizer.ggml."
_MODEL, _PRE, _TOKENS = (_PREFIX + name for name in ("model", "pre", "tokens"))
_MERGES, _TYPES = _PREFIX + "merges", _PREFIX + "token_type"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ID_KEYS = tuple(key for key in KEYS if key.startswith(_PREFIX) and key.endswith("_token_id"))
ENDS = ("eos", "eot", "eom")
_WITH_TYPES = ("SPM", "BPE", "UGM")


def missing_tokenizer(subject: DescribedModel) -> Iterator[RawFinding]:
    """Every model names its tokenizer."""
    if not (subject.readable and subject.is_model):
        return
    if _MODEL not in subject.metadata:
        yield RawFinding(f"{_MODEL} is missing: llama.cpp refuses the file; convert it again")
    elif subject.tokenizer not in ("", "none") and not subject.tokens:
        yield RawFinding(
            f"{_TOKENS} is missing or empty: llama.cpp refuses the file; convert it again"
        )


def unknown_tokenizer(subject: DescribedModel) -> Iterator[RawFinding]:
    """A tokenizer that llama.cpp does not support."""
    model = subject.text(_MODEL)
    if model and model not in TOKENIZERS:
        yield RawFinding(f"{_MODEL} is {model!r}; llama.cpp knows {', '.join(TOKENIZERS)}")


def token_arrays(subject: DescribedModel) -> Iterator[RawFinding]:
    """One score and one type for every token."""
    for name in ("scores", "token_type"):
        n_items = len(subject.items(_PREFIX + name))
        if subject.tokens and n_items and n_items != len(subject.tokens):
            yield RawFinding(
                f"{_PREFIX}{name} has {n_items} items, but there are {len(subject.tokens)} tokens: "
                "convert the model again",
                severity=Severity.WARNING if n_items > len(subject.tokens) else None,
            )


def duplicate_tokens(subject: DescribedModel) -> Iterator[RawFinding]:
    """A token that appears twice."""
    if len(subject.token_ids) == len(subject.tokens):
        return
    twice = [repr(t) for t, n in Counter(subject.tokens).items() if n > 1 and t]
    if twice:
        yield RawFinding(
            f"{named(twice)} in {_TOKENS} more than once: llama.cpp aborts; give the copies "
            "other names, as in [PAD7]"
        )


def empty_tokens(subject: DescribedModel) -> Iterator[RawFinding]:
    """A token without text."""
    empty = [str(i) for i, token in enumerate(subject.tokens) if not token]
    if empty:
        yield RawFinding(f"token {named(empty)} is empty: llama.cpp makes up a name")


def odd_token_types(subject: DescribedModel) -> Iterator[RawFinding]:
    """A token type that does not exist."""
    odd = [str(i) for i, kind in enumerate(subject.token_types) if kind not in TOKEN_TYPES]
    if odd:
        yield RawFinding(f"token {named(odd)}: its type in {_TYPES} is not in 1..6")


def byte_token_form(subject: DescribedModel) -> Iterator[RawFinding]:
    """llama.cpp reads the byte from the token's text."""
    wrong = [
        repr(token)
        for token, kind in zip(subject.tokens, subject.token_types, strict=False)
        if kind == TokenType.BYTE and not _BYTE.fullmatch(token)
    ]
    if wrong:
        yield RawFinding(f"{named(wrong)}: tokens of type BYTE must be written <0x00> to <0xFF>")


def missing_byte_tokens(subject: DescribedModel) -> Iterator[RawFinding]:
    """SentencePiece falls back to bytes."""
    if subject.tokenizer != "SPM" or not subject.tokens:
        return
    have = {token.upper() for token in subject.tokens if _BYTE.fullmatch(token)}
    missing = [f"<0x{byte:02X}>" for byte in range(256) if f"<0X{byte:02X}>" not in have]
    if missing:
        yield RawFinding(
            f"{len(missing)} byte tokens are missing, such as {missing[0]}: text with characters "
            "outside the vocabulary can't be encoded"
        )


def token_id_range(subject: DescribedModel) -> Iterator[RawFinding]:
    """Ids of special tokens name tokens."""
    for key in _ID_KEYS if subject.tokens else ():
        number = subject.integer(key)
        if number is not None and not 0 <= number < len(subject.tokens):
            yield RawFinding(
                f"{key} is {number}, but there are {len(subject.tokens)} tokens: llama.cpp takes "
                f"a default, likely another token; 'ggufkit edit FILE --set {key}=ID' sets it"
            )


def named_phi3(subject: DescribedModel) -> Iterator[RawFinding]:
    """A model that is called Phi-3 has its tokens."""
    name = subject.text("general.name")
    if not (subject.is_model and subject.tokens and any(n in name.lower() for n in PHI_3_NAMES)):
        return
    lacking = [repr(token) for token in PHI_3_TOKENS if token not in subject.token_ids]
    if lacking:
        yield RawFinding(
            f"general.name is {name!r}, and there is no token {named(lacking)}: llama.cpp looks "
            "for Phi-3's tokens in models of that name and refuses the file; give it another "
            "name (convert --name, or ggufkit edit)"
        )


def missing_eos(subject: DescribedModel) -> Iterator[RawFinding]:
    """No token ends a text."""
    ids = [key for name in ENDS if (key := f"{_PREFIX}{name}_token_id") in subject.metadata]
    if subject.generates and subject.readable and subject.tokens and not ids:
        yield RawFinding(
            f"{_PREFIX}eos_token_id is missing: llama.cpp uses a default, which may be any token"
        )


def add_bos_without_id(subject: DescribedModel) -> Iterator[RawFinding]:
    """BOS is to be added but not defined."""
    key = f"{_PREFIX}bos_token_id"
    said = subject.flag(f"{_PREFIX}add_bos_token")
    adds = subject.tokenizer == "BPE" and subject.adds_bos and subject.tokens
    if adds and key not in subject.metadata:
        yield RawFinding(
            f"BOS is added to every prompt, but {key} is missing: llama.cpp uses token 11",
            severity=None if said else Severity.NOTE,
        )


def pre_tokenizer(subject: DescribedModel) -> Iterator[RawFinding]:
    """BPE needs a pre-tokenizer."""
    if subject.tokenizer != "BPE" or subject.text(_MODEL) != "gpt2":
        return
    pre = subject.text(_PRE)
    advice = (
        "output gets worse; convert the model again, or "
        f"'ggufkit edit FILE --set {_PRE}=NAME' sets it"
    )
    if not pre:
        yield RawFinding(f"{_PRE} is missing: llama.cpp uses a default pre-tokenizer; {advice}")
    elif pre == "default":
        yield RawFinding(f"{_PRE} is 'default', which no real model uses: {advice}")


def unknown_pre(subject: DescribedModel) -> Iterator[RawFinding]:
    """A pre-tokenizer that llama.cpp does not support."""
    pre = subject.text(_PRE)
    if subject.text(_MODEL) == "gpt2" and pre and pre not in BPE_NAMES:
        yield RawFinding(
            f"{_PRE} is {pre!r}: llama.cpp refuses unknown names; is it newer, or misspelt?"
        )


def missing_merges(subject: DescribedModel) -> Iterator[RawFinding]:
    """BPE needs merges."""
    wanted = subject.tokenizer == "BPE" and subject.tokens and subject.text(_PRE) != "kimi-k2"
    if wanted and _MERGES not in subject.metadata:
        yield RawFinding(f"{_MERGES} is missing: llama.cpp refuses the file; convert it again")


def unknown_merges(subject: DescribedModel) -> Iterator[RawFinding]:
    """Merges join two tokens into a token."""
    if subject.tokenizer != "BPE" or not subject.tokens:
        return
    ids, merges = subject.token_ids, subject.items(_MERGES)
    apart: list[str] = []
    without: list[str] = []
    for merge in merges:
        if not isinstance(merge, str):
            return
        cut = merge.find(" ", 1)
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 1 or left not in ids or right not in ids:
            apart.append(repr(merge))
        elif left + right not in ids:
            without.append(repr(merge))
    if apart:
        yield RawFinding(
            f"{len(apart)} of {len(merges)} merges, such as {apart[0]}, join what are no "
            "tokens: they belong to another vocabulary; convert the model again"
        )
    elif without:
        yield RawFinding(
            f"{len(without)} of {len(merges)} merges, such as {without[0]}, make no token",
            severity=Severity.NOTE,
        )


def special_is_normal(subject: DescribedModel) -> Iterator[RawFinding]:
    """Special tokens that the tokenizer would split."""
    if subject.tokenizer not in _WITH_TYPES or not subject.token_types:
        return
    types = list(subject.token_types)
    ids = {subject.special(name) for name in ("bos", *ENDS)} - {None}
    wrong = sorted(i for i in ids if i is not None and types[i] == TokenType.NORMAL)
    if wrong:
        for number in wrong:
            types[number] = TokenType.CONTROL
        yield RawFinding(
            f"{named([repr(subject.tokens[i]) for i in wrong])}: special tokens that {_TYPES} "
            "calls NORMAL, so prompts can't contain them",
            fix=Fix(f"call {len(wrong)} tokens CONTROL", values={_TYPES: [int(t) for t in types]}),
        )
    looks = [
        repr(token)
        for i, (token, kind) in enumerate(zip(subject.tokens, subject.token_types, strict=True))
        if kind == TokenType.NORMAL and i not in wrong and looks_special(token)
    ]
    if looks:
        yield RawFinding(
            f"{named(looks)}: look like special tokens, but {_TYPES} calls them NORMAL"
        )


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule(
        "missing-tokenizer", _E, "no tokenizer, or no tokens", missing_tokenizer, refused=True
    ),
    CheckRule(
        "unknown-tokenizer",
        _E,
        "llama.cpp does not support the tokenizer",
        unknown_tokenizer,
        refused=True,
    ),
    CheckRule(
        "token-arrays", _E, "scores or types for more or fewer tokens", token_arrays, refused=True
    ),
    CheckRule("duplicate-tokens", _E, "a token appears twice", duplicate_tokens, refused=True),
    CheckRule("empty-tokens", _N, "a token without text", empty_tokens),
    CheckRule("odd-token-types", _W, "a token type that does not exist", odd_token_types),
    CheckRule(
        "byte-token-form", _E, "a byte token is not written <0xHH>", byte_token_form, refused=True
    ),
    CheckRule(
        "missing-byte-tokens", _W, "a SentencePiece vocabulary lacks bytes", missing_byte_tokens
    ),
    CheckRule("token-id-range", _E, "the id of a special token is out of range", token_id_range),
    CheckRule(
        "named-phi3", _E, "a model called Phi-3 without its tokens", named_phi3, refused=True
    ),
    CheckRule("missing-eos", _N, "no token ends a text", missing_eos),
    CheckRule("add-bos-without-id", _W, "BOS is added, but not defined", add_bos_without_id),
    CheckRule("pre-tokenizer", _W, "the pre-tokenizer is missing or 'default'", pre_tokenizer),
    CheckRule(
        "unknown-pre", _E, "llama.cpp does not support the pre-tokenizer", unknown_pre, refused=True
    ),
    CheckRule("missing-merges", _E, "BPE without merges", missing_merges, refused=True),
    CheckRule("unknown-merges", _W, "merges of another vocabulary", unknown_merges),
    CheckRule(
        "special-is-normal", _W, "special tokens typed NORMAL", special_is_normal, fixable=True
    ),
)
