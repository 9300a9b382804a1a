"""Errors against numpy in float64, with gguf-py's decoders as the second opinion."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import BadLayoutError, BadValueError, GGUFKitError, OutputError
from ggufkit.toolbox.compare.compare import compare
from ggufkit.toolbox.compare.measures import block_of, part_of
from ggufkit.types import TensorType
from tests.llama import write_llama

LADDER = ("Q2_K", "Q4_K_M", "Q8_0", "F16")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "tiny", n_layers=3)


@pytest.fixture(scope="module")
def imatrix(tmp_path_factory, source: Path) -> Path:
    """Importance of every matrix of the blocks, of an even and of a steep kind."""
    rng = np.random.default_rng(3)
    entries = {}
    for i in range(3):
        for name, n_cols in (("attn_q", 256), ("ffn_down", 512)):
            sums = (rng.random((1, n_cols)) ** 4 * 100).astype(np.float32)
            entries[f"blk.{i}.{name}.weight"] = ImatrixEntry(sums, np.ones(1, np.float32))
    path = tmp_path_factory.mktemp("imatrix") / "imatrix.gguf"
    Imatrix(entries, "imatrix.gguf").save(path)
    return path


@pytest.fixture(scope="module")
def rungs(tmp_path_factory, source: Path) -> list[Path]:
    out = tmp_path_factory.mktemp("rungs")
    return list(convert(source, out, ladder=",".join(LADDER)).paths)


@pytest.fixture(scope="module")
def exact(tmp_path_factory, source: Path) -> dict[str, np.ndarray]:
    """The source's weights, from its own F32 rung, in float64."""
    path = tmp_path_factory.mktemp("exact") / "f32.gguf"
    convert(source, path, ladder="F32")
    return decoded(path)


def decoded(path: Path) -> dict[str, np.ndarray]:
    """A file's weights by gguf-py."""
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64).ravel()
        for tensor in GGUFReader(path).tensors
    }


@pytest.mark.parametrize("jobs", [1, 3])
def test_errors_are_numpys(source: Path, rungs: list[Path], exact: dict, jobs: int) -> None:
    found = compare(source, rungs, jobs=jobs)
    assert [rung.name for rung in found.rungs] == list(LADDER)
    assert found.complete
    for rung, path in zip(found.rungs, rungs, strict=True):
        theirs = decoded(path)
        assert set(rung.measures) == set(exact) == set(theirs)
        for name, measure in rung.measures.items():
            x, y = exact[name], theirs[name]
            error = y - x
            assert measure.sums.n == x.size
            assert measure.sums.rmse == pytest.approx(math.sqrt(np.square(error).mean()), rel=1e-6)
            assert measure.sums.max_abs_error == pytest.approx(np.abs(error).max(), rel=1e-6)
            relative = np.linalg.norm(error) / np.linalg.norm(x)
            assert measure.relative == pytest.approx(relative, rel=1e-6)
            cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
            assert measure.sums.cosine == pytest.approx(cosine, abs=1e-7)
        whole = np.concatenate([theirs[name] - exact[name] for name in exact])
        norm = np.linalg.norm(np.concatenate(list(exact.values())))
        assert rung.total.relative == pytest.approx(np.linalg.norm(whole) / norm, rel=1e-6)
        assert rung.n_bytes == path.stat().st_size


def test_errors_are_weighted_by_importance(
    source: Path, rungs: list[Path], exact: dict, imatrix: Path
) -> None:
    found = compare(source, rungs, imatrix=imatrix)
    importance = {name: entry.importance for name, entry in Imatrix.open(imatrix).entries.items()}
    for rung, path in zip(found.rungs, rungs, strict=True):
        theirs = decoded(path)
        sums = np.zeros(2)
        for name, weights in importance.items():
            x, y = (v[name].reshape(-1, weights.shape[1]) for v in (exact, theirs))
            parts = np.array([(weights * np.square(v)).sum() for v in (y - x, x)])
            assert rung.measures[name].weighted == pytest.approx(
                math.sqrt(parts[0] / parts[1]), rel=1e-6
            )
            sums += parts
        assert rung.total.weighted == pytest.approx(math.sqrt(sums[0] / sums[1]), rel=1e-6)
    assert found.rungs[0].measures["blk.0.attn_k.weight"].weighted == 0


def test_tensors_larger_than_a_stretch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "blk.0.ffn_up_exps.weight": rng.standard_normal((5, 700, 512)).astype(np.float32),
        "output_norm.weight": rng.standard_normal(3_000_000).astype(np.float32),
    }
    for type_ in (TensorType.F32, TensorType.Q4_0):
        data = {name: (values, type_) for name, values in weights.items()}
        ggufkit.save(tmp_path / f"{type_.name}.gguf", {"general.architecture": "llama"}, data)
    entries = {
        "blk.0.ffn_up_exps.weight": ImatrixEntry(
            rng.random((5, 512)).astype(np.float32), np.ones(5, np.float32)
        )
    }
    Imatrix(entries, "i.gguf").save(tmp_path / "imatrix.gguf")
    found = compare(
        tmp_path / "F32.gguf", [tmp_path / "Q4_0.gguf"], imatrix=tmp_path / "imatrix.gguf"
    )
    theirs = decoded(tmp_path / "Q4_0.gguf")
    for name, values in weights.items():
        error = theirs[name] - values.ravel().astype(np.float64)
        expected = math.sqrt(np.square(error).mean())
        assert found.rungs[0].measures[name].sums.rmse == pytest.approx(expected, rel=1e-6)
    (name, entry), *_ = entries.items()
    wide = entry.importance[:, None, :].astype(np.float64)
    squares = [np.square(theirs[name].reshape(5, 700, 512) - weights[name]),
               np.square(weights[name], dtype=np.float64)]  # fmt: skip
    expected = math.sqrt((wide * squares[0]).sum() / (wide * squares[1]).sum())
    assert found.rungs[0].measures[name].weighted == pytest.approx(expected, rel=1e-6)


def test_files_of_the_same_type_keep_apart(source: Path, rungs: list[Path], tmp_path: Path) -> None:
    (tmp_path / rungs[1].name).write_bytes(rungs[1].read_bytes())
    found = compare(source, [rungs[1], tmp_path / rungs[1].name, rungs[2]])
    stem = rungs[1].name.removesuffix(".gguf")
    assert [rung.name for rung in found.rungs] == [stem, f"{stem} (2)", "Q8_0"]


def test_a_file_of_something_else_is_refused(source: Path, tmp_path: Path) -> None:
    data = {"something.weight": (np.ones((2, 32), np.float32), TensorType.F32)}
    path = ggufkit.save(tmp_path / "other.gguf", {"general.architecture": "llama"}, data)
    with pytest.raises(BadLayoutError, match="made from something else"):
        compare(source, [path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadValueError, match="no GGUF files"):
        compare(source, [tmp_path / "empty"])


def test_missing_and_extra_tensors_are_named(tmp_path: Path) -> None:
    one = np.ones((4, 32), np.float32)
    for name, shapes in (("a", {"x": one, "y": one}), ("b", {"x": one, "y": one[:2], "z": one})):
        data = {tensor: (values, TensorType.F32) for tensor, values in shapes.items()}
        ggufkit.save(tmp_path / f"{name}.gguf", {"general.architecture": "llama"}, data)
    found = compare(tmp_path / "a.gguf", [tmp_path / "b.gguf"])
    assert (found.rungs[0].missing, found.rungs[0].extra) == (("y",), ("z",))
    assert not found.complete
    assert main(["compare", str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")]) == 1


def test_weights_that_are_not_finite(tmp_path: Path, capsys) -> None:
    values = np.ones((2, 32), np.float32)
    broken = values.copy()
    broken[0, 3] = np.nan
    for name, array in (("a", values), ("b", broken)):
        raw = array.view(np.uint8)
        data = {"x": (raw, TensorType.F32), "y": (values, TensorType.F32)}
        ggufkit.save(tmp_path / f"{name}.gguf", {"general.architecture": "llama"}, data)
    assert main(["compare", *(str(tmp_path / f"{n}.gguf") for n in "ab"), "--json"]) == 0
    (rung,) = json.loads(capsys.readouterr().out)["rungs"]
    assert rung["errors"] is None
    assert [t["errors"] is None for t in rung["tensors"]] == [True, False]
    report = tmp_path / "r.html"
    args = ["compare", *(str(tmp_path / f"{n}.gguf") for n in "ab"), "--html", str(report)]
    assert main(args) == 0
    assert "not finite" in report.read_text()


def test_damaged_rungs_give_a_result_or_one_error(tmp_path: Path) -> None:
    values = np.ones((4, 64), np.float32)
    for type_ in ("F32", "Q4_0"):
        tensors = {f"blk.{i}.ffn_up.weight": (values, TensorType[type_]) for i in range(3)}
        ggufkit.save(tmp_path / f"{type_}.gguf", {"general.architecture": "llama"}, tensors)
    whole = (tmp_path / "Q4_0.gguf").read_bytes()
    damaged = tmp_path / "damaged.gguf"
    rng = random.Random(6)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.choice([0, 255, rng.randrange(256)])
        damaged.write_bytes(data)
        try:
            found = compare(tmp_path / "F32.gguf", [damaged], jobs=1)
            outcomes.add(bool(json.dumps(found.as_dict(), allow_nan=False)))
        except GGUFKitError:
            outcomes.add("error")
    assert outcomes == {True, "error"}


def test_parts_of_a_model() -> None:
    assert block_of("blk.12.attn_q.weight") == 12
    assert block_of("output.weight") is None
    assert part_of("blk.12.ffn_gate_exps.weight") == "ffn_gate_exps"
    assert part_of("blk.x.attn_q.weight") == "blk.x.attn_q"


def test_command(source: Path, rungs: list[Path], imatrix: Path, tmp_path: Path, capsys) -> None:
    folder = str(rungs[0].parent)
    assert main(["compare", str(source), folder, "--imatrix", str(imatrix), "--tensors"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny: 30 tensors")
    assert "weighted" in out
    assert out.count("blk.2.ffn_down.weight") == len(LADDER)
    assert main(["compare", str(source), folder, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [rung["name"] for rung in result["rungs"]] == list(LADDER)
    assert result["rungs"][3]["errors"]["relative"] < 1e-3


def test_a_report_replaces_nothing_unasked(source: Path, rungs: list[Path], tmp_path: Path) -> None:
    from ggufkit.cli.commands.compare import _check_output

    args = ["compare", str(source), str(rungs[1]), "-q", "--html"]
    assert main([*args, str(rungs[0])]) == 3
    assert rungs[0].read_bytes()[:4] == b"GGUF"
    out = tmp_path / "r.html"
    out.write_text("mine")
    assert main([*args, str(out)]) == 3
    assert out.read_text() == "mine"
    assert main([*args, str(out), "--force"]) == 0
    assert out.read_text().startswith("<!doctype html>")
    with pytest.raises(OutputError, match="no such folder"):
        _check_output(tmp_path / "none" / "r.html", force=False)
