"""Malformed files: one clear error each, at once, without memory for what they claim.

The vectors of fixtures/malformed carry llama.cpp's verdicts.
"""

import base64
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufkit.errors import FormatError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.reader import GGUFFile
from tests import build

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "fixtures" / "malformed" / "vectors.json").read_text())

#: llama.cpp reads these; the format does not allow them (see `parse_header`, strict).
STRICTER = {
    "key_65536_bytes",
    "key_invalid_utf8",
    "string_invalid_utf8",
    "tensor_name_empty",
    "tensor_name_invalid_utf8",
}
#: Every weight is there, only the padding behind them is not; llama.cpp's model loader takes it.
LENIENT_WITH_DATA = {"ok_last_tensor_unpadded"}
#: The format allows arrays of arrays, llama.cpp does not read them. Types that are not known can
#: be listed and copied, and names that are too long be shortened by `edit`.
LENIENT_IF_NOT_STRICT = {
    "tensor_name_64",
    *("array_nested", "tensor_type_31", "tensor_type_43", "tensor_type_removed"),
}


def content_of(name):
    return zlib.decompress(base64.b64decode(VECTORS[name]["data"]))


def accepts(content, **options):
    try:
        GGUFFile.from_buffer(content, **options)
    except FormatError:
        return False
    return True


@pytest.mark.parametrize("name", VECTORS)
def test_verdicts_agree_with_llama_cpp(name):
    vector = VECTORS[name]
    accepted = vector["gguf_init_data"] == "accept" or name in LENIENT_WITH_DATA
    assert accepts(content_of(name)) == (accepted and name not in STRICTER)
    lenient = accepts(content_of(name), strict=False)
    assert lenient == (accepted or name in LENIENT_IF_NOT_STRICT)
    if accepted:
        assert vector["gguf_init_meta"] == "accept"


def test_the_vectors_are_those_of_the_oracle(oracle, tmp_path):
    script = oracle / "malformed" / "make_malformed.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    expected = json.loads((oracle / "malformed" / "expected.json").read_text())
    assert set(expected) == set(VECTORS)
    for name, verdict in expected.items():
        assert (tmp_path / f"{name}.gguf").read_bytes() == content_of(name)
        assert verdict["gguf_init_meta"] == VECTORS[name]["gguf_init_meta"]
        assert verdict["gguf_init_data"] == VECTORS[name]["gguf_init_data"]


def test_errors_say_where_and_in_which_file(tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(build.small()[:300])
    with pytest.raises(FormatError, match=r"bad\.gguf: at byte \d+: ") as caught:
        GGUFFile.open(path)
    assert caught.value.path == path
    assert 0 < caught.value.offset <= 300


@pytest.mark.parametrize("order", "<>")
def test_a_file_cut_at_any_byte_is_refused(order):
    content = build.small(order)
    last_weight = len(content) - 16
    for size in range(len(content) + 1):
        assert accepts(content[:size]) == (size >= last_weight and order == "<"), size
        assert accepts(content[:size], strict=False) == (size >= last_weight), size


def test_any_flipped_bit_is_refused_or_leaves_a_file_that_is_written_back_equal():
    content = build.small()
    header_size = GGUFFile.from_buffer(content).data_offset
    for position in range(header_size * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        for strict in (True, False):
            if accepts(flipped, strict=strict):
                assert_written_back_equal(bytes(flipped), strict)


def assert_written_back_equal(content, strict):
    file = GGUFFile.from_buffer(content, strict=strict)
    try:
        layout = plan_layout(file.metadata, file.tensors.values(), version=file.version)
    except FormatError:
        assert not strict
        return
    end = len(layout.header.rstrip(b"\0"))
    assert layout.header[:end] == content[:end]
    assert list(layout.tensors) == list(file.tensors.values())


def file_of(tensors, data=b"", pairs=()):
    return build.file(list(pairs), list(tensors), data)


I8 = 24
HUGE = 0x7FFFFFFFFFFFFFC0
OVERFLOWS = {
    "Q8_1 whose byte count wraps to 0": [build.tensor("a", [2**62], 9, 0)],
    "padding wraps": [build.tensor("a", [4, 2**30 - 1, 2**30 + 1], 0, 0)],
    "the sum of two sizes wraps": [
        build.tensor("a", [HUGE], I8, 0),
        build.tensor("b", [HUGE], I8, HUGE),
    ],
    "dims whose product wraps to 4": [build.tensor("a", [4194305, 4194305, 211106198978564], 0, 0)],
    "(4 * INT32_MAX)^2": [build.tensor("a", [4 * (2**31 - 1), 4 * (2**31 - 1)], 0, 0)],
    "offset past the end by one": [build.tensor("a", [4], 0, 1)],
    "offset 2^63": [build.tensor("a", [4], 0, 2**63)],
    "offset 2^64 - 1": [build.tensor("a", [4], 0, 2**64 - 1)],
}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_sizes_that_overflow_are_refused(name):
    assert not accepts(file_of(OVERFLOWS[name], bytes(64)))
    assert not accepts(file_of(OVERFLOWS[name], bytes(64)), strict=False)


@pytest.mark.parametrize("type_id", [4, 5, 31, 32, 33, 36, 37, 38, 43, 2**31, -1])
def test_removed_and_unknown_tensor_types_are_refused(type_id):
    assert not accepts(file_of([build.tensor("a", [256], type_id, 0)], bytes(4096)))


@pytest.mark.parametrize(
    ("alignment", "strict", "lenient"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (4, 0, 1),
        (8, 1, 1),
        (13, 0, 0),
        (64, 1, 1),
        (2**20, 1, 1),
        (2**21, 0, 1),
    ],
)
def test_alignments(alignment, strict, lenient):
    pair = build.pair("general.alignment", build.U32, alignment)
    content = build.file([pair], [build.tensor("a", [1], 0, 0)], bytes(4), alignment=alignment or 1)
    assert accepts(content) == bool(strict)
    assert accepts(content, strict=False) == bool(lenient)


def test_duplicates_that_differ_behind_a_nul_are_refused():
    pairs = [build.pair("a\0x", build.U8, 1), build.pair("a\0y", build.U8, 1)]
    tensors = [build.tensor("a\0x", [8], 0, 0), build.tensor("a\0y", [8], 0, 32)]
    for strict in (True, False):
        assert not accepts(file_of([], pairs=pairs), strict=strict)
        assert not accepts(file_of(tensors, bytes(64)), strict=strict)


def test_a_key_of_the_format_itself_is_an_ordinary_key():
    file = GGUFFile.from_buffer(file_of([], pairs=[build.pair("GGUF.version", build.U32, 7)]))
    assert dict(file.metadata) == {"GGUF.version": 7}


COUNTS = [2**16, 2**30, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]


def huge_claims():
    """Short files that claim to hold a lot, of every kind that is counted."""
    for count in COUNTS:
        yield build.file(n_pairs=count)
        yield build.file(n_tensors=count)
        yield build.file(n_pairs=1)[:24] + struct.pack("<Q", count)
        yield build.file([build.string("k") + struct.pack("<IQ", build.STR, count)])
        for item_type in range(13):
            array = build.array(item_type, [], count=count)
            yield build.file([build.pair("k", build.ARR, array)])
        inner = build.array(build.U8, [], count=count)
        yield build.file([build.pair("k", build.ARR, build.array(build.ARR, [inner]))])


MEASURE = """
import resource, sys, time
from ggufkit.errors import FormatError
from ggufkit.gguf.reader import GGUFFile
files = [open(path, "rb").read() for path in sys.argv[1:]]
limit = 512 << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
worst = 0
for content in files:
    for strict in (True, False):
        start = time.perf_counter()
        try:
            GGUFFile.from_buffer(content, strict=strict)
        except FormatError:
            pass
        else:
            sys.exit("accepted")
        worst = max(worst, time.perf_counter() - start)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(worst, grown)
"""


def test_huge_claims_cost_neither_time_nor_memory(tmp_path):
    paths = []
    for number, content in enumerate(huge_claims()):
        paths.append(tmp_path / f"{number}.gguf")
        paths[-1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    seconds, kib = map(float, done.stdout.split())
    assert seconds < 0.1
    assert kib < 8192


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage_ends_in_a_format_error_or_a_readable_file(data):
    content = bytearray(build.small(data.draw(st.sampled_from("<>"))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, len(content) - 8))
        kind = data.draw(st.sampled_from(["byte", "u32", "u64", "cut", "copy", "delete"]))
        if kind == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif kind in ("u32", "u64"):
            size = 4 if kind == "u32" else 8
            edge = data.draw(st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            content[at : at + size] = (edge % 2 ** (8 * size)).to_bytes(size, "little")
        elif kind == "cut":
            del content[at:]
            content += bytes(16)
        elif kind == "copy":
            content[at:at] = content[at : at + data.draw(st.integers(1, 64))]
        else:
            del content[at : at + data.draw(st.integers(1, 8))]
            content += bytes(8)
    for strict in (True, False):
        if accepts(content, strict=strict):
            file = GGUFFile.from_buffer(content, strict=strict)
            for name in file:
                assert file[name].data.nbytes == file.tensors[name].nbytes
