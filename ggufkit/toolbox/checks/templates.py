"""Rules about chat templates, which are rendered in a sandbox (`ggufkit.toolbox.template`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ggufkit.errors import named
from ggufkit.rules.llama_cpp import END_OF_GENERATION
from ggufkit.rules.rule import Check, CheckRule, RawFinding, Severity
from ggufkit.rules.tokenizer import ENDS
from ggufkit.tokenizers.sentencepiece import TokenType
from ggufkit.toolbox.checks.probe import ASSISTANT, SYSTEM, USER, USER_2
from ggufkit.toolbox.checks.subject import CheckedModel

KEY = "tokenizer.chat_template"
_SUSPICIOUS = re.compile(
    r"__[a-z]+__|\|\s*attr\b|\{%[-+]?\s*(?:import|include|extends|from)\b|\bpopen\b|\bsubprocess\b"
)
_INSTRUCT = re.compile(r"(?i)(?<![a-z])(instruct|chat|it|sft|dpo|rlhf)(?![a-z])")
_MARKER = re.compile(r"<\|[a-zA-Z][\w.\-]{0,40}\|>")


def _failures(kind: str, advice: str) -> Check:
    """Return the check that reports templates that fail in one way."""

    def check(subject: CheckedModel) -> Iterator[RawFinding]:
        for key, probe in subject.probes.items():
            found = next((r for r in probe.all() if r.kind == kind), None)
            if found is not None:
                yield RawFinding(f"{key}: {found.message.rstrip('.')}; {advice}")

    return check


def _sound(subject: CheckedModel, key: str) -> bool:
    """Whether no other rule says that the template can't be rendered."""
    kinds = {rendering.kind for rendering in subject.probes[key].all()}
    return not kinds & {"syntax", "unsafe", "limit"}


def template_fails(subject: CheckedModel) -> Iterator[RawFinding]:
    """A plain conversation makes the template fail."""
    for key, probe in subject.probes.items():
        if not _sound(subject, key):
            continue
        for what, rendering in (("one message", probe.single), ("two turns", probe.turns)):
            if rendering.kind:
                yield RawFinding(f"{key} fails with {what} of text: {rendering.message}")
                break


def template_drops(subject: CheckedModel) -> Iterator[RawFinding]:
    """Messages that do not reach the model."""
    for key, probe in subject.probes.items():
        if not probe.single.kind and USER not in probe.single.text:
            yield RawFinding(f"{key}: the user's message does not appear in the prompt")
        elif not probe.turns.kind:
            lost = [text for text in (USER, ASSISTANT, USER_2) if text not in probe.turns.text]
            if lost:
                yield RawFinding(
                    f"{key}: of two turns, {len(lost)} of 3 messages do not appear in the prompt",
                    severity=Severity.WARNING,
                )


def template_system(subject: CheckedModel) -> Iterator[RawFinding]:
    """System messages are dropped or refused."""
    for key, probe in subject.probes.items():
        if probe.single.kind or USER not in probe.single.text:
            continue
        if probe.system.kind in ("raised", "failed"):
            yield RawFinding(
                f"{key} refuses system messages: {probe.system.message}", severity=Severity.NOTE
            )
        elif not probe.system.kind and SYSTEM not in probe.system.text:
            yield RawFinding(f"{key}: system messages do not appear in the prompt")


def template_suspicious(subject: CheckedModel) -> Iterator[RawFinding]:
    """Names that only an attack would use."""
    for key, text in subject.templates.items():
        found = _SUSPICIOUS.search(text)
        probe = subject.probes.get(key)
        known = probe is not None and any(r.kind == "unsafe" for r in probe.all())
        if found and not known:
            yield RawFinding(
                f"{key} holds {found[0]!r}, which no prompt needs: programs without a sandbox run "
                "what it says; don't load the file unless you trust its source"
            )


def template_tokens(subject: CheckedModel) -> Iterator[RawFinding]:
    """A template for another vocabulary."""
    if not subject.tokens:
        return
    for key, probe in subject.probes.items():
        markers = set(_MARKER.findall(probe.turns.text))
        unknown = sorted(marker for marker in markers if marker not in subject.token_ids)
        if unknown:
            yield RawFinding(
                f"{key} writes {named(unknown)}, not in this vocabulary: is it another "
                "model's template?"
            )


def missing_template(subject: CheckedModel) -> Iterator[RawFinding]:
    """A chat model without a chat template."""
    if subject.templates or not (subject.readable and subject.generates):
        return
    names = [subject.text(f"general.{key}") for key in ("name", "finetune", "basename")]
    if any(_INSTRUCT.search(name) for name in (*names, subject.path.stem)):
        yield RawFinding(
            f"{KEY} is missing, but the name says that it is a chat model: programs "
            "guess how to talk to it; 'ggufkit edit FILE --chat-template TEMPLATE' sets it"
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
                f"EOM: generation does not stop; 'ggufkit edit FILE --set "
                f"tokenizer.ggml.eot_token_id={subject.token_ids[token]}' makes it stop"
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
    return token in END_OF_GENERATION or token in map(subject.special_text, ENDS)


def double_bos(subject: CheckedModel) -> Iterator[RawFinding]:
    """Both the template and the tokenizer put BOS first."""
    bos = subject.special_text("bos")
    for key, probe in subject.probes.items():
        if bos and subject.adds_bos and probe.single.text.startswith(bos):
            yield RawFinding(
                f"{key} starts with {bos!r}, and the tokenizer adds it too: programs that don't "
                "drop one (llama.cpp does) give the model two"
            )


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule(
        "template-syntax",
        _E,
        "a chat template can't be parsed",
        _failures("syntax", "'ggufkit edit FILE --chat-template TEMPLATE' sets another one"),
    ),
    CheckRule(
        "template-unsafe",
        _E,
        "a chat template tries to leave the sandbox",
        _failures("unsafe", "don't load the file in any program"),
    ),
    CheckRule(
        "template-limit",
        _E,
        "a chat template exceeds a limit of time, memory or output",
        _failures("limit", "programs hang on it"),
    ),
    CheckRule("template-fails", _E, "a chat template fails on plain text", template_fails),
    CheckRule("template-drops", _E, "a chat template leaves out messages", template_drops),
    CheckRule("template-system", _W, "a chat template leaves out system messages", template_system),
    CheckRule(
        "template-suspicious", _W, "a chat template holds Python internals", template_suspicious
    ),
    CheckRule("template-tokens", _W, "a chat template for another vocabulary", template_tokens),
    CheckRule("turn-end", _W, "generation does not stop where turns end", turn_end),
    CheckRule("double-bos", _N, "BOS by template and tokenizer", double_bos),
    CheckRule("missing-template", _N, "no chat template for a chat model", missing_template),
)
