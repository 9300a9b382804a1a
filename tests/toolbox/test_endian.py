"""Copies in another version, alignment or byte order, with gguf-py as second opinion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.codecs import CODECS, dequantize
from ggufkit.errors import BadLayoutError, BadValueError, OutputError, UnsupportedVersionError
from ggufkit.toolbox.copy import copy
from ggufkit.toolbox.endian import convert_endian, swap_blocks
from ggufkit.types import TensorType
from tests import build
from tests.llama import write_llama


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endian")
    names = "F32,F16,Q4_0,Q8_0,Q4_K_M"
    ggufkit.convert(write_llama(folder / "Tiny"), folder / "out", ladder=names)
    return folder / "out"


def read(path: Path) -> dict:
    with ggufkit.open(path, strict=False) as model:
        return {name: model.read_bytes(info) for name, info in model.tensors.items()}


def test_version_2_becomes_3_with_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "2.gguf").write_bytes(build.small(version=2))
    copy(tmp_path / "2.gguf", tmp_path / "3.gguf")
    assert (tmp_path / "3.gguf").read_bytes() == build.small()


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_another_alignment_is_what_gguf_py_reads(ladder, tmp_path: Path, alignment: int) -> None:
    path = next(ladder.glob("*Q4_K_M.gguf"))
    out = tmp_path / "out.gguf"
    copy(path, out, alignment=alignment)
    theirs = gguf.GGUFReader(out)
    assert theirs.alignment == alignment
    with ggufkit.open(path) as model:
        assert [t.name for t in theirs.tensors] == list(model)
        for tensor in theirs.tensors:
            assert tensor.data_offset % alignment == 0
            assert tensor.data.tobytes() == model[tensor.name].data.tobytes()
    copy(out, tmp_path / "back.gguf", alignment=32)
    assert (tmp_path / "back.gguf").read_bytes() == path.read_bytes()


def test_an_alignment_that_no_reader_takes_is_refused(ladder, tmp_path: Path) -> None:
    with pytest.raises(BadLayoutError, match="alignment is 48"):
        copy(next(ladder.glob("*F16.gguf")), tmp_path / "x.gguf", alignment=48)


@pytest.mark.parametrize("name", ["F32", "F16", "Q4_0", "Q8_0", "Q4_K_M"])
def test_big_endian_files_are_gguf_pys(ladder: Path, tmp_path: Path, name: str) -> None:
    path = next(ladder.glob(f"*-{name}.gguf"))
    convert_endian(path, tmp_path / "ours.gguf", "big")
    shutil.copy(path, tmp_path / "theirs.gguf")
    script = "from gguf.scripts.gguf_convert_endian import main; main()"
    command = [sys.executable, "-c", script, tmp_path / "theirs.gguf", "big"]
    done = subprocess.run(command, input="YES\n", capture_output=True, text=True, check=False)
    if done.returncode and "Cannot handle" in done.stderr:
        pytest.skip(f"gguf-py's converter does not know a type of {name}")
    assert done.returncode == 0, done.stderr
    ours = gguf.GGUFReader(tmp_path / "ours.gguf")
    theirs = gguf.GGUFReader(tmp_path / "theirs.gguf")
    for one, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert one.name == other.name
        assert one.data.tobytes() == other.data.tobytes()
    assert ours.fields.keys() == theirs.fields.keys()
    for key in ours.fields:
        assert ours.fields[key].contents() == theirs.fields[key].contents(), key


@pytest.mark.parametrize("name", ["F32", "F16", "Q4_0", "Q8_0", "Q4_K_M"])
def test_twice_is_once_too_often(ladder: Path, tmp_path: Path, name: str) -> None:
    path = next(ladder.glob(f"*-{name}.gguf"))
    convert_endian(path, tmp_path / "big.gguf", "big")
    convert_endian(tmp_path / "big.gguf", tmp_path / "little.gguf", "little")
    assert (tmp_path / "little.gguf").read_bytes() == path.read_bytes()
    assert (tmp_path / "big.gguf").read_bytes() != path.read_bytes()
    with pytest.raises(BadValueError, match="already big-endian"):
        convert_endian(tmp_path / "big.gguf", tmp_path / "x.gguf", "big")
    with pytest.raises(UnsupportedVersionError, match="convert-endian"):
        copy(tmp_path / "big.gguf", tmp_path / "x.gguf")


@pytest.mark.parametrize("tensor_type", list(CODECS), ids=lambda t: t.name)
def test_fields_of_every_type_are_turned(tensor_type: TensorType) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 4 * tensor_type.type_size, np.uint8).tobytes()
    swapped = swap_blocks(data, tensor_type)
    assert swap_blocks(swapped, tensor_type) == data
    layout = CODECS[tensor_type].layout
    wide = [f for f in layout.names or () if layout[f].base.itemsize > 1]
    assert (swapped != data) == (bool(wide) or (layout.names is None and layout.itemsize > 1))
    # read with fields in big-endian, the blocks are the same numbers
    turned = np.frombuffer(swapped, layout.newbyteorder(">")).astype(layout)
    with np.errstate(all="ignore"):
        same = dequantize(turned.view(np.uint8).reshape(1, -1), tensor_type)
        wanted = dequantize(np.frombuffer(data, np.uint8).reshape(1, -1), tensor_type)
    assert same.tobytes() == wanted.tobytes()


def test_commands_copy_and_convert(ladder: Path, tmp_path: Path, capsys) -> None:
    path = str(next(ladder.glob("*Q8_0.gguf")))
    out = str(tmp_path / "a.gguf")
    assert main(["copy", path, out, "--alignment", "64", "--dry-run"]) == 0
    assert not Path(out).exists()
    assert main(["copy", path, out, "--alignment", "64", "-q"]) == 0
    assert main(["copy", path, out]) == 3
    assert "--force" in capsys.readouterr().err
    assert main(["convert-endian", path, str(tmp_path / "b.gguf"), "big", "-q", "--json"]) == 0
    assert read(tmp_path / "a.gguf") == read(Path(path))


def test_a_full_or_existing_target_is_left_alone(ladder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("precious")
    with pytest.raises(OutputError):
        convert_endian(next(ladder.glob("*F16.gguf")), tmp_path / "x.gguf", "big")
    assert (tmp_path / "x.gguf").read_text() == "precious"
