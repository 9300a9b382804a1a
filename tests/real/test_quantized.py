"""MXFP4 experts that were never rounded, in the real llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufkit.converter.ladder import convert
from tests.real.llama_cpp import ask
from tests.toolbox.tiny_models import make

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")


def test_gpt_oss_says_with_its_blocks_what_it_says_with_the_same_weights_in_f32(
    tmp_path: Path,
) -> None:
    blocks = make("gpt_oss-mxfp4", tmp_path)
    wide = tmp_path / "wide.gguf"
    convert(blocks, wide, ladder="F32", allow_requantize=True)
    answers = ask("complete", "word1 word5", [blocks, wide])
    assert answers[blocks.name] == answers[wide.name] != ""
