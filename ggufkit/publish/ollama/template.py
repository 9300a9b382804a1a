"""Find the Go template that is equivalent to a model's chat template, by comparing outputs.

The chat template is rendered, in the sandbox, with a few conversations. If a known family has the
same prompts, its template is used; otherwise fixed texts are derived from the prompts, and used if
they reproduce all prompts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import TypeAlias

from ggufkit.gguf.metadata import Metadata
from ggufkit.publish.llama_cpp.chat import TEMPLATE_KEY, special_token
from ggufkit.publish.ollama.derive import derive
from ggufkit.publish.ollama.families import FAMILIES
from ggufkit.publish.ollama.parts import PromptParts
from ggufkit.rules.llama_cpp import ADDS_BOS, PRE_ADDS_BOS, TOKENIZERS
from ggufkit.toolbox.template import Conversation, Message, Rendering, render_all

#: What UTF-8 can't express.
SURROGATE = re.compile("[\ud800-\udfff]")
_Told: TypeAlias = Sequence[tuple[Sequence[Message], str]]

#: Name for templates that match no known family.
DERIVED = "derived"

#: Roles of the conversations' messages: system, user, assistant.
SHAPES = ("u", "su", "uau", "suau", "suauau")
_NEEDED = ("u", "uau")
_SYSTEM = SHAPES.index("su")
#: Conversations without the start of an answer; they show where a turn ends.
CLOSED = ("u", "ua")
_ROLES = {"s": "system", "u": "user", "a": "assistant"}
_WORDS = tuple(f"w{number}ord" for number in range(6))
_TEXTS = (
    'Two\nlines, "quoted"',
    "{{ .Prompt }} {% raw %} {x}",
    "naïve 日本 ｜ ▁ 😀",
    "a </s> b",
    "%s \\n",
    "- one\n- two",
)
_SAID = (_WORDS, _TEXTS)
_PADDED = [{"role": "user", "content": " word\n"}]
# The default date of Llama 3.1 and others.
_DAY = datetime(2024, 7, 26)
_OTHER_DAY = datetime(2031, 1, 2)


@dataclass(frozen=True)
class GoTemplate:
    """A prompt template for Ollama.

    Attributes
    ----------
    text : str
        The Go template; empty if there is none.
    family : str
        A name of `FAMILIES`, ``derived``, or empty.
    parts : PromptParts or None
        The fixed texts from which it was made.
    notes : tuple of str
        Messages for the user.
    """

    text: str = ""
    family: str = ""
    parts: PromptParts | None = None
    notes: tuple[str, ...] = ()


def go_template(metadata: Metadata) -> GoTemplate:
    """Return the Go template for a model's chat template; without text if none was found."""
    template = metadata.get(TEMPLATE_KEY)
    if not isinstance(template, str):
        note = "no chat template: Ollama gives prompts to the model as they are"
        return GoTemplate(notes=(note,))
    bos, eos = special_token(metadata, "bos"), special_token(metadata, "eos")
    return _find(template, bos, eos, adds_bos(metadata))


def adds_bos(metadata: Metadata) -> bool:
    """Whether llama.cpp, and with it Ollama, puts the BOS token before each prompt."""
    said = metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(said, bool):
        return said
    model, pre = (str(metadata.get(f"tokenizer.ggml.{key}")) for key in ("model", "pre"))
    return TOKENIZERS.get(model) in ADDS_BOS or pre in PRE_ADDS_BOS


def conversation(shape: str, texts: Sequence[str]) -> list[dict[str, str]]:
    """Return messages with the roles of a shape such as ``suau``."""
    turn = count()
    return [{"role": _ROLES[who], "content": texts[next(turn) % len(texts)]} for who in shape]


@lru_cache(maxsize=8)  # the rungs of a ladder share it
def _find(template: str, bos: str, eos: str, bos_is_added: bool) -> GoTemplate:
    asked = [Conversation(conversation(shape, texts), True) for texts in _SAID for shape in SHAPES]
    asked += [Conversation(conversation(shape, _WORDS)) for shape in CLOSED]
    asked.append(Conversation(_PADDED, True))
    written = render_all(template, asked, bos_token=bos, eos_token=eos, now=_DAY)
    for shape, prompt in zip(SHAPES, written, strict=False):
        if prompt.kind and shape in _NEEDED:
            return _without(f"it fails: {prompt.message}")
    if any(SURROGATE.search(prompt.text) for prompt in written):
        return _without("its output is not valid Unicode")
    starts_with_bos = bool(bos) and written[0].text.startswith(bos)
    if bos_is_added and starts_with_bos:
        written = [replace(prompt, text=prompt.text.removeprefix(bos)) for prompt in written]
    told = _told(asked, written)
    family, start, parts = _match(told, bos if starts_with_bos else "", eos)
    if parts is None:
        family, parts = DERIVED, derive(_by_shape(asked, written), _WORDS)
    if parts is None or not _same(parts, start, told):
        return _without("it is more than fixed texts around turns")
    (later,) = render_all(template, asked[:1], bos_token=bos, eos_token=eos, now=_OTHER_DAY)
    dated = not later.kind and not later.text.endswith(written[0].text)
    notes = _notes(
        system=_takes(asked[_SYSTEM], written[_SYSTEM]),
        dated=dated,
        strips=not written[-1].kind and written[-1].text != start + parts.render(_PADDED),
        tools="tools" in template,
    )
    return GoTemplate(parts.go(start), family, parts, notes)


def _notes(*, system: bool, dated: bool, strips: bool, tools: bool) -> tuple[str, ...]:
    remarks = {
        "the chat template takes no system text; TEMPLATE puts one where it may be": not system,
        f"the chat template tells the model the date; TEMPLATE says {_DAY:%d %b %Y}": dated,
        "the chat template strips white space around texts; TEMPLATE can't": strips,
        "TEMPLATE knows no tools; for them, Ollama 0.31 runs the file's own chat template": tools,
    }
    return tuple(remark for remark, holds in remarks.items() if holds)


def _told(asked: Sequence[Conversation], written: Sequence[Rendering]) -> _Told:
    """Return the conversations that the chat template supports, with their prompts."""
    pairs = zip(asked[: len(_SAID) * len(SHAPES)], written, strict=False)
    return [(each.messages, prompt.text) for each, prompt in pairs if _takes(each, prompt)]


def _takes(asked: Conversation, written: Rendering) -> bool:
    """Whether there is a prompt, and it includes the system text."""
    first = asked.messages[0]
    return not written.kind and (first["role"] != "system" or first["content"] in written.text)


def _by_shape(asked: Sequence[Conversation], written: Sequence[Rendering]) -> dict[str, str]:
    several = len(_SAID) * len(SHAPES)
    names = [*SHAPES, *(f"{shape} closed" for shape in CLOSED)]
    where = [*range(len(SHAPES)), *range(several, several + len(CLOSED))]
    return {
        name: written[at].text
        for name, at in zip(names, where, strict=True)
        if _takes(asked[at], written[at])
    }


def _match(told: _Told, bos: str, eos: str) -> tuple[str, str, PromptParts | None]:
    """Return the family's name, the BOS token if the prompt has to include it, and the parts."""
    for start in dict.fromkeys(("", bos)):
        for name, family in FAMILIES.items():
            parts = family.with_tokens({"bos": bos, "eos": eos})
            if _same(parts, start, told):
                return name, start, parts
    return "", "", None


def _same(parts: PromptParts, start: str, told: _Told) -> bool:
    return all(start + parts.render(messages) == prompt for messages, prompt in told)


def _without(reason: str) -> GoTemplate:
    note = (
        f"no TEMPLATE, as the chat template can't be put in Ollama's terms: {reason}. "
        "Newer versions of Ollama, such as 0.31, run the file's own; older ones give bare prompts"
    )
    return GoTemplate(notes=(note,))
