from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufkit.errors import CheckpointError
from ggufkit.tokenizers.sentencepiece import parse_model
from tests.tokenizers.build import message, model_type, piece, varint

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures/checkpoints/llama/tokenizer.model"


def test_pieces_are_those_of_the_sentencepiece_library() -> None:
    library = pytest.importorskip("sentencepiece").SentencePieceProcessor()
    library.LoadFromFile(str(FIXTURE))
    model = parse_model(FIXTURE.read_bytes(), "m")
    ids = range(library.vocab_size())
    assert model.pieces == [library.IdToPiece(i) for i in ids]
    assert model.scores == [library.GetScore(i) for i in ids]
    tests = {2: library.IsUnknown, 3: library.IsControl, 5: library.IsUnused, 6: library.IsByte}
    for kind, is_kind in tests.items():
        assert [kind == found for found in model.types] == [is_kind(i) for i in ids]


def test_fields_that_are_absent_have_their_defaults() -> None:
    model = parse_model(message(1, message(1, b"a")), "m")
    assert (model.pieces, model.scores, model.types) == (["a"], [0.0], [1])
    assert model.model_type == 1
    assert model.add_dummy_prefix
    assert model.remove_extra_whitespaces
    assert model.precompiled_charsmap == b""


def test_unknown_fields_are_skipped() -> None:
    unknown = varint(9 << 3) + varint(300) + varint(8 << 3 | 1) + bytes(8) + message(7, b"xyz")
    model = parse_model(unknown + piece("a", 0.5, 4) + unknown + model_type(2), "m")
    assert (model.pieces, model.scores, model.types, model.model_type) == (["a"], [0.5], [4], 2)


MALFORMED = {
    "empty": (b"", "has no pieces"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": (b"this is no protobuf at all", "not a SentencePiece model"),
    "more than 10 bytes": (piece("a") + b"\x80" * 20, "more than 10 bytes"),
    "number cut off": (piece("a") + b"\x80", "not a SentencePiece model"),
    "length beyond the file": (message(1, b"")[:1] + varint(2**40), "truncated"),
    "length 2^63": (b"\x0a" + varint(2**63), "truncated"),
    "piece is a number": (varint(1 << 3) + varint(5), "wrong wire type"),
    "score is a number": (message(1, message(1, b"a") + varint(2 << 3) + b"\1"), "wire type"),
    "kind 9": (piece("a", 0, 9), "unknown type 9"),
    "kind is text": (message(1, message(3, b"x")), "unknown type"),
    "group": (b"\x0b", "wire type 3"),
    "not UTF-8": (piece(b"\xff"), "utf-8"),
    "NUL": (piece("a\0b"), "NUL"),
    "score is NaN": (piece("a", float("nan")), "score is NaN"),
    "64 KiB piece": (piece("a" * (65 << 10)), "longer than 65536"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    data, what = MALFORMED[case]
    with pytest.raises(CheckpointError, match=what) as error:
        parse_model(data, "folder/tokenizer.model")
    assert "folder/tokenizer.model" in str(error.value)


@given(st.binary(max_size=64), st.integers(0, 400), st.integers(0, 255))
def test_only_checkpoint_errors(tail: bytes, at: int, byte: int) -> None:
    data = bytearray(b"".join(piece(f"p{i}", i, 1) for i in range(30)) + model_type(1))
    data[at % len(data)] = byte
    for variant in (bytes(data) + tail, tail, bytes(data[:at])):
        try:
            model = parse_model(variant, "m")
        except CheckpointError:
            continue
        assert len(model.pieces) == len(model.scores) == len(model.types) > 0
