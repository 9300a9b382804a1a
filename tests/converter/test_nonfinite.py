"""Weights that are NaN or infinite: refused, set to 0 or kept, and always reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.checkpoint import Checkpoint
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import ConversionError, NotFiniteError
from tests.llama import write_llama

NAN, INFINITY, MINUS_INFINITY = b"\xc0\x7f", b"\x80\x7f", b"\x80\xff"  # as bfloat16


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint with three damaged weights in one matrix."""
    folder = write_llama(tmp_path / "model")
    place = Checkpoint.open(folder).tensors["model.layers.1.mlp.up_proj.weight"]
    data = bytearray((folder / "model.safetensors").read_bytes())
    for index, bits in ((3 * 256 + 5, NAN), (7 * 256, INFINITY), (7 * 256 + 1, MINUS_INFINITY)):
        at = place.offset + 2 * index
        data[at : at + 2] = bits
    (folder / "model.safetensors").write_bytes(data)
    return folder


def weights(path: Path) -> np.ndarray:
    with ggufkit.open(path) as model:
        return ggufkit.dequantize(model["blk.1.ffn_up.weight"])


def test_the_first_one_is_named_and_nothing_is_published(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="row 3, column 5, nan, is NaN or infinite") as caught:
        convert(source, tmp_path / "out", ladder="Q4_K_M,Q8_0,F16")
    assert (caught.value.tensor, caught.value.index) == ("blk.1.ffn_up.weight", (3, 5))
    assert not list((tmp_path / "out").glob("*.gguf"))


def test_zero_makes_them_zero_in_every_rung(source: Path, tmp_path: Path) -> None:
    ladder = convert(source, tmp_path / "out", ladder="Q4_K_M,Q8_0,F16,BF16", nonfinite="zero")
    assert ladder.report.nonfinite == {"blk.1.ffn_up.weight": 3}
    for path in ladder.paths:
        found = weights(path)
        assert np.isfinite(found).all()
        assert (found[[3, 7, 7], [5, 0, 1]] == 0).all() or "Q4" in path.name
    total = ladder.report.of_rung(ladder.plan.rungs[0])
    assert total is not None
    assert np.isfinite([total.rmse, total.max_abs_error, total.cosine]).all()


def test_zero_also_holds_for_blocks_that_would_be_copied(source: Path, tmp_path: Path) -> None:
    kept = convert(source, tmp_path / "kept", ladder="F16", nonfinite="keep").paths[0]
    zeroed = convert(kept, tmp_path / "zeroed", ladder="F16", nonfinite="zero").paths[0]
    assert np.isfinite(weights(zeroed)).all()
    assert np.isnan(weights(kept)[3, 5])


def test_keep_keeps_their_bits_in_float_types(source: Path, tmp_path: Path) -> None:
    ladder = convert(source, tmp_path / "out", ladder="BF16,F16,F32", nonfinite="keep")
    for path in ladder.paths:
        found = weights(path)
        assert np.isnan(found[3, 5])
        assert found[7, :2].tolist() == [np.inf, -np.inf]
        assert np.count_nonzero(~np.isfinite(found)) == 3
    total = ladder.report.of_rung(ladder.plan.rungs[0])
    assert total is not None
    assert np.isfinite(total.rmse)


def test_keep_never_writes_a_block_with_a_broken_scale(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        convert(source, tmp_path / "out", ladder="Q8_0", nonfinite="keep")
    assert not list((tmp_path / "out").glob("*.gguf"))


def test_another_choice_makes_the_files_again(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", ladder="F16", nonfinite="keep")
    path = convert(source, tmp_path / "out", ladder="F16", nonfinite="zero", force=True).paths[0]
    assert np.isfinite(weights(path)).all()


def test_other_choices_do_not_exist(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="error, zero, keep"):
        convert(source, tmp_path / "out", nonfinite="ignore")


def test_the_command_says_what_became_of_them(source: Path, tmp_path: Path, capsys) -> None:
    command = ["convert", str(source), "-o", str(tmp_path / "out"), "--ladder", "Q8_0", "-q"]
    assert main(command) == 3
    assert "--nonfinite" in capsys.readouterr().err
    assert main([*command, "--nonfinite", "zero"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "blk.1.ffn_up.weight: 3 weights that are NaN or infinite were set to 0." in shown
