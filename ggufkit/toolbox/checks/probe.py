"""Rendering a few ordinary conversations with a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufkit.toolbox.template import Conversation, Limits, Rendering, render_all

# Words that no template and no vocabulary holds by chance.
SYSTEM, USER, ASSISTANT, USER_2 = "syzrulesq", "userasksq", "helperq", "usermoreq"


@dataclass(frozen=True, slots=True)
class Probe:
    """Renderings of the same template.

    Attributes
    ----------
    single : Rendering
        One message of the user, and the start of the answer.
    turns : Rendering
        User, assistant, user, and the start of the answer.
    system : Rendering
        A system message before the user's.
    """

    single: Rendering
    turns: Rendering
    system: Rendering

    def all(self) -> tuple[Rendering, ...]:
        """Return the three."""
        return self.single, self.turns, self.system


def probe(template: str, bos: str, eos: str) -> Probe:
    """Render a template; contents are text or, if that gets lost, lists of parts."""
    found = _render(template, bos, eos, parts=False)
    if found.single.kind in ("", "failed") and USER not in found.single.text:
        typed = _render(template, bos, eos, parts=True)
        if USER in typed.single.text:
            return typed
    return found


def _render(template: str, bos: str, eos: str, *, parts: bool) -> Probe:
    def messages(*turns: tuple[str, str]) -> Sequence[dict[str, object]]:
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if parts else text}
            for role, text in turns
        ]

    user, answer = ("user", USER), ("assistant", ASSISTANT)
    conversations = [
        Conversation(messages(user), add_generation_prompt=True),
        Conversation(messages(user, answer, ("user", USER_2)), add_generation_prompt=True),
        Conversation(messages(("system", SYSTEM), user), add_generation_prompt=True),
    ]
    return Probe(
        *render_all(template, conversations, bos_token=bos, eos_token=eos, limits=Limits())
    )
