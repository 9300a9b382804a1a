"""The names of every architecture beside gguf-py's tables of the same, which were made apart.

Where the two differ, a table here says why; what is in it and does not differ is a failure, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import gguf.constants as tables
import pytest
from gguf.tensor_mapping import TensorNameMap

from ggufkit.architectures.catalog import family_key
from ggufkit.architectures.registry import architectures
from ggufkit.mapping.spec import UNPREFIXED, Architecture, Weight
from tests.architectures.test_converted import CASES
from tests.gguf.test_metadata import constants

BY_NAME = {name: arch for arch, name in tables.MODEL_ARCH_NAMES.items()}
IDS = {"ids": family_key}

# Those of which gguf-py's last release has tables. The others' names are compared with the
# converter's files, in test_converted.
KNOWN = [a for a in architectures() if a.name in BY_NAME]

# gguf 0.19 has no row for these; the files of `converted`, of October 2026, have them.
NEWER = "llama.cpp's converter writes it, and gguf-py's last release is older"
KEYS_BESIDE = {
    "classifier.pooling_type": NEWER,
    "hidden_activation": NEWER,
    "attention.recurrent_layers": NEWER,
    "tokenizer.ggml.suppress_tokens": NEWER,
}

TENSORS_BESIDE = {
    ("jina-bert-v2", "cls.output"): NEWER,
    **{
        (name, f"blk.{{i}}.nextn.{part}"): NEWER
        for name in ("qwen3next", "qwen35", "qwen35moe", "exaone4")
        for part in ("eh_proj", "enorm", "hnorm", "shared_head_norm")
    },
    **{  # of GLM 4.7 Flash
        ("deepseek2", f"blk.{{i}}.nextn.{part}"): NEWER
        for part in (
            *("embed_tokens", "shared_head_head", "shared_head_norm"),
            *("eh_proj", "enorm", "hnorm"),
        )
    },
    **{
        ("gemma4", f"blk.{{i}}.{name}.scale"): "a scale has its weight's name"
        for name in ("ffn_gate_inp", "ffn_down_exps")
    },
    # published models are tied: no file of `converted` has it
    ("lfm2moe", "output"): "llama.cpp loads one that is not tied, its converter has no row for it",
}

# A source's place in the tables, where it is another than ours.
SPLIT = "one tensor of the checkpoint becomes two"
CLASSIFIER = "a classifier of one layer lies where the last of two does"
NO_EXPERTS = "what experts share is the whole feed-forward part where there are none"
OTHER_PLACES = {
    ("bert", "cls.output"): CLASSIFIER,
    ("jina-bert-v2", "cls.output"): CLASSIFIER,
    ("neo-bert", "cls.output"): "the classifier comes after `dense`, which is `cls`",
    ("modern-bert", "cls.output"): "the classifier comes after a layer of its own, which is `cls`",
    ("granitehybrid", "blk.{i}.ffn_down"): NO_EXPERTS,
    ("deepseek2", "blk.{i}.attn_k_b"): SPLIT,
    ("deepseek2", "blk.{i}.attn_v_b"): SPLIT,
    **{
        (name, f"blk.{{i}}.ffn_{part}_exps"): SPLIT
        for name in ("qwen3next", "qwen35moe")
        for part in ("gate", "up")
    },
    ("qwen3next", "blk.{i}.attn_qkv"): SPLIT,
    ("qwen3next", "blk.{i}.attn_gate"): SPLIT,
}


def stem(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias")


def tensors(architecture: Architecture) -> set[str]:
    """Return the tensors that gguf-py knows of an architecture."""
    listed = tables.MODEL_TENSORS[BY_NAME[architecture.name]]
    return {tables.TENSOR_NAMES[tensor].replace("{bid}", "{i}") for tensor in listed}


def keys(architecture: Architecture) -> Iterator[str]:
    for hparam in (*architecture.hparams, *architecture.leading_hparams):
        yield hparam if isinstance(hparam, str) else hparam.key


def strange_keys(architecture: Architecture) -> set[str]:
    known = {key.removeprefix("{arch}.") for key in constants(tables.Keys)}
    return {key for key in keys(architecture) if key not in known}


def strange_tensors(architecture: Architecture) -> set[tuple[str, str]]:
    ours = [weight.name for weight in architecture.weights]
    ours += [generated.name for generated in architecture.computed]
    strange = {stem(name) for name in ours} - tensors(architecture)
    return {(architecture.name, name) for name in strange}


def place(weight: Weight, names: TensorNameMap) -> str | None:
    """Return where gguf-py puts a weight's source, None where it knows no such source."""
    source = weight.source.replace(".{e}", "").replace("{i}", "0")
    source = re.sub(r"\.layer(\d)", r".layer.\1", source)  # t5's second number, which it renames
    found = names.get_name(stem(source) if weight.full_name else source)
    return found and found.replace(".0.", ".{i}.")


def other_places(architecture: Architecture) -> tuple[set[tuple[str, str]], int]:
    """Return the weights that gguf-py puts elsewhere, and how many it puts anywhere."""
    # the class keeps what one architecture adds
    own = {"block_mappings_cfg": dict(TensorNameMap.block_mappings_cfg)}
    names = type("OwnNames", (TensorNameMap,), own)(BY_NAME[architecture.name], 1)
    places = {stem(weight.name): place(weight, names) for weight in architecture.weights}
    known = {name: theirs for name, theirs in places.items() if theirs is not None}
    other = {(architecture.name, name) for name, theirs in known.items() if theirs != name}
    return other, len(known)


@pytest.mark.parametrize("architecture", architectures(), **IDS)
def test_the_name_is_one_of_llama_cpps(architecture: Architecture) -> None:
    files = (json.loads(path.read_text(encoding="utf-8")) for path in CASES.values())
    assert architecture.name in BY_NAME or any(
        ["general.architecture", "STRING", architecture.name] in file["metadata"] for file in files
    )


@pytest.mark.parametrize("architecture", KNOWN, **IDS)
def test_keys_are_those_of_the_tables(architecture: Architecture) -> None:
    assert strange_keys(architecture) <= KEYS_BESIDE.keys()
    assert all(key.startswith(UNPREFIXED) or "{" not in key for key in keys(architecture))


@pytest.mark.parametrize("architecture", KNOWN, **IDS)
def test_tensors_are_those_of_the_tables(architecture: Architecture) -> None:
    assert strange_tensors(architecture) <= TENSORS_BESIDE.keys()


@pytest.mark.parametrize("architecture", KNOWN, **IDS)
def test_sources_go_where_the_tables_put_them(architecture: Architecture) -> None:
    other, n_known = other_places(architecture)
    assert other <= OTHER_PLACES.keys()
    assert n_known >= len(architecture.weights) / 3  # the tables have something to say


def test_the_exceptions_are_needed() -> None:
    found = [(strange_keys(a), strange_tensors(a), other_places(a)[0]) for a in KNOWN]
    for given, sets in zip(
        (KEYS_BESIDE, TENSORS_BESIDE, OTHER_PLACES), zip(*found, strict=True), strict=True
    ):
        assert given.keys() == set().union(*sets)
