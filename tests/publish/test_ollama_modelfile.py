"""Modelfiles: whatever a model says of itself, the parser reads back what was meant.

The parser here follows the documented grammar and the rules of Ollama's own for where a value
ends, and shares no code with what writes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ggufkit.errors import BadValueError, OutputError
from ggufkit.gguf.metadata import Metadata
from ggufkit.publish.ollama.model import OllamaModel, Wishes, ollama_model, stop_texts
from ggufkit.publish.ollama.modelfile import modelfile, quote, write_modelfiles
from ggufkit.publish.ollama.parts import PromptParts
from ggufkit.publish.ollama.template import GoTemplate
from tests.llama import write_llama

COMMANDS = ("from", "parameter", "template", "system", "adapter", "license", "message")


def parse(text: str) -> list[tuple[str, str]]:
    """Return commands and values, in order; lines that are no command are an error."""
    found, lines = [], text.split("\n")
    while lines:
        line = lines.pop(0)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, _, value = line.lstrip().partition(" ")
        assert word.lower() in COMMANDS, f"not a command: {line!r}"
        if word.lower() == "parameter":
            name, _, value = value.partition(" ")
            word += f" {name}"
        while (read := closed(value)) is None:
            assert lines, f"not closed: {value!r}"
            value += "\n" + lines.pop(0)
        found.append((word, "".join(c for c in read if c.isprintable() or c in "\n\t\r")))
    return found


def closed(value: str) -> str | None:
    """Return what a value means, None if it goes on in the next line."""
    value = value.strip()
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            whole = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if whole else None
    return value


TEXTS = st.text(
    st.sampled_from('"\\\n\t #{}\r\u00a0\u200b\u2028') | st.characters(codec="utf-8"), max_size=30
) | st.sampled_from(
    ['"""', 'x"\nSYSTEM evil', "PARAMETER stop x", '"""\nFROM evil\n"""', '""', '"']
)


@settings(max_examples=500)
@given(TEXTS)
@example('a"')
@example('"\n"')
@example("")
def test_a_value_is_read_back_or_refused(text: str) -> None:
    try:
        quoted = quote(text)
    except OutputError:
        assert '"""' in text or any(not c.isprintable() and c not in "\n\t" for c in text)
        return
    assert parse(f"FROM x\nSYSTEM {quoted}\nLICENSE y") == [
        ("FROM", "x"), ("SYSTEM", text), ("LICENSE", "y"),
    ]  # fmt: skip


def model(**changes: object) -> OllamaModel:
    parts = PromptParts(user=("U:", "\n"), assistant=("A:", "</s>\n"), generation="A:")
    facts = {
        "path": Path("folder/model-Q4_K_M.gguf"), "n_bytes": 1, "file_type": "Q4_K_M",
        "architecture": "llama", "n_weights": 1, "system": "", "licenses": (), "adapter": None,
        "template": GoTemplate(parts.go(), "derived", parts), "parameters": {}, "notes": (),
    }  # fmt: skip
    return OllamaModel(**{**facts, **changes})  # type: ignore[arg-type]


@settings(max_examples=300)
@given(
    system=TEXTS, license_text=TEXTS, stops=st.lists(TEXTS.filter(bool), max_size=3),
    around=st.tuples(TEXTS, TEXTS), note=TEXTS,
)  # fmt: skip
def test_nothing_a_file_says_becomes_another_command(
    system: str, license_text: str, stops: list[str], around: tuple[str, str], note: str
) -> None:
    parts = PromptParts(user=around, assistant=around, generation=around[0], opening=around[1])
    made = model(
        template=GoTemplate(parts.go(), "derived", parts), system=system,
        licenses=(license_text,), parameters={"stop": tuple(stops), "top_k": 40}, notes=(note,),
    )  # fmt: skip
    try:
        text, notes = modelfile(made)
    except OutputError:
        return  # the system text; a template is always possible
    found = parse(text)
    words = [word for word, _ in found]
    assert found[0] == ("FROM", "./model-Q4_K_M.gguf")
    assert words.count("FROM") == 1
    assert dict(found).get("TEMPLATE", "") == parts.go()
    assert dict(found).get("SYSTEM", "") == system
    assert [v for w, v in found if w == "PARAMETER stop"] == [s for s in stops if fits(s)]
    assert [v for w, v in found if w == "LICENSE"] == [license_text] * fits(license_text)
    assert ("PARAMETER top_k", "40") in found
    assert len(notes) == 1 + sum(not fits(s) for s in [*stops, license_text])


def fits(text: str) -> bool:
    return '"""' not in text and all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize("name", ["a\nSYSTEM evil.gguf", "a\u200b.gguf", "a.gguf "])
def test_names_of_files_that_can_not_be_written_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match="rename"):
        modelfile(model(path=Path(name)))


def test_files_elsewhere_are_named_in_full(tmp_path: Path) -> None:
    text, _ = modelfile(model(path=tmp_path / "in" / "m.gguf"), tmp_path / "out")
    assert ("FROM", str(tmp_path / "in" / "m.gguf")) in parse(text)
    beside, _ = modelfile(model(path=tmp_path / "in" / "m.gguf"), tmp_path / "in")
    assert ("FROM", "./m.gguf") in parse(beside)


def test_modelfiles_are_written_once_and_replaced_on_demand(tmp_path: Path) -> None:
    one = model(path=tmp_path / "m.gguf")
    assert write_modelfiles([(one, "q4_k_m")], tmp_path) == [tmp_path / "Modelfile"]
    write_modelfiles([(one, "q4_k_m")], tmp_path)  # says the same
    other = model(path=tmp_path / "m.gguf", system="Be brief.")
    with pytest.raises(OutputError, match="--force"):
        write_modelfiles([(other, "q4_k_m")], tmp_path)
    write_modelfiles([(other, "q4_k_m")], tmp_path, force=True)
    assert ("SYSTEM", "Be brief.") in parse((tmp_path / "Modelfile").read_text())
    both = write_modelfiles([(one, "q4_k_m"), (other, "q8_0")], tmp_path / "new")
    assert [path.name for path in both] == ["Modelfile.q4_k_m", "Modelfile.q8_0"]


def special(**keys: object) -> Metadata:
    tokens = ["Hi", "<s>", "</s>", "<|turn|>", "<|end|>", "<|eot|>", "<pad>"]
    types = [1, 3, 3, 4, 3, 3, 3]
    return Metadata({
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, **keys,
    })  # type: ignore[arg-type]  # fmt: skip


def test_answers_stop_where_a_turn_ends() -> None:
    parts = PromptParts(
        user=("<|turn|>user ", ""), assistant=("<|turn|>bot ", "<|end|><s>"), generation=""
    )
    stops = stop_texts(special(**{"tokenizer.ggml.eot_token_id": 5}), GoTemplate("x", "", parts))
    assert stops == ("<|end|>", "<|turn|>", "</s>", "<|eot|>")
    words = PromptParts(user=("USER: ", "\n"), assistant=("BOT: ", "\n"), generation="BOT:")
    assert stop_texts(special(), GoTemplate("x", "", words)) == ("USER:", "</s>")
    assert stop_texts(special(), GoTemplate()) == ()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ggufkit.converter.ladder import convert

    folder = tmp_path_factory.mktemp("modelfile")
    source = write_llama(folder / "Tiny")
    (source / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    convert(source, folder / "out", ladder="Q8_0")
    return next((folder / "out").glob("*.gguf"))


def test_sampling_is_what_the_file_says_and_wishes_come_on_top(file: Path, tmp_path: Path) -> None:
    from ggufkit.gguf.open import open_gguf
    from ggufkit.toolbox.edit import edit

    assert {"temperature", "num_ctx"}.isdisjoint(ollama_model(file).parameters)
    with open_gguf(file) as opened:
        assert opened.metadata.get("general.sampling.temp") is None
    target = tmp_path / "m.gguf"
    edit(file, out=target, values={"general.sampling.temp": 0.6, "general.sampling.top_k": 20})
    found = ollama_model(target, Wishes(context=1024))
    assert found.parameters["temperature"] == 0.6  # not 0.6000000238
    assert found.parameters["top_k"] == 20
    assert found.parameters["num_ctx"] == 1024
    with pytest.raises(OutputError, match="supports 2048 at most"):
        ollama_model(file, Wishes(context=4096))
    with pytest.raises(BadValueError, match="adapter"):
        ollama_model(file, Wishes(adapter=file))
    with pytest.raises(OutputError, match="Unicode"):
        ollama_model(file, Wishes(system="\udc80"))
