"""Prompts as data, from which both the prompt itself and Ollama's template are made.

A conversation is an optional system text, then turns of user and assistant. The chat templates of
nearly all models put fixed texts around each of these; `PromptParts` holds these texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

#: Text before and after something.
Around: TypeAlias = tuple[str, str]
Place: TypeAlias = Literal["turn", "first user", "last user"]


@dataclass(frozen=True)
class PromptParts:
    r"""The fixed texts of a prompt, without the BOS token.

    Attributes
    ----------
    user, assistant : (str, str)
        The texts around a turn.
    generation : str
        The text before the answer.
    system : (str, str)
        The texts around the system text.
    place : {'turn', 'first user', 'last user'}
        The place of the system text: before all turns, or in the user's first or last turn, before
        the user's message.
    opening : str
        The start of a prompt without a system text, often a default one.

    Examples
    --------
    >>> parts = PromptParts(user=("USER: ", "\n"), assistant=("BOT:", "\n"), generation="BOT:")
    >>> parts.render([{"role": "user", "content": "Hi"}])
    'USER: Hi\nBOT:'
    """

    user: Around
    assistant: Around
    generation: str
    system: Around = ("", "")
    place: Place = "turn"
    opening: str = ""

    def with_tokens(self, tokens: Mapping[str, str]) -> PromptParts:
        """Replace names such as ``{eos}`` with the texts of the model's tokens."""

        def put(value: str | Around) -> str | Around:
            if isinstance(value, tuple):
                return (_put(value[0], tokens), _put(value[1], tokens))
            return _put(value, tokens) if value != self.place else value

        changed = {field.name: put(getattr(self, field.name)) for field in fields(self)}
        return PromptParts(**changed)  # type: ignore[arg-type]

    def render(self, messages: Sequence[Mapping[str, str]], start: str = "") -> str:
        """Return the prompt for the next answer.

        Parameters
        ----------
        messages : sequence of mapping
            Each with ``role`` and ``content``. A last message of the assistant is left open.
        start : str
            The BOS token, if the prompt has to include it.
        """
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        inner = self.system[0] + system + self.system[1] if system else ""
        text = [start, inner if inner and self.place == "turn" else self.opening]
        first = True
        for index, message in enumerate(messages):
            last = index == len(messages) - 1
            if message["role"] == "user":
                put = (self.place == "first user" and first) or (self.place == "last user" and last)
                text += [self.user[0], inner if put else "", message["content"], self.user[1]]
                first = False
            elif message["role"] == "assistant":
                text += [self.assistant[0], message["content"], "" if last else self.assistant[1]]
        if not messages or messages[-1]["role"] != "assistant":
            text.append(self.generation)
        return "".join(text)

    def go(self, start: str = "") -> str:
        """Return the equivalent Go template, for Ollama.

        Parameters
        ----------
        start : str
            The BOS token, if the prompt has to include it.
        """
        lit = _literal
        before, flag, unflag, nested = lit(self.opening), "", "", ""
        if self.place == "turn":
            other = "{{ else }}" + before if before else ""
            before = "{{ if .System }}" + self._go_system(".System") + other + "{{ end }}"
        elif self.place == "first user":
            flag, unflag = "{{ $first := true }}", "{{ $first = false }}"
            nested = "{{ if and $first $.System }}" + self._go_system("$.System") + "{{ end }}"
        else:
            nested = "{{ if and $last $.System }}" + self._go_system("$.System") + "{{ end }}"
        user = lit(self.user[0]) + nested + "{{ .Content }}" + lit(self.user[1])
        return "".join((
            lit(start), before, flag,
            "{{ range $i, $_ := .Messages }}",
            "{{ $last := eq (len (slice $.Messages $i)) 1 }}",
            '{{ if eq .Role "user" }}', user, unflag,
            '{{ else if eq .Role "assistant" }}', lit(self.assistant[0]), "{{ .Content }}",
            "{{ if not $last }}", lit(self.assistant[1]), "{{ end }}",
            "{{ end }}",
            '{{ if and $last (ne .Role "assistant") }}', lit(self.generation), "{{ end }}",
            "{{ end }}",
        ))  # fmt: skip

    def _go_system(self, name: str) -> str:
        return f"{_literal(self.system[0])}{{{{ {name} }}}}{_literal(self.system[1])}"


def _put(text: str, tokens: Mapping[str, str]) -> str:
    for name, token in tokens.items():
        text = text.replace("{" + name + "}", token)
    return text


def _literal(text: str) -> str:
    """Return a template that gives exactly this text, in characters that a Modelfile can hold."""
    plain = all(char.isprintable() or char in "\n\t" for char in text)
    # Together with adjacent quotes, they could become the three that end a value.
    quotes = '""' in text or text[:1] == '"'
    if plain and "{" not in text and not quotes:
        return text
    return "".join(_go_string(part) for part in re.split(r"(?<=\n)", text))


def _go_string(line: str) -> str:
    if not line:
        return ""
    quoted = json.dumps(line, ensure_ascii=False)
    safe = "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
    return "{{ " + safe + " }}"
