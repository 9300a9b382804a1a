r"""Prompts of well-known model families, one row each, from their published chat templates.

``{bos}`` and ``{eos}`` stand for the model's own tokens. If several rows match a model's prompts,
the first one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ggufkit.publish.ollama.parts import PromptParts


def _roles(
    before: str, behind: str, names: tuple[str, str, str] = ("system", "user", "assistant")
) -> PromptParts:
    """Return parts for turns that only differ in the role's name, which is ``%`` in `before`."""
    system, user, assistant = (before.replace("%", name) for name in names)
    return PromptParts((user, behind), (assistant, behind), assistant, (system, behind))


def _default(parts: PromptParts, text: str) -> PromptParts:
    """Return parts with a default system text."""
    return replace(parts, opening=parts.system[0] + text + parts.system[1])


_CHATML = _roles("<|im_start|>%\n", "<|im_end|>\n")
_LLAMA3 = _roles("<|start_header_id|>%<|end_header_id|>\n\n", "<|eot_id|>")
# The default dates of the templates.
_LLAMA31_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_LLAMA31 = replace(_LLAMA3, system=(_LLAMA3.system[0] + _LLAMA31_DATES, _LLAMA3.system[1]))
# A system text in a paragraph of its own.
_APART = ("", "\n\n")

#: Of `PromptParts`: user, assistant, generation, system, place.
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
    "llama2": PromptParts(
        ("[INST] ", " [/INST]"), (" ", " {eos}{bos}"), "",
        ("<<SYS>>\n", "\n<</SYS>>\n\n"), "first user",
    ),
    "mistral-v0": PromptParts(("[INST] ", " [/INST]"), ("", "{eos}"), "", _APART, "first user"),
    "mistral-v1": PromptParts((" [INST] ", " [/INST]"), (" ", "{eos}"), "", _APART, "first user"),
    "mistral-v3": PromptParts(("[INST] ", "[/INST]"), (" ", "{eos}"), "", _APART, "last user"),
    "mistral-nemo": PromptParts(("[INST]", "[/INST]"), ("", "{eos}"), "", _APART, "last user"),
    "mistral-v7": PromptParts(
        ("[INST] ", "[/INST]"), (" ", "{eos}"), "", ("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]")
    ),
    "mistral-v7-tekken": PromptParts(
        ("[INST]", "[/INST]"), ("", "{eos}"), "", ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
    ),
    "gemma": replace(
        _roles("<start_of_turn>%\n", "<end_of_turn>\n", ("", "user", "model")),
        system=_APART, place="first user",
    ),
    "phi3": _roles("<|%|>\n", "<|end|>\n"),
    "phi4": _roles("<|im_start|>%<|im_sep|>", "<|im_end|>"),
    "zephyr": _roles("<|%|>\n", "{eos}\n"),
    "vicuna": PromptParts(("USER: ", "\n"), ("ASSISTANT: ", "{eos}\n"), "ASSISTANT:", _APART),
    "vicuna-orca": PromptParts(
        ("USER: ", "\n"), ("ASSISTANT: ", "{eos}\n"), "ASSISTANT:", ("SYSTEM: ", "\n")
    ),
    "deepseek-v2": PromptParts(("User: ", "\n\n"), ("Assistant: ", "{eos}"), "Assistant:", _APART),
    "deepseek-v3": PromptParts(("<｜User｜>", ""), ("<｜Assistant｜>", "{eos}"), "<｜Assistant｜>"),
    "deepseek-r1": PromptParts(
        ("<｜User｜>", ""), ("<｜Assistant｜>", "{eos}"), "<｜Assistant｜><think>\n"
    ),
    "command-r": _roles(
        "<|START_OF_TURN_TOKEN|><|%_TOKEN|>", "<|END_OF_TURN_TOKEN|>", ("SYSTEM", "USER", "CHATBOT")
    ),
    "granite": _roles("<|start_of_role|>%<|end_of_role|>", "<|end_of_text|>\n"),
    "falcon3": _roles("<|%|>\n", "\n"),
    "olmo2": replace(_roles("<|%|>\n", "\n"), assistant=("<|assistant|>\n", "{eos}\n")),
    "glm4": replace(
        _roles("<|%|>\n", ""), system=("[gMASK]<sop><|system|>\n", ""), opening="[gMASK]<sop>"
    ),
    "openchat": replace(
        _roles("GPT4 Correct %: ", "<|end_of_turn|>", ("System", "User", "Assistant")),
        generation="GPT4 Correct Assistant:",
    ),
}  # fmt: skip
