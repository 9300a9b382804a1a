"""Faults of tokenizers and chat templates."""

from __future__ import annotations

from tests.build import BOOL, F32, I32, STR, U32
from tests.toolbox.faults import CHATML, VOCAB, Model, drops, fault, sets, tokens_of, types_of

G = "tokenizer.ggml."
TEMPLATE = "tokenizer.chat_template"
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

drops("missing-tokenizer", G + "model", name="no_tokenizer")
drops("missing-tokenizer", G + "tokens", name="no_tokens")
sets("named-phi3", "general.name", STR, "Tiny Phi-3", name="called_phi3")
drops("missing-eos", G + "eos_token_id", name="no_eos")
drops("missing-merges", G + "merges", name="no_merges", tokenizer="gpt2")
drops("pre-tokenizer", G + "pre", name="no_pre", tokenizer="gpt2")
drops("missing-template", TEMPLATE, name="no_template")
sets("pre-tokenizer", G + "pre", STR, "default", name="default_pre", tokenizer="gpt2")
sets("unknown-pre", G + "pre", STR, "quen2", name="misspelt_pre", tokenizer="gpt2")
sets("unknown-tokenizer", G + "model", STR, "sentencepiece", name="other_tokenizer")
sets("token-id-range", G + "padding_token_id", U32, VOCAB, name="pad_out_of_range")
sets("token-id-range", G + "eos_token_id", U32, 2**32 - 1, name="eos_of_minus_one")
sets("add-bos-without-id", G + "add_bos_token", BOOL, 1, name="bos_of_none", tokenizer="gpt2")
sets("double-bos", TEMPLATE, STR, "{{ bos_token }}" + CHATML, name="two_bos")
sets("template-syntax", TEMPLATE, STR, CHATML + "{% if %}", name="half_an_if")
sets("template-syntax", TEMPLATE, STR, CHATML.replace("{% endfor %}", ""), name="no_endfor")
sets("template-unsafe", TEMPLATE, STR, CHATML + ESCAPE, name="way_out_of_the_sandbox")
sets("template-limit", TEMPLATE, STR, "{{ 'a' * 10 ** 9 }}", name="a_gigabyte")
sets("template-limit", TEMPLATE, STR,
     "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
     name="endless")  # fmt: skip
sets("template-fails", TEMPLATE, STR, "{{ messages[0].content.no.thing }}", name="wrong_field")
sets("template-fails", TEMPLATE, STR,
     "{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}" + CHATML,
     name="one_turn_only", also=("template-system",))  # fmt: skip
sets("template-drops", TEMPLATE, STR, CHATML.replace("{{ message.content }}", ""), name="mute")
sets("template-drops", TEMPLATE, STR,
     CHATML.replace("for message in messages", "for message in messages[-1:]"),
     name="last_message_only", also=("template-system",))  # fmt: skip
sets("template-system", TEMPLATE, STR,
     CHATML.replace("in messages", "in messages if message.role != 'system'"),
     name="no_system")  # fmt: skip
sets("template-system", TEMPLATE, STR,
     "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML,
     name="system_refused")  # fmt: skip
sets("template-suspicious", TEMPLATE, STR, CHATML + "{% if never %}" + ESCAPE + "{% endif %}",
     name="hidden_escape")  # fmt: skip
sets("template-tokens", TEMPLATE, STR, CHATML.replace("im_start", "start_header_id"),
     name="template_of_another_model")  # fmt: skip


@fault("turn-end")
def turns_end_with_another_token(model: Model) -> None:
    model.array(G + "tokens", STR, [t.replace("im_end", "stop") for t in tokens_of("llama")])
    model.pairs[TEMPLATE] = (STR, CHATML.replace("im_end", "stop"))


@fault("token-arrays")
def missing_score(model: Model) -> None:
    model.array(G + "scores", F32, [0.0] * (VOCAB - 1))


@fault("token-arrays")
def surplus_types(model: Model) -> None:
    model.array(G + "token_type", I32, [*types_of("llama"), 1])


@fault("duplicate-tokens")
def duplicate_token(model: Model) -> None:
    tokens = tokens_of("llama")
    model.array(G + "tokens", STR, [*tokens[:-1], tokens[-2]])


@fault("empty-tokens")
def empty_token(model: Model) -> None:
    model.array(G + "tokens", STR, [*tokens_of("llama")[:-1], ""])


@fault("odd-token-types")
def type_of_9(model: Model) -> None:
    model.array(G + "token_type", I32, [*types_of("llama")[:-1], 9])


@fault("byte-token-form")
def byte_token_in_octal(model: Model) -> None:
    model.array(G + "tokens", STR, [*tokens_of("llama")[:-1], "<0o17>"])
    model.array(G + "token_type", I32, [*types_of("llama")[:-1], 6])


@fault("missing-byte-tokens")
def no_newline_byte(model: Model) -> None:
    tokens = ["▁newline" if t == "<0x0A>" else t for t in tokens_of("llama")]
    types = [1 if t == "▁newline" else k for t, k in zip(tokens, types_of("llama"), strict=True)]
    model.array(G + "tokens", STR, tokens)
    model.array(G + "token_type", I32, types)


@fault("unknown-merges", tokenizer="gpt2")
def merges_of_another_vocabulary(model: Model) -> None:
    model.array(G + "merges", STR, ["Ā Ā", "t h"])


@fault("unknown-merges", tokenizer="gpt2")
def merge_to_nothing(model: Model) -> None:
    model.array(G + "merges", STR, ["Ā Ā", "ā ā"])


@fault("special-is-normal", tokenizer="gpt2")
def eos_is_normal(model: Model) -> None:
    types = types_of("gpt2")
    types[260] = 1
    model.array(G + "token_type", I32, types)


@fault("special-is-normal", tokenizer="gpt2")
def special_looking_token(model: Model) -> None:
    types = types_of("gpt2")
    types[259] = 1
    model.array(G + "token_type", I32, types)
