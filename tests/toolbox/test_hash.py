"""Digests of files, tensors and weights, compared with hashlib on bytes made by hand."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.errors import FormatError, MissingFileError
from ggufkit.toolbox.hash import check_manifest, hash_file, manifest_line, read_manifest
from tests import build

ROOT = Path(__file__).resolve().parents[2]
A, B = bytes(range(64)), b"\x11" * 34


def sha(data):
    return hashlib.sha256(data).hexdigest()


def two_tensors(pairs=(), *, swapped=False, b=B):
    """F32 (2, 8) and Q8_0 (1, 32), in either order."""
    if swapped:
        tensors = [build.tensor("b", [32, 1], 8, 0), build.tensor("a", [8, 2], 0, 64)]
        return build.file(pairs, tensors, b + bytes(30) + A)
    tensors = [build.tensor("a", [8, 2], 0, 0), build.tensor("b", [32, 1], 8, 64)]
    return build.file(pairs, tensors, A + b + bytes(30))


WEIGHTS = sha(f'["a","F32",[2,8],"{sha(A)}"]\n["b","Q8_0",[1,32],"{sha(B)}"]\n'.encode())


def part(number, name, ne, type_id, data):
    pairs = [
        build.pair("split.no", build.U16, number),
        build.pair("split.count", build.U16, 2),
        build.pair("split.tensors.count", build.I32, 2),
    ]
    return build.file(pairs, [build.tensor(name, ne, type_id, 0)], data + bytes(-len(data) % 32))


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    paths[0].write_bytes(part(0, "b", [32, 1], 8, B))
    paths[1].write_bytes(part(1, "a", [8, 2], 0, A))
    return paths


@pytest.mark.parametrize("jobs", [1, 3])
def test_digests_of_a_file(tmp_path, jobs):
    path = tmp_path / "m.gguf"
    path.write_bytes(two_tensors() + b"surplus")
    read = []
    found = hash_file(path, jobs=jobs, progress=read.append)
    assert found.files == {path: sha(path.read_bytes())}
    assert found.tensors == {"a": sha(A), "b": sha(B)}
    assert found.weights == WEIGHTS
    assert sum(read) == path.stat().st_size


@pytest.mark.parametrize("jobs", [1, 2])
def test_tensors_larger_than_a_chunk(tmp_path, jobs):
    data = bytes(range(256)) * 4 * 2500
    path = tmp_path / "m.gguf"
    path.write_bytes(build.file((), [build.tensor("t", [len(data)], 24, 0)], data))
    found = hash_file(path, jobs=jobs)
    assert found.tensors == {"t": sha(data)}
    assert found.files == {path: sha(path.read_bytes())}


def test_every_kind_of_tensor_counts(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(build.small())
    found = hash_file(path)
    assert found.tensors["scalar"] == sha(b"\x33" * 0 + b"\x22" * 4)
    assert found.tensors["empty"] == sha(b"")
    assert found.tensors["d.weight"] == sha(b"\x44" * 144)


@pytest.mark.parametrize(
    "data",
    [
        two_tensors([build.pair("x.note", build.STR, "edited")]),
        two_tensors(swapped=True),
        build.file(
            [build.pair("general.alignment", build.U32, 128)],
            [build.tensor("a", [8, 2], 0, 0), build.tensor("b", [32, 1], 8, 128)],
            A + bytes(64) + B + bytes(94),
            alignment=128,
        ),
    ],
    ids=["metadata", "order", "alignment"],
)
def test_weights_digest_ignores_how_they_are_stored(tmp_path, data):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert hash_file(path).weights == WEIGHTS


def test_weights_digest_of_a_split_is_the_whole_files(parts):
    found = hash_file(parts[1])
    assert found.files == {path: sha(path.read_bytes()) for path in parts}
    assert found.weights == WEIGHTS


@pytest.mark.parametrize(
    "data",
    [
        two_tensors(b=b"\x11" * 33 + b"\x10"),
        build.file((), [build.tensor("a", [8, 2], 0, 0)], A),
        build.file(
            (),
            [build.tensor("a", [16], 0, 0), build.tensor("b", [32, 1], 8, 64)],
            A + B + bytes(30),
        ),
        build.file(
            (),
            [build.tensor("c", [8, 2], 0, 0), build.tensor("b", [32, 1], 8, 64)],
            A + B + bytes(30),
        ),
    ],
    ids=["data", "missing", "shape", "name"],
)
def test_weights_digest_tells_models_apart(tmp_path, data):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert hash_file(path).weights != WEIGHTS


def test_a_name_with_a_line_feed_is_no_second_tensor(tmp_path):
    forged = f'a","F32",[2,8],"{sha(A)}"]\n["b'
    path = tmp_path / "m.gguf"
    path.write_bytes(build.file((), [build.tensor(forged[:60], [32, 1], 8, 0)], B + bytes(30)))
    name = json.dumps(forged[:60])
    assert "\n" not in name
    assert hash_file(path).weights == sha(f'[{name},"Q8_0",[1,32],"{sha(B)}"]\n'.encode())


def test_output_is_a_manifest_for_sha256sum(parts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "odd\\na\nme.gguf"
    (tmp_path / name).write_bytes(two_tensors())
    assert main(["hash", "--tensors", parts[0].name, parts[1].name, name]) == 0
    text = capsys.readouterr().out
    assert text.count("# weights") == 2
    assert text.count(WEIGHTS) == 2
    assert f"# tensor   {sha(A)}  a\n" in text
    (tmp_path / "sums").write_text(text)
    assert [check.status for check in check_manifest(tmp_path / "sums")] == ["ok"] * 3
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "sums"], check=True)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"odd\xff.gguf")
    (tmp_path / name).write_bytes(two_tensors())
    command = [sys.executable, "-m", "ggufkit.cli.main", "hash", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert sha(two_tensors()).encode() + b"  odd\xff.gguf\n" in done.stdout
    (tmp_path / "sums").write_bytes(done.stdout)
    assert [check.status for check in check_manifest(tmp_path / "sums")] == ["ok"]


def test_json(parts, capsys):
    assert main(["hash", "--json", str(parts[0])]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["weights"] == WEIGHTS
    assert found["tensors"] == {"b": sha(B), "a": sha(A)}
    assert list(found["files"]) == [str(path) for path in parts]


def test_check_finds_what_differs_or_is_missing(tmp_path, capsys):
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "bad").write_bytes(b"bad")
    (tmp_path / "folder").mkdir()
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(
        f"{sha(b'good').upper()} *good\r\n\n{sha(b'good')}  bad\n{sha(b'')}  gone\n"
        f"{sha(b'')}  folder\n# a remark\n{sha(b'')}  {'n' * 5000}\n{sha(b'')}  nul\0\n"
    )
    statuses = {check.name: check.status for check in check_manifest(sums)}
    assert statuses == {
        "good": "ok", "bad": "different", "gone": "missing", "folder": "missing",
        "n" * 5000: "missing", "nul\0": "missing",
    }  # fmt: skip
    assert main(["hash", "--check", str(sums)]) == 1
    assert "bad: different\n" in capsys.readouterr().out
    sums.write_text(manifest_line(sha(b"good"), "good"))
    assert main(["hash", "--json", "--check", str(sums)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "good", "status": "ok"}]


@pytest.mark.parametrize("text", ["", "GGUF\n", "abc  name\n", f"{'0' * 64} name\n"])
def test_what_is_no_manifest(tmp_path, text):
    path = tmp_path / "sums"
    path.write_text(text)
    with pytest.raises(FormatError, match="sha256sum"):
        read_manifest(path)
    with pytest.raises(MissingFileError):
        read_manifest(tmp_path / "none")


@pytest.mark.parametrize("arguments", [[], ["FILE", "--check", "SUMS"]])
def test_files_or_a_manifest_not_both(arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["hash", *arguments])


def test_files_that_are_missing_or_broken(tmp_path, capsys):
    (tmp_path / "m.gguf").write_bytes(two_tensors()[:-40])
    assert main(["hash", str(tmp_path / "m.gguf")]) == 3
    assert main(["hash", str(tmp_path / "none.gguf")]) == 3
    assert "none.gguf: No such file" in capsys.readouterr().err
