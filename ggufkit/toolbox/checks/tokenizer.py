"""Rules about the vocabulary, its special tokens and the pre-tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ggufkit.gguf.metadata import KEYS
from ggufkit.tokenizers.bpe import looks_special
from ggufkit.tokenizers.pre_table import BPE_NAMES
from ggufkit.tokenizers.sentencepiece import TOKEN_TYPES, TokenType
from ggufkit.toolbox.checks.llama_cpp import END_OF_GENERATION, TOKENIZERS
from ggufkit.toolbox.checks.probe import ASSISTANT, USER_2
from ggufkit.toolbox.checks.rule import CheckRule, Fix, RawFinding, Severity, named
from ggufkit.toolbox.checks.subject import CheckedModel

_PREFIX = "tokenizer.ggml."
_MODEL, _PRE, _TOKENS = (_PREFIX + name for name in ("model", "pre", "tokens"))
_MERGES, _TYPES = _PREFIX + "merges", _PREFIX + "token_type"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ID_KEYS = tuple(key for key in KEYS if key.startswith(_PREFIX) and key.endswith("_token_id"))
_ENDS = ("eos", "eot", "eom")
_WITH_TYPES = ("SPM", "BPE", "UGM")


def missing_tokenizer(subject: CheckedModel) -> Iterator[RawFinding]:
    """Every model names its tokenizer."""
    if not (subject.readable and subject.is_model):
        return
    if _MODEL not in subject.metadata:
        yield RawFinding(f"{_MODEL} is missing: llama.cpp refuses the file; convert it again")
    elif subject.tokenizer not in ("", "none") and not subject.tokens:
        yield RawFinding(
            f"{_TOKENS} is missing or empty: llama.cpp refuses the file; convert it again"
        )


def unknown_tokenizer(subject: CheckedModel) -> Iterator[RawFinding]:
    """A tokenizer that llama.cpp does not support."""
    model = subject.text(_MODEL)
    if model and model not in TOKENIZERS:
        yield RawFinding(f"{_MODEL} is {model!r}; llama.cpp knows {', '.join(TOKENIZERS)}")


def token_arrays(subject: CheckedModel) -> Iterator[RawFinding]:
    """One score and one type for every token."""
    for name in ("scores", "token_type"):
        n_items = len(subject.items(_PREFIX + name))
        if subject.tokens and n_items and n_items != len(subject.tokens):
            yield RawFinding(
                f"{_PREFIX}{name} has {n_items} items, but there are {len(subject.tokens)} tokens: "
                "convert the model again",
                severity=Severity.WARNING if n_items > len(subject.tokens) else None,
            )


def duplicate_tokens(subject: CheckedModel) -> Iterator[RawFinding]:
    """A token that appears twice."""
    if len(subject.token_ids) == len(subject.tokens):
        return
    twice = [repr(t) for t, n in Counter(subject.tokens).items() if n > 1 and t]
    if twice:
        yield RawFinding(
            f"{named(twice)} in {_TOKENS} more than once: llama.cpp aborts; give the copies "
            "other names, as in [PAD7]"
        )


def empty_tokens(subject: CheckedModel) -> Iterator[RawFinding]:
    """A token without text."""
    empty = [str(i) for i, token in enumerate(subject.tokens) if not token]
    if empty:
        yield RawFinding(f"token {named(empty)} is empty: llama.cpp makes up a name")


def odd_token_types(subject: CheckedModel) -> Iterator[RawFinding]:
    """A token type that does not exist."""
    odd = [str(i) for i, kind in enumerate(subject.token_types) if kind not in TOKEN_TYPES]
    if odd:
        yield RawFinding(f"token {named(odd)}: its type in {_TYPES} is not in 1..6")


def byte_token_form(subject: CheckedModel) -> Iterator[RawFinding]:
    """llama.cpp reads the byte from the token's text."""
    wrong = [
        repr(token)
        for token, kind in zip(subject.tokens, subject.token_types, strict=False)
        if kind == TokenType.BYTE and not _BYTE.fullmatch(token)
    ]
    if wrong:
        yield RawFinding(f"{named(wrong)}: tokens of type BYTE must be written <0x00> to <0xFF>")


def missing_byte_tokens(subject: CheckedModel) -> Iterator[RawFinding]:
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


def token_id_range(subject: CheckedModel) -> Iterator[RawFinding]:
    """Ids of special tokens name tokens."""
    for key in _ID_KEYS if subject.tokens else ():
        number = subject.integer(key)
        if number is not None and not 0 <= number < len(subject.tokens):
            yield RawFinding(
                f"{key} is {number}, but there are {len(subject.tokens)} tokens: llama.cpp takes "
                "a default, likely another token; set or delete it with ggufkit edit"
            )


def missing_eos(subject: CheckedModel) -> Iterator[RawFinding]:
    """No token ends a text."""
    ids = [key for name in _ENDS if (key := f"{_PREFIX}{name}_token_id") in subject.metadata]
    if subject.generates and subject.readable and subject.tokens and not ids:
        yield RawFinding(
            f"{_PREFIX}eos_token_id is missing: llama.cpp uses a default, which may be any token"
        )


def turn_end(subject: CheckedModel) -> Iterator[RawFinding]:
    """The token at which a template ends the assistant's turn ends generation too."""
    for key, probe in subject.probes.items():
        _, _, rest = probe.turns.text.partition(ASSISTANT)
        between = rest.partition(USER_2)[0].lstrip()
        token = _leading_special(subject, between)
        if token and subject.generates and not _ends(subject, token):
            yield RawFinding(
                f"{key} ends the assistant's turn with {token!r}, which is neither EOS, EOT nor "
                f"EOM: generation does not stop; set {_PREFIX}eot_token_id="
                f"{subject.token_ids[token]} with ggufkit edit"
            )


def _leading_special(subject: CheckedModel, text: str) -> str:
    """Return the special token that a text starts with; empty if there is none."""
    special = (TokenType.CONTROL, TokenType.USER_DEFINED)
    found = [
        token
        for token, kind in zip(subject.tokens, subject.token_types, strict=False)
        if kind in special and token.strip() and text.startswith(token)
    ]
    return max(found, key=len, default="")


def _ends(subject: CheckedModel, token: str) -> bool:
    return token in END_OF_GENERATION or token in map(subject.special_text, _ENDS)


def double_bos(subject: CheckedModel) -> Iterator[RawFinding]:
    """Both the template and the tokenizer put BOS first."""
    bos = subject.special_text("bos")
    for key, probe in subject.probes.items():
        if bos and subject.adds_bos and probe.single.text.startswith(bos):
            yield RawFinding(
                f"{key} starts with {bos!r}, and the tokenizer adds it too: programs that don't "
                "drop one (llama.cpp does) give the model two"
            )


def add_bos_without_id(subject: CheckedModel) -> Iterator[RawFinding]:
    """BOS is to be added but not defined."""
    key = f"{_PREFIX}bos_token_id"
    said = subject.flag(f"{_PREFIX}add_bos_token")
    adds = subject.tokenizer == "BPE" and subject.adds_bos and subject.tokens
    if adds and key not in subject.metadata:
        yield RawFinding(
            f"BOS is added to every prompt, but {key} is missing: llama.cpp uses token 11",
            severity=None if said else Severity.NOTE,
        )


def pre_tokenizer(subject: CheckedModel) -> Iterator[RawFinding]:
    """BPE needs a pre-tokenizer."""
    if subject.tokenizer != "BPE" or subject.text(_MODEL) != "gpt2":
        return
    pre = subject.text(_PRE)
    advice = "output gets worse; convert the model again, or set it with ggufkit edit"
    if not pre:
        yield RawFinding(f"{_PRE} is missing: llama.cpp uses a default pre-tokenizer; {advice}")
    elif pre == "default":
        yield RawFinding(f"{_PRE} is 'default', which no real model uses: {advice}")


def unknown_pre(subject: CheckedModel) -> Iterator[RawFinding]:
    """A pre-tokenizer that llama.cpp does not support."""
    pre = subject.text(_PRE)
    if subject.text(_MODEL) == "gpt2" and pre and pre not in BPE_NAMES:
        yield RawFinding(
            f"{_PRE} is {pre!r}: llama.cpp refuses unknown names; is it newer, or misspelt?"
        )


def missing_merges(subject: CheckedModel) -> Iterator[RawFinding]:
    """BPE needs merges."""
    wanted = subject.tokenizer == "BPE" and subject.tokens and subject.text(_PRE) != "kimi-k2"
    if wanted and _MERGES not in subject.metadata:
        yield RawFinding(f"{_MERGES} is missing: llama.cpp refuses the file; convert it again")


def unknown_merges(subject: CheckedModel) -> Iterator[RawFinding]:
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


def special_is_normal(subject: CheckedModel) -> Iterator[RawFinding]:
    """Special tokens that the tokenizer would split."""
    if subject.tokenizer not in _WITH_TYPES or not subject.token_types:
        return
    types = list(subject.token_types)
    ids = {subject.special(name) for name in ("bos", *_ENDS)} - {None}
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
    CheckRule("missing-tokenizer", _E, "no tokenizer, or no tokens", missing_tokenizer),
    CheckRule(
        "unknown-tokenizer", _E, "llama.cpp does not support the tokenizer", unknown_tokenizer
    ),
    CheckRule("token-arrays", _E, "scores or types for more or fewer tokens", token_arrays),
    CheckRule("duplicate-tokens", _E, "a token appears twice", duplicate_tokens),
    CheckRule("empty-tokens", _N, "a token without text", empty_tokens),
    CheckRule("odd-token-types", _W, "a token type that does not exist", odd_token_types),
    CheckRule("byte-token-form", _E, "a byte token is not written <0xHH>", byte_token_form),
    CheckRule(
        "missing-byte-tokens", _W, "a SentencePiece vocabulary lacks bytes", missing_byte_tokens
    ),
    CheckRule("token-id-range", _E, "the id of a special token is out of range", token_id_range),
    CheckRule("missing-eos", _N, "no token ends a text", missing_eos),
    CheckRule("turn-end", _W, "generation does not stop where turns end", turn_end),
    CheckRule("double-bos", _N, "BOS by template and tokenizer", double_bos),
    CheckRule("add-bos-without-id", _W, "BOS is added, but not defined", add_bos_without_id),
    CheckRule("pre-tokenizer", _W, "the pre-tokenizer is missing or 'default'", pre_tokenizer),
    CheckRule("unknown-pre", _E, "llama.cpp does not support the pre-tokenizer", unknown_pre),
    CheckRule("missing-merges", _E, "BPE without merges", missing_merges),
    CheckRule("unknown-merges", _W, "merges of another vocabulary", unknown_merges),
    CheckRule(
        "special-is-normal", _W, "special tokens typed NORMAL", special_is_normal, fixable=True
    ),
)
