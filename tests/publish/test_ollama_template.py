"""Ollama's templates give the prompts that the models' own chat templates give.

The chat templates here are short ones in the style of the published ones. What Ollama's template
gives is evaluated by `tests.publish.gotemplate`, which knows nothing of ours.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ggufkit.gguf.metadata import Metadata
from ggufkit.publish.ollama.families import FAMILIES
from ggufkit.publish.ollama.model import ollama_model
from ggufkit.publish.ollama.parts import PromptParts
from ggufkit.publish.ollama.template import adds_bos, go_template
from ggufkit.toolbox.template import Conversation, render_all
from tests.build import ARR, BOOL, I32, STR, U32, array, file, pair
from tests.publish.gotemplate import ollama

SYSTEM = {"role": "system", "content": 'Answer in {{ one }} word,\n"please".'}
USER = [{"role": "user", "content": text} for text in ("Hi", "Why 'so'?\n\n- a\n- b", "日本 😀")]
BOT = [{"role": "assistant", "content": text} for text in ("Hello!", "Because %s \\n.")]
CONVERSATIONS = (
    [USER[0]],
    [SYSTEM, USER[1]],
    [USER[0], BOT[0], USER[1]],
    [SYSTEM, USER[0], BOT[0], USER[1]],
    [SYSTEM, USER[2], BOT[1], USER[1], BOT[0], USER[0]],
)
LOOP = "{% for m in messages %}"
START = "{{ bos_token }}"
ANSWER = "{% endfor %}{% if add_generation_prompt %}"
TURNS = (
    LOOP + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    + ANSWER + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
HEADERS = (
    "{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set text = bos_token + text %}"
    "{% endif %}{{ text }}"
)
SYS_FIRST = (
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set sys = '' %}{% set turns = messages %}"
    "{% endif %}"
)
PLAIN_LOOP = "{% for m in turns %}{% set first = loop.first %}{% set last = loop.last %}"


def default(text: str) -> str:
    return (
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\n" + text + "<|im_end|>\n' }}"
        "{% endif %}" + TURNS
    )


def by_role(system: str, user: str, assistant: str, answer: str) -> str:
    """Return a template with one expression per role."""
    return (
        START + LOOP + "{% if m.role == 'system' %}" + system + "{% elif m.role == 'user' %}"
        + user + "{% else %}" + assistant + "{% endif %}" + ANSWER + answer + "{% endif %}"
    )  # fmt: skip


def merged(user: str, assistant: str, answer: str = "") -> str:
    """Return a template that knows the system text as ``sys``."""
    return (
        START + SYS_FIRST + PLAIN_LOOP + "{% if m.role == 'user' %}" + user + "{% else %}"
        + assistant + "{% endif %}" + ANSWER + answer + "{% endif %}"
    )  # fmt: skip


# Family -> chat template, BOS, EOS.
TEMPLATES = {
    "chatml": (TURNS, "", "<|im_end|>"),
    "smollm2": (default(
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    ), "<|im_start|>", "<|im_end|>"),
    "qwen2.5": (default(
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    ), "", "<|im_end|>"),
    "llama3": (
        LOOP + HEADERS + "{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "<|begin_of_text|>", "<|eot_id|>",
    ),
    "llama3.1": (
        START + SYS_FIRST + "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
        "Date: December 2023\nToday Date: 26 Jul 2024\n\n' + sys + '<|eot_id|>' }}"
        "{% for m in turns %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + "
        "m.content + '<|eot_id|>' }}" + ANSWER
        + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "<|begin_of_text|>", "<|eot_id|>",
    ),
    "llama2": (
        SYS_FIRST + PLAIN_LOOP + "{% if m.role == 'user' %}{{ bos_token + '[INST] ' }}"
        "{% if first and sys %}{{ '<<SYS>>\n' + sys + '\n<</SYS>>\n\n' }}{% endif %}"
        "{{ m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}"
        "{% endfor %}", "<s>", "</s>",
    ),
    "mistral-v3": (merged(
        "{{ '[INST] ' }}{% if last and sys %}{{ sys + '\n\n' }}{% endif %}"
        "{{ m.content + '[/INST]' }}",
        "{{ ' ' + m.content + eos_token }}",
    ), "<s>", "</s>"),
    "mistral-v7-tekken": (by_role(
        "[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]", "[INST]{{ m.content }}[/INST]",
        "{{ m.content + eos_token }}", "",
    ), "<s>", "</s>"),
    "gemma": (merged(
        "{{ '<start_of_turn>user\n' }}{% if first and sys %}{{ sys + '\n\n' }}{% endif %}"
        "{{ m.content + '<end_of_turn>\n' }}",
        "{{ '<start_of_turn>model\n' + m.content + '<end_of_turn>\n' }}",
        "{{ '<start_of_turn>model\n' }}",
    ), "<bos>", "<eos>"),
    "phi3": (
        LOOP + "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}" + ANSWER
        + "{{ '<|assistant|>\n' }}{% endif %}", "<s>", "<|endoftext|>",
    ),
    "phi4": (
        LOOP + "{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}" + ANSWER
        + "{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}", "", "<|im_end|>",
    ),
    "zephyr": (
        LOOP + "{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}" + ANSWER
        + "{{ '<|assistant|>\n' }}{% endif %}", "<s>", "</s>",
    ),
    "deepseek-v2": (by_role(
        "{{ m.content + '\n\n' }}", "{{ 'User: ' + m.content + '\n\n' }}",
        "{{ 'Assistant: ' + m.content + eos_token }}", "{{ 'Assistant:' }}",
    ), "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "deepseek-v3": (by_role(
        "{{ m.content }}", "{{ '<｜User｜>' + m.content }}",
        "{{ '<｜Assistant｜>' + m.content + eos_token }}", "{{ '<｜Assistant｜>' }}",
    ), "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "granite": (
        LOOP + "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content "
        "+ '<|end_of_text|>\n' }}" + ANSWER
        + "{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}", "", "<|end_of_text|>",
    ),
    "derived": (by_role(
        "{{ '# Rules\n' + m.content + '\n' }}", "{{ '# Human {x}\n' + m.content + '\n' }}",
        "{{ '# Robot\n' + m.content + '\u00a0\n' }}", "{{ '# Robot\n' }}",
    ), "<s>", "</s>"),
}  # fmt: skip


def metadata(template: str | None, bos: str = "", eos: str = "", *, adds: bool = False) -> Metadata:
    found = Metadata({"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"})
    if template is not None:
        found["tokenizer.chat_template"] = template
    found["tokenizer.ggml.tokens"] = ["a", bos or "b", eos or "c"]
    found["tokenizer.ggml.add_bos_token"] = adds
    if bos:
        found["tokenizer.ggml.bos_token_id"] = 1
    found["tokenizer.ggml.eos_token_id"] = 2
    return found


@pytest.mark.parametrize("adds", [True, False], ids=["bos added", "bos written"])
@pytest.mark.parametrize("family", TEMPLATES)
def test_prompts_are_those_of_the_chat_template(family: str, adds: bool) -> None:
    template, bos, eos = TEMPLATES[family]
    found = go_template(metadata(template, bos, eos, adds=adds))
    # The texts of SmolLM2 start with its BOS: where that is added, they are others.
    assert found.family == family or (family, adds) == ("smollm2", True)
    asked = [Conversation(messages, True) for messages in CONVERSATIONS]
    for messages, own in zip(
        CONVERSATIONS, render_all(template, asked, bos_token=bos, eos_token=eos), strict=True
    ):
        assert not own.kind, own.message
        # llama.cpp writes BOS before the prompt if the file says so, and must not find another.
        expected = own.text.removeprefix(bos) if adds else own.text
        assert ollama(found.text, messages) == expected


SHAPES = (*CONVERSATIONS, [SYSTEM, USER[0], BOT[0]], [USER[0], BOT[1]], [BOT[0], USER[0]])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_go_template_says_what_the_parts_say(family: str) -> None:
    parts = FAMILIES[family].with_tokens({"bos": "<s>", "eos": "</s>"})
    for messages in SHAPES:
        assert ollama(parts.go("<s>"), messages) == parts.render(messages, "<s>")


PIECES = ["{", "{{", "}}", "{{-", '"', '""', "`", "%s", "$", ".", "\\", "\n", "\t", "- ", "<|a|>"]
PIECES += ["\u00a0", "\u200b", "\u2028", "\x7f", "\x00", "é", "😀", "\U000e0001", "/*"]
HARD = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
AROUND = st.tuples(HARD, HARD)


@given(
    st.builds(
        PromptParts, user=AROUND, assistant=AROUND, generation=HARD, system=AROUND, opening=HARD,
        place=st.sampled_from(["turn", "first user", "last user"]),
    )
)  # fmt: skip
@example(PromptParts(('"""x', 'a"""b'), ('""', '"'), '"', ('x"', '""'), opening='y"'))
@example(PromptParts(('"', "x"), ('x"', '""'), '""', ('""', '"x'), opening='""'))
def test_whatever_a_model_writes_around_turns_is_only_text(parts: PromptParts) -> None:
    text = parts.go()
    assert '"""' not in text
    assert all(char.isprintable() or char in "\n\t" for char in text)
    for messages in SHAPES:
        assert ollama(text, messages) == parts.render(messages)


@pytest.mark.parametrize(
    "user",
    [
        "{{ '<Q>' }}{% if last and sys %}{{ '(' + sys + ')' }}{% endif %}{{ m.content + '</Q>' }}",
        "{{ '<Q>' }}{% if first and sys %}{{ '(' + sys + ')' }}{% endif %}{{ m.content + '</Q>' }}",
    ],
    ids=["last", "first"],
)
def test_a_system_text_is_found_in_a_turn(user: str) -> None:
    template = merged(user, "{{ '<A>' + m.content + '</A>' }}", "<A>")
    found = go_template(metadata(template, "<s>", "</s>", adds=True))
    assert found.family == "derived"
    asked = [Conversation(messages, True) for messages in CONVERSATIONS]
    for messages, own in zip(CONVERSATIONS, render_all(template, asked), strict=True):
        assert ollama(found.text, messages) == own.text


def test_an_open_answer_is_left_open() -> None:
    found = go_template(metadata(*TEMPLATES["chatml"]))
    prompt = ollama(found.text, [USER[0], {"role": "assistant", "content": "Hel"}])
    assert prompt.endswith("<|im_start|>assistant\nHel")


def test_a_template_without_a_place_for_a_system_text_gets_one() -> None:
    refuses = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + TEMPLATES["gemma"][0]
    )
    leaves_out = (
        TEMPLATES["phi3"][0]
        .replace(LOOP, LOOP + "{% if m.role != 'system' %}", 1)
        .replace("{% endfor %}", "{% endif %}{% endfor %}", 1)
    )
    for template, family in ((refuses, "gemma"), (leaves_out, "phi3")):
        found = go_template(metadata(template, "<bos>", "<eos>"))
        assert found.family == family
        assert any("no system text" in note for note in found.notes)
        assert SYSTEM["content"] in ollama(found.text, [SYSTEM, USER[0]])


@pytest.mark.parametrize(
    ("template", "note"),
    [
        (None, "no chat template"),
        ("{% for m in", "it fails"),
        ("{{ raise_exception('never') }}", "it fails: never"),
        (LOOP + "{{ m.content | upper }}{% endfor %}", "more than fixed texts"),
        (LOOP + "{{ loop.index }}: {{ m.content }}\n{% endfor %}", "more than fixed texts"),
        ("{{ messages | length }}", "more than fixed texts"),
        (LOOP + "{{ m.content }}{{ '\\ud800' }}{% endfor %}", "not valid Unicode"),
        ("{% for i in range(10**9) %}x{% endfor %}", "it fails"),
    ],
)
def test_what_can_not_be_said_is_left_out(template: str | None, note: str) -> None:
    found = go_template(metadata(template))
    assert (found.text, found.family, found.parts) == ("", "", None)
    assert note in found.notes[0]


def test_the_date_is_a_fixed_one_and_said_to_be() -> None:
    template = "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}" + TURNS
    found = go_template(metadata(template, "", "<|im_end|>"))
    assert found.family == "derived"
    assert ollama(found.text, [USER[0]]).startswith("Today: 26 Jul 2024\n")
    assert any("26 Jul 2024" in note for note in found.notes)
    today = render_all(template, [Conversation([USER[0]], True)], now=datetime(2024, 7, 26))
    assert ollama(found.text, [USER[0]]) == today[0].text


def test_notes_say_what_is_not_the_same() -> None:
    found = go_template(metadata(*TEMPLATES["llama3"]))
    assert any("white space" in note for note in found.notes)
    tools = go_template(metadata("{% if tools %}{{ tools }}{% endif %}" + TURNS))
    assert any("tools" in note for note in tools.notes)
    assert go_template(metadata(*TEMPLATES["chatml"])).notes == ()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"tokenizer.ggml.model": "llama"}, True),
        ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": False}, False),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe"}, True),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2"}, False),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.add_bos_token": True}, True),
        ({}, False),
    ],
)
def test_whether_llama_cpp_adds_bos(keys: dict, expected: bool) -> None:
    assert adds_bos(Metadata(keys)) is expected


@pytest.mark.parametrize(
    ("type_id", "content"),
    [(U32, 5), (STR, "text"), (ARR, array(STR, [])), (ARR, array(I32, [1, 2])), (BOOL, True)],
)
def test_a_vocabulary_that_is_none(type_id: int, content: object, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    pairs = [
        pair("general.architecture", STR, "llama"),
        pair("tokenizer.chat_template", STR, TURNS),
        pair("tokenizer.ggml.tokens", type_id, content),
        pair("tokenizer.ggml.token_type", type_id, content),
        pair("tokenizer.ggml.eos_token_id", U32, 1),
    ]
    path.write_bytes(file(pairs))
    found = ollama_model(path)
    assert found.template.family == "chatml"
    assert found.parameters["stop"] == ("<|im_start|>user",)  # all that is known
