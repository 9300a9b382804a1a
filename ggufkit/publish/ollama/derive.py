"""Derive the fixed texts of prompts from the output of a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from ggufkit.publish.ollama.parts import PromptParts


def derive(prompts: Mapping[str, str], words: Sequence[str]) -> PromptParts | None:
    """Return parts that may give these prompts; the caller has to check them with others.

    Parameters
    ----------
    prompts : mapping of str to str
        Prompts by the roles of their messages, such as ``suau``; ``u closed`` and ``ua closed``
        lack the start of an answer. Those with a system text may be missing.
    words : sequence of str
        The contents of the messages, in order.
    """
    pieces = _cut(prompts["uau"], words[:3])
    if pieces is None:
        return None
    head, to_answer, to_user, tail = pieces
    user_end = _end(prompts.get("u closed"), words[0])
    if user_end is None or not (to_answer.startswith(user_end) and tail.startswith(user_end)):
        user_end = _common_prefix(to_answer, tail)
    answer_end = _end(prompts.get("ua closed"), words[1]) or ""
    user_start = to_user.removeprefix(answer_end)
    if not user_start or answer_end + user_start != to_user or not head.endswith(user_start):
        user_start = _common_suffix(head, to_user)
        answer_end = to_user.removesuffix(user_start)
    opening = head.removesuffix(user_start)
    parts = PromptParts(
        user=(user_start, user_end),
        assistant=(to_answer[len(user_end) :], answer_end),
        generation=tail[len(user_end) :],
        system=("", "\n\n"),
        place="first user",
        opening=opening,
    )
    return _with_system(parts, prompts, words)


def _with_system(
    parts: PromptParts, prompts: Mapping[str, str], words: Sequence[str]
) -> PromptParts | None:
    """Find the place of the system text, from the prompts of two conversations."""
    if "su" not in prompts:
        return parts
    pieces = _cut(prompts["su"], words[:2])
    if pieces is None:
        return None
    before, between, _ = pieces
    user_start = parts.user[0]
    if between.endswith(user_start):
        return replace(parts, place="turn", system=(before, between.removesuffix(user_start)))
    start = parts.opening + user_start
    if not before.startswith(start):
        return None
    inner = (before.removeprefix(start), between)
    longer = prompts.get("suau", "")
    late = 0 <= longer.find(words[1]) < longer.find(words[0])
    return replace(parts, place="last user" if late else "first user", system=inner)


def _cut(prompt: str, words: Sequence[str]) -> list[str] | None:
    """Return the texts around words; None unless each occurs once, in order."""
    pieces = []
    for word in words:
        if prompt.count(word) != 1:
            return None
        before, _, prompt = prompt.partition(word)
        pieces.append(before)
    return [*pieces, prompt]


def _end(prompt: str | None, word: str) -> str | None:
    if prompt is None or prompt.count(word) != 1:
        return None
    return prompt.rpartition(word)[2]


def _common_prefix(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(char for char, _ in same)


def _common_suffix(one: str, other: str) -> str:
    return _common_prefix(one[::-1], other[::-1])[::-1]
