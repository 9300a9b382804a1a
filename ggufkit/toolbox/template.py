"""Rendering chat templates without trusting them.

A chat template is a program that comes with the model. It is rendered in a separate process, in
jinja2's immutable sandbox, with limits on time, memory and output; the process can't write files.
Names and settings are those of transformers, which llama.cpp follows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from ggufkit.errors import TemplateError

Message: TypeAlias = Mapping[str, Any]

_WORKER = Path(__file__).with_name("template_worker.py")
_STARTUP_SECONDS = 30.0  # a busy machine takes a while to start Python and load jinja2
_ENVIRONMENT = ("SYSTEMROOT",)  # Python does not start without it on Windows
#: Longer templates than any model has are not even tried.
MAX_TEMPLATE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a template.

    Attributes
    ----------
    seconds : float
        For all renderings of one call together.
    output : int
        Bytes of each text.
    memory : int
        Bytes of the process, including the interpreter.
    """

    seconds: float = 2.0
    output: int = 1 << 20
    memory: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendered conversation, or why it failed.

    Attributes
    ----------
    text : str
        The prompt; empty if it failed.
    kind : str
        Empty, or why it failed: see `ggufkit.errors.TemplateError`.
    message : str
        What went wrong.
    """

    text: str = ""
    kind: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The variables a template is rendered with.

    Attributes
    ----------
    messages : sequence of mapping
        Each with ``role`` and ``content``, and whatever else the template uses.
    add_generation_prompt : bool
        End with the start of the assistant's turn.
    variables : mapping
        Further variables, such as ``tools`` or ``enable_thinking``.
    """

    messages: Sequence[Message]
    add_generation_prompt: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


def render(
    template: str,
    messages: Sequence[Message],
    *,
    bos_token: str = "",
    eos_token: str = "",
    add_generation_prompt: bool = False,
    variables: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> str:
    """Render a chat template.

    Parameters
    ----------
    template : str
        The text of ``tokenizer.chat_template``.
    messages : sequence of mapping
        The conversation: each with ``role`` and ``content``.
    bos_token, eos_token : str
        Texts of these tokens.
    add_generation_prompt : bool
        End with the start of the assistant's turn.
    variables : mapping, optional
        Further variables, such as ``tools``; values as in JSON.
    limits : Limits, optional
        Its limits.

    Raises
    ------
    TemplateError
        It failed or exceeded a limit; see ``.kind``.

    Examples
    --------
    >>> render("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    ...        [{"role": "user", "content": "Hi"}])
    '<user>Hi'
    """
    conversation = Conversation(messages, add_generation_prompt, variables or {})
    (found,) = render_all(
        template, [conversation], bos_token=bos_token, eos_token=eos_token, limits=limits
    )
    if found.kind:
        raise TemplateError(f"the chat template: {found.message}", kind=found.kind)
    return found.text


def render_all(
    template: str,
    conversations: Sequence[Conversation],
    *,
    bos_token: str = "",
    eos_token: str = "",
    limits: Limits | None = None,
    now: datetime | None = None,
) -> list[Rendering]:
    """Render a chat template with several conversations, in one process.

    Parameters
    ----------
    now : datetime, optional
        What ``strftime_now`` returns; the current time by default.

    Returns
    -------
    list of Rendering
        One per conversation. If the template times out or crashes, all have failed.
    """
    limits = limits or Limits()
    if len(template.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE_BYTES:
        failed = Rendering(kind="limit", message=f"it is longer than {MAX_TEMPLATE_BYTES} bytes")
        return [failed] * len(conversations)
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    request = {
        "template": template,
        "now": (now or datetime.now()).isoformat(),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "max_output": limits.output,
        "variables": [
            {
                **tokens,
                "messages": [dict(message) for message in conversation.messages],
                "add_generation_prompt": conversation.add_generation_prompt,
                **conversation.variables,
            }
            for conversation in conversations
        ],
    }
    code, output = _run(json.dumps(request).encode(), limits)
    if code != 0:
        return [_died(code, limits)] * len(conversations)
    return [Rendering(**found) for found in json.loads(output)]


def _run(request: bytes, limits: Limits) -> tuple[int, bytes]:
    """Run the worker; if it had to be stopped, the return code is SIGALRM's."""
    command = [sys.executable, "-I", "-X", "utf8", str(_WORKER)]
    try:
        done = subprocess.run(
            command,
            input=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_STARTUP_SECONDS + limits.seconds,
            check=False,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        return -int(getattr(signal, "SIGALRM", 14)), b""
    return done.returncode, done.stdout


def _died(code: int, limits: Limits) -> Rendering:
    """Explain why the worker ended without an answer."""
    stopped = {-int(getattr(signal, name, 0)) for name in ("SIGALRM", "SIGXCPU", "SIGKILL")}
    if code in stopped:
        return Rendering(kind="limit", message=f"it runs longer than {limits.seconds:g} s")
    return Rendering(kind="failed", message="the process that renders it died")
