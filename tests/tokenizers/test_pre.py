from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import MODEL_ARCH_NAMES
from tokenizers import Regex, pre_tokenizers

from ggufkit.architectures.registry import architectures
from ggufkit.errors import UnknownTokenizerError
from ggufkit.tokenizers import tokenizer_metadata
from ggufkit.tokenizers.files import TokenizerFiles
from ggufkit.tokenizers.pre import check_pre, describe, find_pre
from ggufkit.tokenizers.pre_table import (
    BPE_NAMES,
    HASHES,
    PRE_NAMES,
    PUBLISHED,
    SAME_RULES,
    STRUCTURES,
    WITH_ROBERTA_PROCESSING,
    WITHOUT_IGNORE_MERGES,
)
from ggufkit.tokenizers.reference import REFERENCE_TEXT, cut, reference_hash
from tests.tokenizers.build import (
    BYTE_LEVEL,
    LLAMA3_REGEX,
    QWEN2_REGEX,
    added,
    byte_level,
    split,
    write,
)
from tests.tokenizers.published import rebuild

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "checkpoints"


def hugging_face(step: str) -> Any:
    """The tokenizers library's pre-tokenizer for a step."""
    named = {
        "words": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        "bytes": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        "digit": pre_tokenizers.Digits(individual_digits=True),
        "digits": pre_tokenizers.Digits(individual_digits=False),
        "punctuation": pre_tokenizers.Punctuation(behavior="contiguous"),
    }
    return named.get(step) or pre_tokenizers.Split(Regex(step), "isolated")


@pytest.mark.parametrize("steps", STRUCTURES, ids=list(STRUCTURES.values()))
def test_the_reference_text_is_cut_as_by_the_tokenizers_library(steps: tuple[str, ...]) -> None:
    library = pre_tokenizers.Sequence([hugging_face(step) for step in steps])
    expected = [word for word, _ in library.pre_tokenize_str(REFERENCE_TEXT)]
    assert cut(REFERENCE_TEXT, steps) == expected


def test_tables_agree_with_each_other() -> None:
    assert set(STRUCTURES.values()) <= BPE_NAMES
    assert set(HASHES.values()) <= PRE_NAMES
    for variants in (WITHOUT_IGNORE_MERGES, WITH_ROBERTA_PROCESSING):
        assert set(variants) <= set(STRUCTURES.values())
        assert set(variants.values()) <= BPE_NAMES


def pre_of(tmp_path: Path, **fields: Any) -> str:
    return find_pre(write(tmp_path, tokenizer=byte_level(**fields)))


def test_names_are_found_from_the_steps(tmp_path: Path) -> None:
    digits = {"type": "Digits", "individual_digits": True}
    starcoder = {"type": "Sequence", "pretokenizers": [digits, BYTE_LEVEL]}
    assert pre_of(tmp_path / "1") == "gpt-2"
    assert pre_of(tmp_path / "2", pre_tokenizer=starcoder) == "starcoder"
    assert pre_of(tmp_path / "3", pre_tokenizer=split(QWEN2_REGEX)) == "qwen2"
    assert pre_of(tmp_path / "4", normalizer={"type": "NFC"}) == "gpt-2"
    assert pre_of(tmp_path / "5", post_processor={"type": "RobertaProcessing"}) == "roberta-bpe"


def test_ignoring_merges_tells_llama_3_from_models_with_its_cuts(tmp_path: Path) -> None:
    model = byte_level()["model"]
    for ignore, name in ((True, "llama-bpe"), (False, "smaug-bpe")):
        model["ignore_merges"] = ignore
        got = pre_of(tmp_path / name, pre_tokenizer=split(LLAMA3_REGEX), model=model)
        assert got == name


DIGITS = {"type": "Digits", "individual_digits": True}
STEPS: dict[str, Any] = {
    "words": BYTE_LEVEL,
    "digit": {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]},
    "llama": split(LLAMA3_REGEX),
    "qwen": split(QWEN2_REGEX),
}


@pytest.mark.parametrize(
    ("architecture", "steps", "ignores_merges", "name"),
    [
        ("glm4", "llama", False, "glm4"),
        ("glm4", "llama", True, "glm4"),
        ("glm4moe", "llama", False, "glm4"),
        ("deepseek2", "llama", False, "glm4"),  # GLM-4.7-Flash
        ("deepseek2", "words", False, "gigachat"),
        ("deepseek2", "qwen", False, "qwen2"),
        ("command-r", "digit", False, "command-r"),
        ("cohere2", "digit", False, "command-r"),
        ("qwen2", "qwen", False, "qwen2"),
        ("qwen3", "qwen", False, "qwen2"),
        ("stablelm", "qwen", False, "stablelm2"),
        ("stablelm", "words", False, "gpt-2"),
        ("llama", "llama", True, "llama-bpe"),
        ("llama", "llama", False, "smaug-bpe"),
        ("llama", "digit", False, "smollm"),
        ("falcon-h1", "llama", True, "falcon-h1"),
        ("lfm2", "llama", True, "lfm2"),
        ("granite", "digit", False, "refact"),
        ("granitehybrid", "llama", False, "dbrx"),
        ("olmo", "words", False, "olmo"),
        ("olmo2", "llama", False, "dbrx"),
        ("olmo2", "llama", True, "llama-bpe"),  # dbrx does not take whole words first
        ("exaone", "digit", False, "exaone"),
        ("exaone4", "words", False, "exaone4"),
        ("phi2", "words", False, "phi-2"),
        ("mpt", "words", False, "mpt"),
        ("starcoder2", "digit", False, "starcoder"),
        ("gpt2", "words", False, "gpt-2"),
        ("", "digit", False, "starcoder"),
        ("unheard of", "llama", False, "smaug-bpe"),
    ],
)
def test_among_equal_rules_the_name_of_published_models_is_taken(
    tmp_path: Path, architecture: str, steps: str, ignores_merges: bool, name: str
) -> None:
    model = byte_level()["model"] | {"ignore_merges": ignores_merges}
    write(tmp_path, tokenizer=byte_level(pre_tokenizer=STEPS[steps], model=model))
    assert find_pre(TokenizerFiles(tmp_path, architecture)) == name


def test_names_of_published_models_have_the_rules_of_others() -> None:
    known = {*MODEL_ARCH_NAMES.values(), *(a.name for a in architectures())}
    same = {name for names in SAME_RULES.values() for name in names.split()}
    for architecture, names in PUBLISHED.items():
        assert set(names.split()) <= same, architecture
        assert architecture in known, architecture


def test_a_fine_tuned_glm_4_is_called_so_in_the_whole_metadata(tmp_path: Path) -> None:
    texts = ["<|endoftext|>", "<|user|>"]
    tokens = [added(3 + i, text, special=True) for i, text in enumerate(texts)]
    write(tmp_path, tokenizer=byte_level(pre_tokenizer=STEPS["llama"], added_tokens=tokens))
    got = tokenizer_metadata(tmp_path, kind="glm4", config={}, architecture="glm4")
    assert got["tokenizer.ggml.pre"] == "glm4"


def test_spellings_of_the_same_steps(tmp_path: Path) -> None:
    removing = split(QWEN2_REGEX, "Removed", invert=True)
    literal = split(QWEN2_REGEX.replace(r"\r", "\r").replace(r"\n", "\n"))
    nested = {"type": "Sequence", "pretokenizers": [split(QWEN2_REGEX)]}
    for i, pre_tokenizer in enumerate((removing, literal, nested)):
        assert pre_of(tmp_path / str(i), pre_tokenizer=pre_tokenizer) == "qwen2"


def test_a_fine_tune_with_other_tokens_keeps_its_name(tmp_path: Path) -> None:
    tokenizer = json.loads((FIXTURES / "qwen2" / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {text: len(vocab) - 1 - i for text, i in vocab.items()}
    n = len(vocab) + len(tokenizer["added_tokens"])
    tokenizer["added_tokens"] += [added(n, "<my_token>", special=True), added(n + 1, "3333")]
    assert find_pre(write(tmp_path, tokenizer=tokenizer)) == "qwen2"


def test_unknown_steps_are_refused_with_what_was_found(tmp_path: Path) -> None:
    unknown = QWEN2_REGEX.replace(r"\p{N}|", r"\p{N}{1,7}|")
    with pytest.raises(UnknownTokenizerError) as error:
        pre_of(tmp_path, pre_tokenizer=split(unknown))
    message = str(error.value)
    assert unknown in message
    assert "--pre NAME" in message
    assert "qwen2" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}},
        {"pre_tokenizer": split(QWEN2_REGEX, "MergedWithNext")},
        {"pre_tokenizer": split(QWEN2_REGEX, "Removed")},
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"}},
    ],
)
def test_whatever_else_changes_the_text_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownTokenizerError, match="--pre NAME"):
        pre_of(tmp_path, **fields)


def test_byte_fallback_asks_for_the_sentencepiece_model(tmp_path: Path) -> None:
    model = byte_level()["model"] | {"byte_fallback": True}
    with pytest.raises(UnknownTokenizerError, match=r"only read from tokenizer\.model"):
        pre_of(tmp_path, model=model)


def test_an_expression_that_is_not_known_is_never_run(tmp_path: Path) -> None:
    # It would take forever on the reference text's runs of one character.
    with pytest.raises(UnknownTokenizerError):
        pre_of(tmp_path, pre_tokenizer=split(r"(=*)*(=*)*(=*)*x"))


def test_check_pre() -> None:
    for name in PRE_NAMES:
        check_pre(name)
    with pytest.raises(UnknownTokenizerError, match="no pre-tokenizer 'llama-bpee'; did you mean"):
        check_pre("llama-bpee")


@pytest.mark.parametrize(
    ("name", "converter_writes"),
    [
        ("gpt-2", "gpt-2"),
        ("llama-bpe", "llama-bpe"),
        ("qwen2", "qwen2"),
        # The converter's table has this hash twice; the second name overwrites the first.
        ("bert-bge", "jina-v2-en"),
    ],
)
def test_published_vocabularies_have_the_hashes_of_the_converter(
    oracle: Path, tmp_path: Path, name: str, converter_writes: str
) -> None:
    files = TokenizerFiles(rebuild(oracle, name, tmp_path / name))
    assert files.tokenizer_json is not None
    assert reference_hash(files, describe(files.tokenizer_json)) in HASHES
    assert find_pre(files) == converter_writes
