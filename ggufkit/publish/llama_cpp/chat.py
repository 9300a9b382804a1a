"""Rendering of conversations by a model's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ggufkit.gguf.metadata import Metadata

TEMPLATE_KEY = "tokenizer.chat_template"


def chat_prompt(metadata: Metadata, messages: Sequence[Mapping[str, str]]) -> str | None:
    """Render messages with a model's chat template; None without a template.

    Parameters
    ----------
    metadata : Metadata
        The model's.
    messages : sequence of mapping
        Each with ``role`` and ``content``.

    Raises
    ------
    TemplateError
        The template fails, or exceeds a limit.
    """
    from ggufkit.toolbox.template import render

    template = metadata.get(TEMPLATE_KEY)
    if not isinstance(template, str):
        return None
    return render(
        template,
        messages,
        bos_token=special_token(metadata, "bos"),
        eos_token=special_token(metadata, "eos"),
        add_generation_prompt=True,
    )


def special_token(metadata: Metadata, name: str) -> str:
    """Return the text of a special token such as ``bos``, or an empty text."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    number = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if not isinstance(number, int) or not isinstance(tokens, Sequence) or isinstance(tokens, str):
        return ""
    token = tokens[number] if 0 <= number < len(tokens) else ""
    return token if isinstance(token, str) else ""
