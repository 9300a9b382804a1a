"""`Metadata` and the table of standard keys."""

import gguf.constants
import numpy as np
import pytest

from ggufkit.errors import (
    BadValueError,
    MetadataError,
    MissingKeyError,
    WrongValueTypeError,
)
from ggufkit.gguf.metadata import KEYS, Metadata, key_type
from ggufkit.types import ValueType
from tests import build


def constants(holder):
    for name, value in vars(holder).items():
        if isinstance(value, type):
            yield from constants(value)
        elif isinstance(value, str) and not name.startswith("_"):
            yield value


def test_the_table_has_every_key_of_gguf_py():
    known = {key for key in constants(gguf.constants.Keys) if not key.startswith("clip.")}
    assert known - set(KEYS) == set()


class Recorder(gguf.GGUFWriter):
    """A writer that notes which type it would store."""

    def __init__(self):
        self.types = {}
        super().__init__(None, "{arch}")

    def add_key_value(self, key, val, vtype, sub_type=None):
        self.types[key] = vtype


@pytest.mark.parametrize("value", [1, 1.0, "text", True])
def test_the_types_are_those_of_gguf_py(value):
    writer = Recorder()
    for name in dir(writer):
        method = getattr(writer, name)
        hints = getattr(method, "__annotations__", {})
        if name.startswith("add_") and list(hints.values()) == [type(value).__name__, "None"]:
            method(value)
    checked = {key for key in writer.types if key in KEYS}
    assert checked
    for key in checked:
        assert KEYS[key].scalar is not None, key
        assert KEYS[key].scalar.value == writer.types[key].value, key


@pytest.mark.parametrize(
    ("key", "scalar", "items"),
    [
        ("general.name", ValueType.STRING, None),
        ("general.base_model.12.name", ValueType.STRING, None),
        ("general.sampling.top_k", ValueType.INT32, None),
        ("llama.block_count", ValueType.UINT32, None),
        ("deepseek2.attention.head_count_kv", ValueType.UINT32, ValueType.INT32),
        ("gemma3.attention.sliding_window_pattern", ValueType.UINT32, ValueType.BOOL),
        ("tokenizer.ggml.tokens", None, ValueType.STRING),
        ("tokenizer.chat_template.tool_use", ValueType.STRING, None),
        ("gemma-embedding.dense_2_feat_in", ValueType.UINT32, None),
        ("split.count", ValueType.UINT16, None),
    ],
)
def test_keys_with_placeholders_are_found(key, scalar, items):
    assert key_type(key) == (scalar, items)


@pytest.mark.parametrize("key", ["", "x", "general.base_model.x.name", "llama.no_such_key"])
def test_other_keys_have_no_type(key):
    assert key_type(key) is None


def test_keys_keep_the_order_and_the_last_value():
    m = Metadata()
    m["general.architecture"] = "llama"
    m["llama.block_count"] = 1
    m["general.name"] = "x"
    m["llama.block_count"] = 2
    assert list(m.items()) == [
        ("general.architecture", "llama"),
        ("llama.block_count", 2),
        ("general.name", "x"),
    ]


def test_a_number_or_one_per_layer_under_the_same_key():
    m = Metadata({"llama.attention.head_count_kv": 4})
    assert m.type_of("llama.attention.head_count_kv") is ValueType.UINT32
    m["llama.attention.head_count_kv"] = [4, 2]
    assert m.type_of("llama.attention.head_count_kv") is ValueType.ARRAY
    assert m.item_type_of("llama.attention.head_count_kv") is ValueType.INT32
    assert m["llama.attention.head_count_kv"] == [4, 2]


def test_floats_read_back_as_the_file_will_hold_them():
    m = Metadata({"llama.attention.layer_norm_rms_epsilon": 1e-5})
    assert m["llama.attention.layer_norm_rms_epsilon"] == float(np.float32(1e-5))


def test_bytes_arrays_and_ndarrays_are_arrays():
    m = Metadata({"tokenizer.ggml.precompiled_charsmap": b"\x01\xff"})
    assert m["tokenizer.ggml.precompiled_charsmap"] == [1, 255]
    m.set("x", np.array([1.5, 2.5]), ValueType.FLOAT32)
    m.set("y", np.int32(3), ValueType.INT64)
    m.set("z", [b"a", "b"], ValueType.STRING)
    assert (m["x"], m["y"], m["z"]) == ([1.5, 2.5], 3, ["a", "b"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.name", 1),
        ("general.name", ["x"]),
        ("tokenizer.ggml.tokens", "x"),
        ("tokenizer.ggml.tokens", [1]),
        ("llama.block_count", -1),
        ("llama.block_count", True),
        ("llama.attention.causal", 1),
        ("no.standard.key", 1),
    ],
)
def test_wrong_values_are_refused_and_named(key, value):
    m = Metadata()
    with pytest.raises(WrongValueTypeError, match=key):
        m[key] = value
    assert len(m) == 0


@pytest.mark.parametrize("key", ["", "a\0b", "k" * 65536])
def test_bad_keys_are_refused(key):
    with pytest.raises(BadValueError):
        Metadata().set(key, 1, ValueType.UINT8)


def test_the_first_items_of_an_array():
    m = Metadata({"tokenizer.ggml.tokens": ["a", "b", "c"], "tokenizer.ggml.scores": [0.5, 1.0]})
    assert m.first_items_of("tokenizer.ggml.tokens", 2) == ["a", "b"]
    assert m.first_items_of("tokenizer.ggml.scores", 9) == [0.5, 1.0]
    assert m["tokenizer.ggml.tokens"] == ["a", "b", "c"]
    m["general.name"] = "x"
    with pytest.raises(WrongValueTypeError):
        m.first_items_of("general.name", 1)


def test_missing_keys_are_key_errors_of_ours():
    m = Metadata()
    with pytest.raises(MissingKeyError, match=r"general\.name"):
        m["general.name"]
    with pytest.raises(KeyError):
        m.type_of("general.name")
    with pytest.raises(MetadataError):
        del m["general.name"]
    assert m.get("general.name") is None
    assert m.pop("general.name", 1) == 1


def test_typed_getters():
    m = Metadata({"general.name": "x", "llama.block_count": 2, "tokenizer.ggml.tokens": ["a"]})
    m["llama.rope.freq_base"] = 1e4
    m["llama.attention.causal"] = False
    assert m.get_str("general.name") == "x"
    assert m.get_int("llama.block_count") == 2
    assert m.get_float("llama.rope.freq_base") == 10000.0
    assert m.get_bool("llama.attention.causal") is False
    assert m.get_list("tokenizer.ggml.tokens", ValueType.STRING) == ["a"]
    assert m.get_int("absent", 5) == 5
    assert m.get_list("absent", ValueType.STRING, []) == []
    for getter in (m.get_str, m.get_float, m.get_bool):
        with pytest.raises(WrongValueTypeError):
            getter("llama.block_count")
    with pytest.raises(WrongValueTypeError):
        m.get_int("llama.attention.causal")
    with pytest.raises(WrongValueTypeError):
        m.get_list("tokenizer.ggml.tokens", ValueType.INT32)
    with pytest.raises(MissingKeyError):
        m.get_int("absent")


def test_copies_and_extensions_keep_types_and_share_nothing():
    m = Metadata({"general.name": "x"})
    m.set("custom", 1, ValueType.INT16)
    other = m.copy()
    other["general.name"] = "y"
    assert m["general.name"] == "x"
    m.extend(other)
    assert m["general.name"] == "y"
    assert m.type_of("custom") is ValueType.INT16


def test_the_encoded_form_is_that_of_the_format():
    m = Metadata({"general.name": "é", "tokenizer.ggml.scores": [0.5]})
    assert m.encoded() == build.pair("general.name", build.STR, "é") + build.pair(
        "tokenizer.ggml.scores", build.ARR, build.array(build.F32, [0.5])
    )
