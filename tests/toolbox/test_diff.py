"""Differences of files made by hand, with errors computed in float64 by numpy."""

import json
import math

import numpy as np
import pytest

from ggufkit.cli.main import main
from ggufkit.errors import MissingFileError
from ggufkit.toolbox.diff import diff
from tests import build

F32, F16 = 0, 1


@pytest.fixture
def files(tmp_path):
    """Write two files and return their paths."""

    def make(a, b):
        for name, data in [("a", a), ("b", b)]:
            (tmp_path / f"{name}.gguf").write_bytes(data)
        return tmp_path / "a.gguf", tmp_path / "b.gguf"

    return make


def model(arrays, pairs=()):
    """A file of float32 and float16 arrays by name."""
    tensors, data = [], b""
    for name, array in arrays.items():
        raw = array.tobytes()
        type_id = {"float32": F32, "float16": F16}[array.dtype.name]
        tensors.append(build.tensor(name, array.shape[::-1], type_id, len(data)))
        data += raw + bytes(-len(raw) % 32)
    return build.file(pairs, tensors, data)


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_a_file_is_the_same_as_itself(files, capsys):
    paths = files(build.small(), build.small())
    found = diff(*paths)
    assert not found
    assert (found.metadata, found.tensors, found.n_tensors, found.errors) == ((), (), 6, None)
    assert main(["diff", *map(str, paths)]) == 0
    assert capsys.readouterr().out == "The same metadata, tensors and weights.\n"


@pytest.mark.parametrize("jobs", [1, 3])
def test_errors_are_those_of_numpy_over_several_chunks(files, jobs):
    a = weights(1100, 1024)
    b = a.astype(np.float16)
    b[700, 5] += 1
    (found,) = diff(*files(model({"t": a}), model({"t": b})), jobs=jobs).tensors
    assert (found.kind, found.a.type.name, found.b.type.name) == ("type", "F32", "F16")
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    assert found.errors.n == a.size
    assert math.isclose(found.errors.rmse, np.sqrt(np.mean((x - y) ** 2)), rel_tol=1e-5)
    assert math.isclose(found.errors.max_abs_error, abs(x - y).max(), rel_tol=1e-6)
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert math.isclose(found.errors.cosine, cosine, rel_tol=1e-6)


def test_one_bit_in_a_late_chunk_is_found(files):
    a = weights(1100, 1024)
    b = a.copy()
    b.view(np.uint32)[1099, 1023] ^= 1
    same = weights(4, seed=1)
    found = diff(*files(model({"t": a, "s": same}), model({"t": b, "s": same})))
    assert [(tensor.name, tensor.kind) for tensor in found.tensors] == [("t", "data")]
    assert found.errors.max_abs_error == abs(float(a[-1, -1]) - float(b[-1, -1])) > 0


def test_bytes_that_mean_the_same_still_differ(files):
    zero = np.zeros(4, np.float32)
    (found,) = diff(*files(model({"t": zero}), model({"t": -zero}))).tensors
    assert found.kind == "data"
    assert (found.errors.rmse, found.errors.cosine) == (0.0, 1.0)


def test_tensors_that_are_missing_or_of_another_shape(files):
    a = model({"gone": weights(2), "shape": weights(2, 3), "type": weights(4)})
    b = model({"shape": weights(3, 2), "new": weights(5), "type": weights(4).astype(np.float16)})
    found = diff(*files(a, b))
    kinds = {tensor.name: tensor.kind for tensor in found.tensors}
    assert kinds == {"gone": "only in A", "shape": "shape", "type": "type", "new": "only in B"}
    assert found.n_tensors == 4
    measured = [tensor.name for tensor in found.tensors if tensor.errors]
    assert measured == ["type"]
    assert found.tensors[0].b is None
    assert found.tensors[-1].a is None


def test_weights_that_are_not_finite(files, capsys):
    a, b = weights(8), weights(8)
    b[3] = np.nan
    paths = files(model({"t": a}), model({"t": b}))
    assert main(["diff", *map(str, paths)]) == 1
    assert "not finite" in capsys.readouterr().out
    assert main(["diff", "--json", *map(str, paths)]) == 1
    assert json.loads(capsys.readouterr().out)["tensors"][0]["errors"] is None


def test_metadata_added_removed_and_changed(files):
    a = [
        build.pair("same", build.F32, math.nan),
        build.pair("gone", build.U8, 1),
        build.pair("value", build.STR, "old"),
        build.pair("type", build.U32, 7),
        build.pair("items", build.ARR, build.array(build.I32, [1, 2])),
        build.pair("zero", build.F64, 0.0),
    ]
    b = [
        build.pair("value", build.STR, "new"),
        build.pair("zero", build.F64, -0.0),
        build.pair("type", build.I32, 7),
        build.pair("items", build.ARR, build.array(build.U32, [1, 2])),
        build.pair("same", build.F32, math.nan),
        build.pair("new", build.BOOL, 1),
    ]
    found = diff(*files(build.file(a), build.file(b)))
    keys = {pair.key: (pair.a is None, pair.b is None) for pair in found.metadata}
    assert keys == {
        "gone": (False, True),
        "value": (False, False),
        "type": (False, False),
        "items": (False, False),
        "zero": (False, False),
        "new": (True, False),
    }
    value = next(pair for pair in found.metadata if pair.key == "value")
    assert (value.a.value, value.b.value) == ("old", "new")


def test_storage_is_no_difference(files, tmp_path, capsys):
    x, y = weights(8), weights(4, seed=1)
    keys = [build.pair("x", build.U8, 1), build.pair("y", build.U8, 2)]
    a, b = files(model({"x": x, "y": y}, keys), model({"y": y, "x": x}, keys[::-1]))
    found = diff(a, b)
    assert not found
    assert found.reordered
    assert main(["diff", str(a), str(b)]) == 0
    assert "another order" in capsys.readouterr().out
    for number, arrays in enumerate([{"x": x}, {"y": y}]):
        split = [
            build.pair("split.no", build.U16, number),
            build.pair("split.count", build.U16, 2),
            build.pair("split.tensors.count", build.I32, 2),
        ]
        path = tmp_path / f"m-0000{number + 1}-of-00002.gguf"
        path.write_bytes(model(arrays, keys * (number == 0) + split))
    assert not diff(a, path)
    assert not diff(path, b)


def test_no_data_reads_no_weights(files):
    paths = files(model({"t": weights(8)}), model({"t": weights(8, seed=1)}))
    found = diff(*paths, data=False)
    assert not found
    assert not found.data_compared
    assert main(["diff", "--no-data", *map(str, paths)]) == 0
    assert main(["diff", *map(str, paths)]) == 1


def test_progress_counts_every_byte(files):
    a = {"same": weights(64), "data": weights(32), "type": weights(8)}
    b = {"same": weights(64), "data": weights(32, seed=1), "type": weights(8).astype(np.float16)}
    done = []
    diff(*files(model(a), model(b)), progress=done.append)
    assert sum(done) == 2 * 64 * 4 + 2 * 32 * 4 + 8 * 6


def test_long_values_are_shown_from_their_difference_on(files, capsys):
    text = "x" * 500
    a = [
        build.pair("text", build.STR, text + "old" + text),
        build.pair("tokens", build.ARR, build.array(build.STR, ["a"] * 90 + ["\x1b[31m"] * 9)),
    ]
    b = [
        build.pair("text", build.STR, text + "new" + text),
        build.pair("tokens", build.ARR, build.array(build.STR, ["a"] * 90 + ["B"] * 3)),
    ]
    paths = files(build.file(a), build.file(b))
    assert main(["diff", *map(str, paths)]) == 1
    out = capsys.readouterr().out
    assert "... xxxxxxxxxxxxxxxxold" in out
    assert "... xxxxxxxxxxxxxxxxnew" in out
    assert '[90]: "\\u001b[31m", ' in out
    assert '[90]: "B", "B", "B"\n' in out
    assert "string[99]" in out
    assert max(map(len, out.splitlines())) < 120


def test_json_shows_everything(files, capsys):
    a = model({"t": weights(2)}, [build.pair("k", build.F32, math.inf)])
    b = model({"t": weights(2).astype(np.float16)}, [build.pair("k", build.STR, "z" * 200)])
    assert main(["diff", "--json", *map(str, files(a, b))]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["metadata"] == [
        {"key": "k", "a": {"type": "FLOAT32", "value": "inf"},
         "b": {"type": "STRING", "value": "z" * 200}}
    ]  # fmt: skip
    (tensor,) = found["tensors"]
    assert tensor["kind"] == "type"
    assert tensor["a"] == {"type": "F32", "shape": [2], "n_bytes": 8}
    assert tensor["errors"].keys() == {"rmse", "max_error", "cosine"}
    assert found["same"] is False


def test_a_missing_file_is_one_error(files, tmp_path):
    a, _ = files(build.small(), build.small())
    with pytest.raises(MissingFileError):
        diff(a, tmp_path / "none.gguf")
    assert main(["diff", str(a), str(tmp_path / "none.gguf")]) == 3


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_another_alignment_is_no_difference(alignment: int, tmp_path) -> None:
    a, b = tmp_path / "a.gguf", tmp_path / "b.gguf"
    a.write_bytes(model({"t": np.ones((3, 5), np.float32), "u": np.ones(7, np.float16)}))
    assert main(["copy", str(a), str(b), "--alignment", str(alignment), "-q"]) == 0
    assert main(["diff", str(a), str(b), "-q"]) == 0
