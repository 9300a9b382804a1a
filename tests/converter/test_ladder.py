"""The ladder as a whole: files, sums, names, options, order of work."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.checkpoint.safetensors import FIRST_BYTES, _samples
from ggufkit.converter.execution import execute as execute_module
from ggufkit.converter.ladder import convert, open_source, plan_ladder, run_plan
from ggufkit.converter.sources.row_readers import CheckpointReader
from ggufkit.errors import (
    ConversionError,
    GGUFKitError,
    ImportanceRequiredError,
    NotFiniteError,
    OutputError,
    UnknownArchitectureError,
)
from ggufkit.gguf.open import open_gguf
from tests.llama import write_llama

LADDER = "Q2_K,Q4_K_M,Q8_0,BF16"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "Tiny-Test", vocab=4096)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.gguf")}


def test_files_sums_and_record_agree(source: Path, tmp_path: Path) -> None:
    ladder = convert(source, tmp_path, ladder=LADDER)
    sums = dict(
        line.split("  ")[::-1] for line in (tmp_path / "SHA256SUMS").read_text().split("\n")[:-1]
    )
    assert sums == digests(tmp_path)
    record = json.loads((tmp_path / "ladder.json").read_text())["files"]
    assert {name: entry["sha256"] for name, entry in record.items()} == sums
    assert [path.stat().st_size for path in ladder.paths] == [r.n_bytes for r in ladder.plan.rungs]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*sums, "SHA256SUMS", "ladder.json"]
    )


def test_errors_are_those_of_the_decoded_file(source: Path, tmp_path: Path) -> None:
    ladder = convert(source, tmp_path, ladder="Q4_K_M,F32")
    rung = ladder.plan.rungs[0]
    name = "blk.1.ffn_down.weight"
    with ggufkit.open(ladder.paths[0]) as coarse, ggufkit.open(ladder.paths[1]) as exact:
        got = ggufkit.dequantize(coarse[name]).astype(np.float64).ravel()
        want = ggufkit.dequantize(exact[name]).astype(np.float64).ravel()
    measured = ladder.report.of_tensor(rung, name)
    assert measured is not None
    assert measured.rmse == pytest.approx(np.sqrt(np.mean((got - want) ** 2)), rel=1e-5)
    assert measured.max_abs_error == pytest.approx(np.abs(got - want).max(), rel=1e-6)
    cosine = got @ want / np.linalg.norm(got) / np.linalg.norm(want)
    assert measured.cosine == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_bytes_do_not_depend_on_jobs_or_chunks(
    source: Path, tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(source, tmp_path / "plain", ladder=LADDER, jobs=1)
    monkeypatch.setattr("ggufkit.converter.planning.plan.CHUNK_WEIGHTS", 7000 * jobs)
    convert(source, tmp_path / "other", ladder=LADDER, jobs=jobs)
    assert digests(tmp_path / "plain") == digests(tmp_path / "other")


def test_processes_give_the_same_bytes_as_threads(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "threads", ladder=LADDER)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        convert(source, tmp_path / "processes", ladder=LADDER, executor=pool)
    assert digests(tmp_path / "threads") == digests(tmp_path / "processes")


def test_a_gguf_source_can_be_sent_to_processes(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "bf16.gguf", ladder="BF16")
    convert(tmp_path / "bf16.gguf", tmp_path / "threads", ladder="Q4_0,Q6_K")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        convert(tmp_path / "bf16.gguf", tmp_path / "processes", ladder="Q4_0,Q6_K", executor=pool)
    assert digests(tmp_path / "threads") == digests(tmp_path / "processes")


def test_each_weight_is_read_once_and_encoded_once_per_type(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_source(source)
    plan = plan_ladder(opened, tmp_path, "Q3_K_M,Q4_K_S,Q4_K_M,Q5_K_M")
    encoded: list[int] = []
    real_quantize = execute_module.quantize
    monkeypatch.setattr(
        execute_module,
        "quantize",
        lambda values, *a, **kw: encoded.append(values.size) or real_quantize(values, *a, **kw),
    )
    reads: list[int] = []
    real_read = CheckpointReader.read
    monkeypatch.setattr(
        CheckpointReader,
        "read",
        lambda self, rows: (
            reads.append(self.shape[-1] * (rows.stop - rows.start)) or real_read(self, rows)
        ),
    )
    run_plan(plan, jobs=1)
    n_weights = plan.rungs[0].n_weights
    assert sum(reads) == n_weights
    wanted = sum(
        tensor.n_rows * tensor.n_cols * len({rung.encoding(tensor.name) for rung in plan.rungs})
        for tensor in opened.tensors
    )
    assert sum(encoded) == wanted < 4 * n_weights


def test_a_finished_ladder_is_left_alone_and_grows_by_new_rungs(
    source: Path, tmp_path: Path
) -> None:
    first = convert(source, tmp_path, ladder="Q4_0,Q8_0")
    before = {path: path.stat().st_mtime_ns for path in first.paths}
    again = convert(source, tmp_path, ladder="Q4_0,Q6_K,Q8_0")
    assert again.done_before == ("Q4_0", "Q8_0")
    assert {path: path.stat().st_mtime_ns for path in first.paths} == before
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3


def test_a_file_of_another_origin_is_not_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.gguf"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--force"):
        convert(source, out, ladder="Q8_0")
    assert out.read_bytes() == b"precious"
    convert(source, out, ladder="Q8_0", force=True)
    assert out.read_bytes()[:4] == b"GGUF"


def change(path: Path, offset: int) -> None:
    """Change a byte of a file; its size and times stay."""
    status = path.stat()
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_source_is_known_by_its_content(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    first = convert(source, tmp_path / "out", ladder="Q8_0")
    (source / "model.safetensors").touch()
    assert convert(source, tmp_path / "out", ladder="Q8_0").done_before == ("Q8_0",)
    # another model of the same name, size and times
    change(source / "model.safetensors", -2)
    with pytest.raises(OutputError, match="from this source"):
        convert(source, tmp_path / "out", ladder="Q8_0")
    before = first.paths[0].read_bytes()
    convert(source, tmp_path / "out", ladder="Q8_0", force=True)
    assert first.paths[0].read_bytes() != before


def test_a_gguf_source_is_known_by_its_content(tmp_path: Path) -> None:
    convert(write_llama(tmp_path / "model"), tmp_path / "m.gguf", ladder="BF16")
    convert(tmp_path / "m.gguf", tmp_path / "out", ladder="Q8_0")
    assert convert(tmp_path / "m.gguf", tmp_path / "out", ladder="Q8_0").done_before
    change(tmp_path / "m.gguf", -2)
    with pytest.raises(OutputError, match="from this source"):
        convert(tmp_path / "m.gguf", tmp_path / "out", ladder="Q8_0")


def test_samples_cover_a_large_file_up_to_its_end() -> None:
    size = 10 << 30
    ranges = list(_samples(size))
    assert ranges[0] == (0, FIRST_BYTES)
    assert ranges[-1][1] == size
    assert sum(stop - start for start, stop in ranges) < 8 << 20


@pytest.mark.parametrize("kind", ["checkpoint", "gguf"])
@pytest.mark.parametrize("how", ["in place", "replaced", "cut", "longer"])
def test_a_source_that_changes_in_mid_run_is_refused(
    tmp_path: Path, kind: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_llama(tmp_path / "model")
    file = source / "model.safetensors"
    if kind == "gguf":
        convert(source, tmp_path / "m.gguf", ladder="BF16")
        source = file = tmp_path / "m.gguf"
    real, n_run = execute_module.run_task, []

    def run_task(task, **options):
        n_run.append(task)
        if len(n_run) == 3:
            raw = file.read_bytes()
            if how == "in place":
                change(file, -2)
            elif how == "replaced":
                (tmp_path / "new").write_bytes(raw[:-2] + b"xx")
                (tmp_path / "new").replace(file)
            else:
                os.truncate(file, len(raw) + (-64 if how == "cut" else 64))
        return real(task, **options)

    monkeypatch.setattr(execute_module, "run_task", run_task)
    with pytest.raises(GGUFKitError, match="changed during the conversion"):
        convert(source, tmp_path / "out", ladder="Q8_0,Q4_0", jobs=1)
    assert len(n_run) >= 3
    assert not list((tmp_path / "out").glob("*.gguf"))


OWN = {
    "a file": lambda path: path.write_bytes(b"GGUF of mine"),
    "a folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("elsewhere"),
    "a fifo": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("own", OWN)
def test_a_stopped_run_gives_no_right_to_other_names(
    tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_llama(tmp_path / "model"), tmp_path / "out"
    real = execute_module.run_task
    n_run = []

    def stop(task, **options):
        n_run.append(task)
        if len(n_run) == 4:
            raise OutputError("stopped")
        return real(task, **options)

    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "run_task", stop)
        with pytest.raises(OutputError, match="stopped"):
            convert(source, out, ladder="Q2_K", jobs=1)
    assert list(out.glob(".*journal"))
    mine = out / next(out.glob("*Q2_K.gguf.partial")).name.replace("Q2_K", "Q4_K_M")[:-8]
    OWN[own](mine)
    with pytest.raises(OutputError):
        convert(source, out, ladder="Q2_K,Q4_K_M")
    assert os.path.lexists(mine)
    if own == "a file":
        assert mine.read_bytes() == b"GGUF of mine"
    if own == "a link":
        assert not (out / "elsewhere").exists()


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    convert(source, tmp_path / "out", ladder="Q8_0")
    change(source / "model.safetensors", -1)
    with pytest.raises(OutputError, match="from this source"):
        convert(source, tmp_path / "out", ladder="Q8_0")


def test_splits_join_to_the_same_tensors(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "whole.gguf", ladder="Q4_K_M")
    limits = ggufkit.SplitLimits(max_bytes=300_000)
    ladder = convert(source, tmp_path / "parts.gguf", ladder="Q4_K_M", split=limits)
    assert len(ladder.paths) > 2
    assert ladder.paths[0].name == f"parts-00001-of-{len(ladder.paths):05d}.gguf"
    with open_gguf(tmp_path / "whole.gguf") as whole, open_gguf(ladder.paths[1]) as parts:
        assert list(whole) == list(parts)
        assert all((whole[name].data == parts[name].data).all() for name in whole)


def test_a_range_leaves_out_what_needs_importance_and_a_list_refuses(
    source: Path, tmp_path: Path
) -> None:
    opened = open_source(source)
    plan = plan_ladder(opened, tmp_path, "Q2_K_S:Q3_K_S")
    assert [rung.name for rung in plan.rungs] == ["Q2_K", "Q3_K_S"]
    assert "importance matrix" in plan.skipped["Q2_K_S"]
    with pytest.raises(ImportanceRequiredError, match="--imatrix"):
        plan_ladder(opened, tmp_path, "Q2_K_S")


def test_nan_is_reported_with_its_place_and_nothing_is_published(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model", vocab=320)
    path = source / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2:] = b"\xc0\x7f"  # the last bfloat16 of the last tensor: NaN
    path.write_bytes(data)
    with pytest.raises(NotFiniteError) as caught:
        convert(source, tmp_path / "out", ladder="Q4_K_M,Q8_0")
    assert (caught.value.tensor, caught.value.index) == ("output_norm.weight", (0, 255))
    assert not list((tmp_path / "out").glob("*.gguf"))


def test_an_unknown_class_is_refused_by_name(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "architectures": ["StrangeLM"]}))
    with pytest.raises(UnknownArchitectureError, match="StrangeLM"):
        convert(source, tmp_path / "out")


def test_one_file_holds_one_rung(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="folder"):
        convert(source, tmp_path / "x.gguf", ladder="Q4_0,Q8_0")


def test_a_quantized_source_needs_permission(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "q8.gguf", ladder="Q8_0")
    with pytest.raises(ConversionError, match="--allow-requantize"):
        convert(tmp_path / "q8.gguf", tmp_path / "out", ladder="Q4_0")
    convert(tmp_path / "q8.gguf", tmp_path / "out", ladder="Q4_0", allow_requantize=True)


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys, resource; from ggufkit import convert; "
        "convert(sys.argv[1], sys.argv[2], ladder='Q4_K_M,Q8_0', jobs=2); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for n_layers in (1, 12):
        source = write_llama(tmp_path / f"m{n_layers}", n_layers=n_layers, hidden=1024, ffn=4096)
        command = [sys.executable, "-c", code, source, tmp_path / f"out{n_layers}"]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    small, large = peaks
    # 12 layers hold 370 MB of bfloat16 more than one: a loader of whole models would show it
    assert large - small < 80_000, peaks


def test_quantized_rungs_drop_leading_ones_as_llama_quantize_does(tmp_path: Path) -> None:
    tensors = {
        "token_types.weight": (np.ones((1, 256), np.float32), ggufkit.TensorType.F32),
        "blk.0.ffn_up.weight": (np.ones((2, 256), np.float32), ggufkit.TensorType.F32),
    }
    ggufkit.save(tmp_path / "f32.gguf", {"general.architecture": "made-up"}, tensors)
    (path,) = convert(tmp_path / "f32.gguf", tmp_path / "q8.gguf", ladder="Q8_0").paths
    with ggufkit.open(path) as file:
        assert file.tensors["token_types.weight"].shape == (256,)
        assert file.tensors["blk.0.ffn_up.weight"].shape == (2, 256)
