"""Split and merge, against the bytes of llama-gguf-split and against files made by hand."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import (
    BadValueError,
    GGUFKitError,
    MissingFileError,
    OutputError,
    TruncatedError,
)
from ggufkit.gguf.open import open_gguf
from ggufkit.toolbox.merge import merge
from ggufkit.toolbox.split import split
from tests import build

ROOT = Path(__file__).resolve().parents[2]


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(build.small())
    return path


def contents(path):
    with open_gguf(path) as model:
        return {name: model.read_bytes(info) for name, info in model.tensors.items()}


def left_over(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "small.gguf")


@pytest.mark.parametrize("model", ["llama", "qwen2"])
def test_bytes_are_those_of_llama_gguf_split(oracle, tmp_path, model):
    checkpoint = tmp_path / model
    script = oracle / "checkpoints" / "materialize.py"
    command = [sys.executable, script, model, checkpoint]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    folder = oracle / "expected" / model
    pre = json.loads((folder / "info.json").read_text())["pre"]
    source = tmp_path / "bf16.gguf"
    convert(checkpoint, source, ladder="BF16", pre=pre)
    before = tmp_path / source.name
    for name, want in json.loads((folder / "split.json").read_text()).items():
        (tmp_path / name).mkdir()
        options = [
            word.replace("--split-max", "--max")
            for word in want["command"][1:-2]
            if word != "--split"
        ]
        # after the first round, what was split before is split again
        assert main(["split", str(before), str(tmp_path / name / "split"), *options]) == 0
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == [file["file"] for file in want["files"]]
        assert [sha(path) for path in files] == [file["file_sha256"] for file in want["files"]]
        before = files[-1]
        merged = tmp_path / f"{name}.gguf"
        assert main(["merge", str(files[1]), str(merged)]) == 0
        assert sha(merged) == want["merged_sha256"]
        merge(files[0], merged, drop_split_keys=True, force=True)
        assert sha(merged) == sha(source)


@pytest.mark.parametrize("in_kernel", [True, False])
def test_every_kind_of_tensor_survives(small, tmp_path, monkeypatch, in_kernel):
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    done = []
    parts = split(small, tmp_path / "out.gguf", max_tensors=2, progress=done.append)
    assert [part.path.name for part in parts] == [f"out-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert sum(done) == 512 + 68 + 4 + 24 + 144
    assert contents(parts[0].path) == contents(small)
    again = split(parts[2].path, tmp_path / "again", max_bytes=500)
    assert contents(again[0].path) == contents(small)
    merge(again[1].path, tmp_path / "merged.gguf", drop_split_keys=True)
    assert sha(tmp_path / "merged.gguf") == sha(small)


def test_a_file_system_that_cannot_copy(small, tmp_path, monkeypatch):
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise OSError(errno.EXDEV, "not on this one")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    parts = split(small, tmp_path / "out", max_tensors=6)
    assert calls
    assert contents(parts[0].path) == contents(small)


def test_short_copies_go_on(small, tmp_path, monkeypatch):
    whole = os.copy_file_range
    monkeypatch.setattr(os, "copy_file_range", lambda a, b, n, *at: whole(a, b, min(n, 7), *at))
    parts = split(small, tmp_path / "out", max_tensors=6)
    assert contents(parts[0].path) == contents(small)


def test_default_is_128_tensors(tmp_path):
    tensors = [build.tensor(f"t{n}", [8], 0, 32 * n) for n in range(130)]
    path = tmp_path / "m.gguf"
    path.write_bytes(build.file((), tensors, bytes(32 * 130)))
    parts = split(path, tmp_path / "out", dry_run=True)
    assert [len(part.layout.tensors) for part in parts] == [128, 2]


def test_dry_run_writes_nothing(small, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(small), str(out), "--max-tensors", "2", "--json"]
    assert main(["split", *arguments, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert left_over(tmp_path) == []
    assert main(["split", *arguments]) == 0
    assert capsys.readouterr().out == planned
    for part in json.loads(planned):
        assert Path(part["path"]).stat().st_size == part["n_bytes"]
    first = json.loads(planned)[0]["path"]
    assert main(["merge", first, str(tmp_path / "m.gguf"), "--dry-run"]) == 0
    assert not (tmp_path / "m.gguf").exists()


def test_existing_files_are_kept_without_force(small, tmp_path):
    name = tmp_path / "out-00002-of-00003.gguf"
    name.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"00002.*--force"):
        split(small, tmp_path / "out", max_tensors=2)
    assert left_over(tmp_path) == [name.name]
    assert name.read_bytes() == b"mine"
    parts = split(small, tmp_path / "out", max_tensors=2, force=True)
    with pytest.raises(OutputError, match="exists"):
        merge(parts[0].path, small)
    assert contents(name) == contents(small)


def test_parts_may_be_replaced_while_they_are_read(small, tmp_path):
    parts = split(small, tmp_path / "out", max_tensors=2)
    split(parts[0].path, tmp_path / "out", max_bytes=540, force=True)
    split(parts[0].path, tmp_path / "out", max_tensors=2, force=True)
    assert contents(parts[0].path) == contents(small)
    merge(parts[0].path, parts[0].path, force=True, drop_split_keys=True)
    assert sha(parts[0].path) == sha(small)


def test_the_source_is_never_a_partial_file(small, tmp_path):
    source = tmp_path / "out-00001-of-00001.gguf.partial"
    small.rename(source)
    with pytest.raises(OutputError, match="the source"):
        split(source, tmp_path / "out")
    assert source.read_bytes() == build.small()


def test_a_file_that_is_not_split(small, tmp_path):
    with pytest.raises(BadValueError, match="not a part"):
        merge(small, tmp_path / "out.gguf")
    parts = split(small, tmp_path / "out", max_tensors=6)
    merge(parts[0].path, tmp_path / "merged.gguf")
    with pytest.raises(BadValueError, match="not a part"):
        merge(tmp_path / "merged.gguf", tmp_path / "again.gguf")


def test_alignment_is_the_parts_own(tmp_path):
    path = tmp_path / "m.gguf"
    tensors = [build.tensor(f"t{n}", [8], 0, 128 * n) for n in range(4)]
    data = b"".join(bytes([n]) * 32 + bytes(96) for n in range(4))
    pairs = [build.pair("general.alignment", build.U32, 128)]
    path.write_bytes(build.file(pairs, tensors, data, alignment=128))
    parts = split(path, tmp_path / "out", max_tensors=2)
    assert [part.layout.alignment for part in parts] == [128, 32]
    assert contents(parts[0].path) == {f"t{n}": bytes([n]) * 32 for n in range(4)}
    merge(parts[0].path, tmp_path / "merged.gguf", drop_split_keys=True)
    assert sha(tmp_path / "merged.gguf") == sha(path)


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_a_failure_leaves_no_part(small, tmp_path, monkeypatch, fail_at):
    calls = []

    def fsync(fd):
        calls.append(fd)
        if len(calls) == fail_at:
            raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="broken disk"):
        split(small, tmp_path / "out", max_tensors=2)
    assert left_over(tmp_path) == []


def test_a_source_that_shrinks_is_one_error(small, tmp_path, monkeypatch):
    size = small.stat().st_size
    check = os.path.lexists

    def shrink(path):
        os.truncate(small, size - 100)
        return check(path)

    monkeypatch.setattr(os.path, "lexists", shrink)
    with pytest.raises(TruncatedError, match="changed while in use"):
        split(small, tmp_path / "out", max_tensors=2)
    assert left_over(tmp_path) == []


def test_missing_or_broken_parts(small, tmp_path):
    parts = split(small, tmp_path / "out", max_tensors=2)
    parts[1].path.unlink()
    with pytest.raises(MissingFileError, match="part 2 of 3"):
        merge(parts[0].path, tmp_path / "m.gguf")
    parts[1].path.write_bytes(parts[0].path.read_bytes())
    with pytest.raises(GGUFKitError, match="00002"):
        merge(parts[0].path, tmp_path / "m.gguf")
    assert main(["split", str(small), str(tmp_path / "x"), "--max-size", "0"]) == 3


def test_a_kill_leaves_all_parts_or_partial_files_only(tmp_path):
    path = tmp_path / "small.gguf"
    tensors = [build.tensor(f"t{n}", [1 << 18], 0, n << 20) for n in range(8)]
    path.write_bytes(build.file((), tensors, os.urandom(8 << 20)))
    want = contents(path)
    code = "import ggufkit, sys; ggufkit.split(sys.argv[1], sys.argv[2], max_tensors=3)"
    command = [sys.executable, "-c", code, path, tmp_path / "out"]
    for delay in (0.05, 0.1, 0.13, 0.16, 0.2):
        process = subprocess.Popen(command, cwd=ROOT)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        final = [name for name in left_over(tmp_path) if name.endswith(".gguf")]
        if len(final) == 3:
            assert contents(tmp_path / final[0]) == want
        # the same command goes on, whatever was left
        parts = split(path, tmp_path / "out", max_tensors=3, force=True)
        assert contents(parts[0].path) == want
        assert len(left_over(tmp_path)) == 3
        for part in parts:
            part.path.unlink()
