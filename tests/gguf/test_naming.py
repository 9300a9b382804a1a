"""File names: the specification's vectors and regular expression, gguf-py's labels."""

import re

import gguf.utility
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufkit.errors import BadValueError
from ggufkit.gguf.naming import FileName, build_name, parse_name, round_count, safe_name, size_label

SPECIFIED = re.compile(
    r"^(?:(?P<sidecar>mmproj|mtp)-)?(?P<base_name>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s]"
    r"[A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-(?:(?P<size_label>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z]"
    r"(?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)(?:-(?P<fine_tune>[A-Za-z0-9\s-]+))?)?-"
    r"(?:(?P<version>v\d+(?:\.\d+)*))(?:-(?P<encoding>(?!LoRA|vocab)[\w_]+))?"
    r"(?:-(?P<type>LoRA|vocab))?(?:-(?P<shard>\d{5}-of-\d{5}))?\.gguf$",
    re.ASCII,
)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("Mixtral-8x7B-v0.1-KQ2.gguf", FileName("Mixtral", "8x7B", "v0.1", encoding="KQ2")),
        (
            "Grok-100B-v1.0-Q4_0-00003-of-00009.gguf",
            FileName("Grok", "100B", "v1.0", encoding="Q4_0", shard="00003-of-00009"),
        ),
        (
            "Hermes-2-Pro-Llama-3-8B-v1.0-F16.gguf",
            FileName("Hermes-2-Pro-Llama-3", "8B", "v1.0", encoding="F16"),
        ),
        (
            "Phi-3-mini-3.8B-ContextLength4k-instruct-v1.0.gguf",
            FileName("Phi-3-mini", "3.8B-ContextLength4k", "v1.0", fine_tune="instruct"),
        ),
        (
            "mtp-Qwen3-27B-v1.0-Q4_K_M.gguf",
            FileName("Qwen3", "27B", "v1.0", sidecar="mtp", encoding="Q4_K_M"),
        ),
        (
            "mmproj-Qwen2-VL-7B-v1.0-F16.gguf",
            FileName("Qwen2-VL", "7B", "v1.0", sidecar="mmproj", encoding="F16"),
        ),
        ("not-a-known-arrangement.gguf", None),
    ],
)
def test_the_vectors_of_the_specification(name, parsed):
    assert parse_name(name) == parsed


SEGMENTS = ["A", "Llama", "3", "8B", "7x1.5M", "Ctx4k", "chat", "v1", "v1.0", "Q4_K_M", "F16"]
SEGMENTS += ["LoRA", "vocab", "LoRAx", "mtp", "mmproj", "00001", "of", "00002", "a.b", "1a2", "x y"]


@given(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=9))
def test_names_are_parsed_as_the_regular_expression_does(segments):
    name = "-".join(segments) + ".gguf"
    match = SPECIFIED.match(name)
    parsed = parse_name(name)
    assert (parsed is None) == (match is None)
    if match and parsed:
        assert vars(parsed) == match.groupdict()


@pytest.mark.parametrize("name", ["", ".gguf", "-.gguf", "x", "-" * 5000 + ".gguf", "a\n.gguf"])
def test_names_of_nothing(name):
    assert parse_name(name) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Llama", {"size_label": "8B", "encoding": "q4_k_m"}),
        ("Llama 3", {"size_label": "8B", "fine_tune": "it", "version": "v1.0", "encoding": "F16"}),
        ("TinyLlama 1.1B Chat", {"encoding": "BF16"}),
    ],
)
def test_names_are_built_as_gguf_py_does(name, options):
    theirs = gguf.utility.naming_convention(
        name, None, options.get("fine_tune"), options.get("version"),
        options.get("size_label"), options.get("encoding"),
    )  # fmt: skip
    assert build_name(name, **options) == theirs + ".gguf"


@given(st.text())
def test_no_name_leads_out_of_its_folder(text):
    name = safe_name(text)
    assert not set(name) & set("/\\\0\n:")
    assert not name.startswith((".", "-"))
    try:
        built = build_name(text, size_label=text, encoding=text)
    except BadValueError:
        assert not name
    else:
        assert "/" not in built
        assert len(built.encode()) < 230


@given(st.integers(0, 10**15))
def test_counts_are_rounded_as_gguf_py_does(count):
    assert round_count(count) == gguf.utility.model_weight_count_rounded_notation(count)


@given(st.integers(1, 10**13), st.integers(0, 10**12), st.integers(0, 10**10), st.integers(0, 256))
def test_labels_are_those_of_gguf_py(total, shared, expert, experts):
    theirs = gguf.utility.size_label(total, shared, expert, experts)
    assert size_label(total, shared, expert, experts) == theirs
