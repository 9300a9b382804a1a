r"""Prompts of well-known model families, one row each, from their published chat templates.

``{bos}`` and ``{eos}`` stand for the model's own tokens. If several rows match a model's prompts,
the first one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ggufkit.publish.ollama.parts import Around, Place, PromptParts


def _roles(
    before: str, behind: str, names: tuple[str, str, str] = ("system", "user", "assistant")
) -> PromptParts:
    """Return parts for turns that only differ in the role's name, which is ``%`` in `before`."""
    system, user, assistant = (before.replace("%", name) for name in names)
    return PromptParts(
        system=(system, behind),
        user=(user, behind),
        assistant=(assistant, behind),
        generation=assistant,
    )


def _default(parts: PromptParts, text: str) -> PromptParts:
    """Return parts with a default system text."""
    return replace(parts, opening=parts.system[0] + text + parts.system[1])


def _merged(
    user: Around, assistant: Around, generation: str, system: Around, place: Place
) -> PromptParts:
    return PromptParts(
        user=user, assistant=assistant, generation=generation, system=system, place=place
    )


_CHATML = _roles("<|im_start|>%\n", "<|im_end|>\n")
_LLAMA3 = _roles("<|start_header_id|>%<|end_header_id|>\n\n", "<|eot_id|>")
_GEMMA = _merged(
    ("<start_of_turn>user\n", "<end_of_turn>\n"),
    ("<start_of_turn>model\n", "<end_of_turn>\n"),
    "<start_of_turn>model\n",
    ("", "\n\n"),
    "first user",
)
_COMMAND = ("SYSTEM", "USER", "CHATBOT")
_GRANITE = _roles("<|start_of_role|>%<|end_of_role|>", "<|end_of_text|>\n")
# The default dates of the templates.
_LLAMA31_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_LLAMA31 = replace(_LLAMA3, system=(_LLAMA3.system[0] + _LLAMA31_DATES, _LLAMA3.system[1]))

FAMILIES: Mapping[str, PromptParts] = {
    "chatml": _CHATML,
    "qwen2.5": _default(
        _CHATML, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    ),
    "qwen2": _default(_CHATML, "You are a helpful assistant."),
    "smollm2": _default(
        _CHATML, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    ),
    "llama3": _LLAMA3,
    "llama3.1": _default(_LLAMA31, ""),
    "llama2": _merged(
        ("[INST] ", " [/INST]"), (" ", " {eos}{bos}"), "",
        ("<<SYS>>\n", "\n<</SYS>>\n\n"), "first user",
    ),
    "mistral-v0": _merged(("[INST] ", " [/INST]"), ("", "{eos}"), "", ("", "\n\n"), "first user"),
    "mistral-v1": _merged(
        (" [INST] ", " [/INST]"), (" ", "{eos}"), "", ("", "\n\n"), "first user"
    ),
    "mistral-v3": _merged(("[INST] ", "[/INST]"), (" ", "{eos}"), "", ("", "\n\n"), "last user"),
    "mistral-nemo": _merged(("[INST]", "[/INST]"), ("", "{eos}"), "", ("", "\n\n"), "last user"),
    "mistral-v7": PromptParts(
        system=("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"), user=("[INST] ", "[/INST]"),
        assistant=(" ", "{eos}"), generation="",
    ),
    "mistral-v7-tekken": PromptParts(
        system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), user=("[INST]", "[/INST]"),
        assistant=("", "{eos}"), generation="",
    ),
    "gemma": _GEMMA,
    "phi3": _roles("<|%|>\n", "<|end|>\n"),
    "phi4": _roles("<|im_start|>%<|im_sep|>", "<|im_end|>"),
    "zephyr": _roles("<|%|>\n", "{eos}\n"),
    "vicuna": PromptParts(
        system=("", "\n\n"), user=("USER: ", "\n"), assistant=("ASSISTANT: ", "{eos}\n"),
        generation="ASSISTANT:",
    ),
    "vicuna-orca": PromptParts(
        system=("SYSTEM: ", "\n"), user=("USER: ", "\n"), assistant=("ASSISTANT: ", "{eos}\n"),
        generation="ASSISTANT:",
    ),
    "deepseek-v2": PromptParts(
        system=("", "\n\n"), user=("User: ", "\n\n"), assistant=("Assistant: ", "{eos}"),
        generation="Assistant:",
    ),
    "deepseek-v3": PromptParts(
        user=("<｜User｜>", ""), assistant=("<｜Assistant｜>", "{eos}"),
        generation="<｜Assistant｜>",
    ),
    "deepseek-r1": PromptParts(
        user=("<｜User｜>", ""), assistant=("<｜Assistant｜>", "{eos}"),
        generation="<｜Assistant｜><think>\n",
    ),
    "command-r": _roles(
        "<|START_OF_TURN_TOKEN|><|%_TOKEN|>", "<|END_OF_TURN_TOKEN|>", _COMMAND
    ),
    "granite": _GRANITE,
    "falcon3": _roles("<|%|>\n", "\n"),
    "olmo2": replace(_roles("<|%|>\n", "\n"), assistant=("<|assistant|>\n", "{eos}\n")),
    "glm4": replace(
        _roles("<|%|>\n", ""), system=("[gMASK]<sop><|system|>\n", ""), opening="[gMASK]<sop>"
    ),
    "openchat": PromptParts(
        user=("GPT4 Correct User: ", "<|end_of_turn|>"), generation="GPT4 Correct Assistant:",
        assistant=("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        system=("GPT4 Correct System: ", "<|end_of_turn|>"),
    ),
}  # fmt: skip
