"""Writing: complete under the final name, or not there."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ggufkit.errors import BadLayoutError, OutputError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.writer import write
from ggufkit.io.atomic import PartialFile
from ggufkit.types import TensorType
from tests import build

ROOT = Path(__file__).resolve().parents[2]
METADATA = Metadata({"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "b"]})
TENSORS = [
    ("a", (2, 64), TensorType.F32),
    ("b", (2, 32), TensorType.Q8_0),
    ("s", (), TensorType.F32),
]
DATA = {
    "a": np.arange(128, dtype=np.float32).reshape(2, 64),
    "b": np.full((2, 34), 7, np.uint8),
    "s": np.array(3.5, np.float32),
}


def layout():
    return plan_layout(METADATA, TENSORS)


def expected():
    pairs = [
        build.pair("general.architecture", build.STR, "llama"),
        build.pair("tokenizer.ggml.tokens", build.ARR, build.array(build.STR, ["a", "b"])),
    ]
    tensors = [
        build.tensor("a", [64, 2], 0, 0),
        build.tensor("b", [32, 2], 8, 512),
        build.tensor("s", [], 0, 608),
    ]
    data = DATA["a"].tobytes() + b"\7" * 68 + bytes(28) + DATA["s"].tobytes() + bytes(28)
    return build.file(pairs, tensors, data)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_byte_for_byte(tmp_path):
    path = tmp_path / "x.gguf"
    assert write(path, layout(), DATA) == path
    assert path.read_bytes() == expected()
    assert names(tmp_path) == ["x.gguf"]


def test_data_may_come_as_any_iterable_of_arrays(tmp_path):
    path = tmp_path / "x.gguf"
    arrays = [DATA["a"].T.copy().T, DATA["b"][:, ::-1], DATA["s"]]
    write(path, layout(), iter(arrays))
    assert path.read_bytes() == expected()


def test_the_reader_of_gguf_py_takes_it(tmp_path):
    path = tmp_path / "x.gguf"
    write(path, layout(), DATA)
    reader = gguf.GGUFReader(path)
    assert reader.get_field("tokenizer.ggml.tokens").contents() == ["a", "b"]
    assert np.array_equal(reader.tensors[0].data, DATA["a"])
    assert np.array_equal(reader.tensors[1].data, DATA["b"])


@pytest.mark.parametrize("change", ["missing", "unknown", "short", "list_short", "list_long"])
def test_data_that_is_not_the_layouts_is_refused_and_leaves_nothing(tmp_path, change):
    data = dict(DATA)
    if change == "missing":
        del data["a"]
    elif change == "unknown":
        data["z"] = DATA["a"]
    elif change == "short":
        data["b"] = DATA["b"][:1]
    else:
        data = [*DATA.values()]
        data = data[:-1] if change == "list_short" else [*data, DATA["a"]]
    with pytest.raises(BadLayoutError):
        write(tmp_path / "x.gguf", layout(), data)
    assert names(tmp_path) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_written_is_read(tmp_path, data):
    kinds = st.sampled_from([TensorType.F32, TensorType.F16, TensorType.Q8_0, TensorType.Q4_K])
    tensors, arrays = [], []
    for number in range(data.draw(st.integers(0, 4))):
        kind = data.draw(kinds)
        rows = data.draw(st.lists(st.integers(0, 3), max_size=3))
        shape = (*rows, kind.block_size * data.draw(st.integers(0, 2)))
        tensors.append((f"t{number}", shape, kind))
        size = plan_layout(Metadata(), tensors).tensors[-1].nbytes
        arrays.append(np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8))
    path = tmp_path / "x.gguf"
    plan = plan_layout(METADATA, tensors)
    write(path, plan, arrays)
    assert path.stat().st_size == plan.file_size
    with GGUFFile.open(path) as file:
        assert dict(file.metadata) == dict(METADATA)
        assert tuple(file.tensors.values()) == plan.tensors
        for array, tensor in zip(arrays, file.values(), strict=True):
            assert tensor.data.tobytes() == array.tobytes()


def test_threads_write_one_file_in_any_order(tmp_path):
    blocks = [bytes([number]) * 1000 for number in range(100)]
    with PartialFile(tmp_path / "x", 100_000) as partial, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: partial.write_at(n * 1000, blocks[n]), reversed(range(100))))
        partial.publish()
    assert (tmp_path / "x").read_bytes() == b"".join(blocks)


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:7], at))
    write(tmp_path / "x.gguf", layout(), DATA)
    assert (tmp_path / "x.gguf").read_bytes() == expected()


def test_what_was_never_written_is_zero(tmp_path):
    with PartialFile(tmp_path / "x", 10) as partial:
        partial.write_at(3, b"abc")
        partial.write_at(10, b"")
        partial.publish()
    assert (tmp_path / "x").read_bytes() == b"\0\0\0abc\0\0\0\0"


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (9, 2), (10, 1), (2**63, 1)])
def test_writes_outside_the_file_are_refused(tmp_path, offset, size):
    with (
        PartialFile(tmp_path / "x", 10) as partial,
        pytest.raises(OutputError, match="reach behind"),
    ):
        partial.write_at(offset, bytes(size))


def test_closing_keeps_the_partial_file_and_a_later_run_resumes(tmp_path):
    with PartialFile(tmp_path / "x", 10) as partial:
        assert not partial.resumed
        partial.write_at(0, b"hello")
    assert names(tmp_path) == ["x.partial"]
    with PartialFile(tmp_path / "x", 10, resume=True) as partial:
        assert partial.resumed
        partial.write_at(5, b"world")
        partial.publish()
    assert (tmp_path / "x").read_bytes() == b"helloworld"


@pytest.mark.parametrize("options", [{"size": 10}, {"size": 11, "resume": True}])
@pytest.mark.parametrize("content", [b"GGUF456789", bytes(10)])
def test_a_partial_file_of_no_use_is_started_over(tmp_path, options, content):
    (tmp_path / "x.partial").write_bytes(content)
    with PartialFile(tmp_path / "x", **options) as partial:
        assert not partial.resumed
        partial.publish()
    assert (tmp_path / "x").read_bytes() == bytes(options["size"])


def test_a_partial_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "x.partial").write_bytes(b"0123456789")
    with pytest.raises(OutputError, match="not of ggufkit"):
        PartialFile(tmp_path / "x", 11, resume=True)
    assert (tmp_path / "x.partial").read_bytes() == b"0123456789"


def test_discard_removes_only_the_partial_file(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    partial = PartialFile(tmp_path / "x", 10)
    partial.discard()
    partial.discard()
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"
    with pytest.raises(ValueError, match="closed"):
        partial.write_at(0, b"a")


def test_a_file_of_that_name_is_replaced_at_once(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"old")
    with (tmp_path / "x.gguf").open("rb") as reader:
        write(tmp_path / "x.gguf", layout(), DATA)
        assert reader.read() == b"old"
    assert (tmp_path / "x.gguf").read_bytes() == expected()


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    first = PartialFile(tmp_path / "x", 4)
    with pytest.raises(OutputError, match="another process is writing"):
        PartialFile(tmp_path / "x", 4)
    first.write_at(0, b"mine")
    first.publish()
    assert (tmp_path / "x").read_bytes() == b"mine"
    PartialFile(tmp_path / "x", 4).discard()


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "partial_link", "no_folder"])
def test_odd_places_are_refused(tmp_path, kind):
    target = tmp_path / "x"
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep")
    if kind == "folder":
        target.mkdir()
    elif kind == "link":
        target.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "partial_link":
        (tmp_path / "x.partial").symlink_to(victim)
    else:
        target = tmp_path / "none" / "x"
    with pytest.raises(OutputError, match=str(target)):
        PartialFile(target, 4)
    assert victim.read_bytes() == b"keep"


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError, match="are free"):
        PartialFile(tmp_path / "x", 1 << 60)
    assert names(tmp_path) == []


FAILING = ["open", "ftruncate", "statvfs", "pwrite", "fsync"]


@pytest.mark.parametrize("call", FAILING)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_any_failing_call_leaves_the_old_file_and_no_descriptor(
    tmp_path, monkeypatch, call, number
):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"old")
    real = getattr(os, call)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for fail_at in range(1, 20):
        count = iter(range(1, 1000))

        def failing(*args, count=count, fail_at=fail_at, **kwargs):
            if next(count) == fail_at:
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, call, failing)
        try:
            write(path, layout(), DATA)
        except OutputError as error:
            failed = error
        else:
            break
        finally:
            monkeypatch.setattr(os, call, real)
        assert str(path) in str(failed)
        # Only a failing fsync of the folder comes after the rename.
        assert path.read_bytes() in (b"old", expected())
        assert not (tmp_path / "x.gguf.partial").exists()
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert fail_at > 1
    assert path.read_bytes() == expected()


JOB = """
import sys, time
from ggufkit.io.atomic import PartialFile
for number in range(1000):
    with PartialFile(sys.argv[1], 1 << 20) as partial:
        for at in range(0, 1 << 20, 1 << 16):
            partial.write_at(at, bytes([number % 256]) * (1 << 16))
        partial.publish()
"""


def test_a_killed_writer_leaves_a_whole_file_or_none(tmp_path):
    path = tmp_path / "x"
    for delay in (0.15, 0.2, 0.25, 0.31):
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, path], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        time.sleep(delay)
        job.send_signal(signal.SIGKILL)
        job.wait()
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 1 << 20
            assert len(set(content)) == 1
        assert set(names(tmp_path)) <= {"x", "x.partial"}
