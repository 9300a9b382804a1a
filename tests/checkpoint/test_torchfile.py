"""Torch's files: read like safetensors, and never run.

``torch/*.bin`` are files of torch 2.13; ``state_dict.json`` has the values that torch gives.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.safetensors import read_float32
from ggufkit.checkpoint.torch import archive, unpickle
from ggufkit.checkpoint.torch.torchfile import read_torch_header
from ggufkit.converter.ladder import convert
from ggufkit.errors import CheckpointError, UnsafePickleError
from tests.llama import write_llama

FILES = Path(__file__).parent / "torch"
STATE_DICT = (FILES / "state_dict.bin").read_bytes()
ELEMENTS = struct.pack("<6f", *range(6))


@pytest.fixture
def canary(tmp_path: Path, monkeypatch) -> Path:
    """A file that hostile pickles would create."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


def torch_file(path: Path, pickled: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", pickled)
        for name, data in ({"data/0": ELEMENTS} | entries).items():
            file.writestr(f"m/{name}", data)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def plain(value: object) -> bytes:
    """Return the opcodes of numbers and tuples."""
    return pickle.dumps(value, 2)[2:-1]  # without PROTO and STOP


def tensor(
    shape: tuple = (2, 3), strides: tuple = (3, 1), offset: int = 0, key: str = "0", n: int = 6
) -> bytes:
    """Return the opcodes of one tensor, as torch pickles it."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    arguments = plain(offset) + plain(shape) + plain(strides) + b"\x89N"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + plain(n) + b"tQ" + arguments + b"tR"


def state_dict(value: bytes) -> bytes:
    return b"\x80\x02}X\x01\0\0\0a" + value + b"s."


@pytest.mark.parametrize("name", ["state_dict.bin", "protocol4.bin"])
def test_values_are_those_of_torch(name: str) -> None:
    tensors = read_torch_header(FILES / name)
    wanted = json.loads((FILES / "state_dict.json").read_text())
    assert list(tensors) == list(wanted)
    for key, (_, shape, values) in wanted.items():
        got = read_float32(tensors[key])
        assert got.shape == tuple(shape)
        assert got.ravel().tolist() == np.array(values, np.float32).tolist(), key
        if shape and shape[0] > 1:
            assert np.array_equal(read_float32(tensors[key], slice(1, 3)), got[1:3]), key


def test_a_checkpoint_with_torch_files_gives_the_bytes_of_its_safetensors_twin(tmp_path) -> None:
    twin = write_llama(tmp_path / "a" / "tiny")
    folder = tmp_path / "b" / "tiny"
    folder.mkdir(parents=True)
    checkpoint = Checkpoint.open(twin)
    for path in twin.iterdir():
        if "safetensors" not in path.name:
            (folder / path.name).write_bytes(path.read_bytes())
    pickled, entries = b"\x80\x02}(", {}
    for i, name in enumerate(checkpoint.tensors):
        values = checkpoint.read(name)
        entries[f"data/{i}"] = values.tobytes()
        strides = tuple(step // 4 for step in values.strides)
        pickled += text(name) + tensor(values.shape, strides, key=str(i), n=values.size)
    torch_file(folder / "pytorch_model.bin", pickled + b"u.", **entries)
    convert(twin, tmp_path / "a.gguf", ladder="F32")
    convert(folder, tmp_path / "b.gguf", ladder="F32")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_files_of_old_torch_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"not a checkpoint of torch 1\.6 or later"):
        read_torch_header(FILES / "legacy.bin")


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


TOUCH = "touch canary"
HOSTILE = {
    "os.system": pickle.dumps({"a": Call(os.system, TOUCH)}, 2),
    "os.system in protocol 4": pickle.dumps({"a": Call(os.system, TOUCH)}, 4),
    "os.system in protocol 0": pickle.dumps({"a": Call(os.system, TOUCH)}, 0),
    "eval": pickle.dumps(Call(eval, "open('canary', 'w')"), 2),
    "exec in a list": pickle.dumps([[Call(exec, "open('canary', 'w')")]], 2),
    "getattr": pickle.dumps(Call(getattr, "", "join"), 2),
    "INST": b"(S'touch canary'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch canary'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nX\x0c\0\0\0touch canary\x85\x81.",
    "EXT1": b"\x80\x02\x82\x01.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
    "a storage class called": state_dict(b"ctorch\nFloatStorage\nK\x02\x85R"),
    "BUILD on a tensor": state_dict(tensor() + b"}b"),
    "numpy's loader": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n"
    b"X\x0c\0\0\0touch canary}\x86R.",
    "torch.load": b"\x80\x02ctorch\nload\nX\x0c\0\0\0touch canary\x85R.",
    "a name with dots": b"\x80\x04\x8c\x05torch\x8c\x12storage.os.systemx\x93.",
    "an ordered dict of calls": pickle.dumps(OrderedDict(a=Call(os.system, TOUCH)), 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_run(name: str, tmp_path: Path, canary: Path) -> None:
    path = torch_file(tmp_path / "pytorch_model.bin", HOSTILE[name])
    with pytest.raises(UnsafePickleError):
        read_torch_header(path)


def test_the_canary_can_sing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["os.system"])
    assert (tmp_path / "canary").exists()


DAMAGED = {
    "not a dict": (b"\x80\x02].", "expected a state dict"),
    "not tensors": (state_dict(b"K\x01"), "must be a tensor"),
    "no end": (b"\x80\x02}", "damaged"),
    "an empty stack": (b"\x80\x02}s.", "damaged"),
    "unknown memo": (b"\x80\x02h\x05.", "damaged"),
    "out of its storage": (state_dict(tensor((3, 3))), "exceeds its storage"),
    "behind its storage": (state_dict(tensor(offset=1)), "exceeds its storage"),
    "repeated by strides": (state_dict(tensor((2**20, 2**20), (0, 0))), "exceeds its storage"),
    "strides that overlap": (state_dict(tensor((6, 2), (0, 1))), "exceeds its storage"),
    "huge": (state_dict(tensor((2**62, 2**62), (1, 1))), "exceeds its storage"),
    "negative strides": (state_dict(tensor(strides=(-3, 1))), "not non-negative integers"),
    "missing storage": (state_dict(tensor(key="7")), "storage '7' is missing"),
    "shape and strides differ": (state_dict(tensor((6,), (3, 1))), "differ"),
    "deep": (b"\x80\x02" + b"(" * 5000 + b".", "nested too deep"),
    "keys that are tuples": (b"\x80\x02}))s.", "damaged"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "expected a state dict"),
    "doubled lists": (
        b"\x80\x02)q\x01" + b"h\x01h\x01\x86q\x01" * 99 + b".",
        "expected a state dict",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles(name: str, tmp_path: Path) -> None:
    pickled, message = DAMAGED[name]
    path = torch_file(tmp_path / "pytorch_model.bin", pickled)
    with pytest.raises(CheckpointError, match=message):
        read_torch_header(path)


def test_a_pickle_that_grows_is_stopped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_STACK", 1000)
    path = torch_file(tmp_path / "pytorch_model.bin", b"\x80\x02" + b"N" * 2000 + b".")
    with pytest.raises(CheckpointError, match="grows without limit"):
        read_torch_header(path)


def archive_of(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


GOOD = ("m/data.pkl", state_dict(tensor())), ("m/data/0", ELEMENTS)
ARCHIVES = {
    "compressed": (archive_of(*GOOD, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "no pickle": (archive_of(GOOD[1]), "data.pkl is missing"),
    "two top folders": (archive_of(*GOOD, ("n/data/1", b"")), "2 top folders"),
    "a name that differs": (archive_of(*GOOD).replace(b"m/data/0", b"m/data/1", 1), "differently"),
    "big-endian": (archive_of(*GOOD, ("m/byteorder", b"big")), "byte order"),
    "cut short": (archive_of(*GOOD)[:-30], "the end of the ZIP archive is missing"),
    "no archive": (b"PK\x03\x04", "the end of the ZIP archive is missing"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_torch_does_not_write(name: str, tmp_path: Path) -> None:
    data, message = ARCHIVES[name]
    (tmp_path / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        read_torch_header(tmp_path / "pytorch_model.bin")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_twice_or_overlapping_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(archive_of(*GOOD, GOOD[1]))
    with pytest.raises(CheckpointError, match="occurs twice"):
        read_torch_header(path)
    data = bytearray(archive_of(*GOOD, ("m/data/1", ELEMENTS)))
    first = data.find(b"m/data/0") - 30
    entry = data.rfind(b"PK\x01\x02")  # of data/1 in the directory: let it begin at data/0
    data[entry + 42 : entry + 46] = struct.pack("<I", first)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"overlaps|differently"):
        read_torch_header(path)


def test_a_directory_of_too_many_entries_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 1)
    with pytest.raises(CheckpointError, match="an archive with 2 entries"):
        read_torch_header(torch_file(tmp_path / "pytorch_model.bin", b""))


def test_damage_anywhere_is_an_error_or_harmless(tmp_path: Path, canary: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "pytorch_model.bin"
    for _ in range(2000):
        data = bytearray(STATE_DICT)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
        path.write_bytes(data[: rng.choice((None, None, rng.randrange(len(data))))])
        try:
            for found in read_torch_header(path).values():
                read_float32(found)
        except CheckpointError:
            pass


def test_tensors_of_torchao_are_refused_with_what_to_do() -> None:
    """``torchao-int8.bin`` is what torch.save makes of a weight that torchao 0.18 quantized."""
    with pytest.raises(UnsafePickleError, match="Save the model as safetensors"):
        read_torch_header(FILES / "torchao-int8.bin")
