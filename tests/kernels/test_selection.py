"""Which kernels are chosen, what they refuse, and that importing them costs nothing."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.errors import CodecError
from ggufkit.types import TensorType


def test_the_best_level_is_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    assert kernels.active() == (kernels.available() or ("none",))[-1]


def test_none_switches_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "none")
    assert kernels.active() == "none"
    assert kernels.encoder(TensorType.Q4_K) is None
    assert kernels.decoder(TensorType.Q4_K) is None


def test_an_unknown_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "x86-64-v9")
    with pytest.raises(CodecError, match="GGUFKIT_KERNELS=x86-64-v9: kernels available here are"):
        kernels.active()


def test_types_without_a_kernel(level: str) -> None:
    assert kernels.encoder(TensorType.I32) is None
    assert kernels.decoder(TensorType.F64) is None


@pytest.mark.parametrize(
    ("rows", "importance", "out"),
    [
        (np.zeros((2, 256), np.float64), None, np.zeros((2, 144), np.uint8)),
        (np.zeros((256, 2), np.float32).T, None, np.zeros((2, 144), np.uint8)),
        (np.zeros((2, 255), np.float32), None, np.zeros((2, 144), np.uint8)),
        (np.zeros((2, 256), np.float32), None, np.zeros((2, 143), np.uint8)),
        (np.zeros((2, 256), np.float32), None, np.zeros((1, 144), np.uint8)),
        (np.zeros((2, 256), np.float32), np.ones(255, np.float32), np.zeros((2, 144), np.uint8)),
        (np.zeros((2, 256), np.float32), np.ones(256), np.zeros((2, 144), np.uint8)),
    ],
    ids=["float64", "transposed", "ragged", "short", "rows", "importance", "float64 importance"],
)
def test_buffers_that_do_not_fit_are_refused(rows, importance, out, level: str) -> None:
    encode = kernels.encoder(TensorType.Q4_K)
    assert encode is not None
    with pytest.raises(CodecError):
        encode(rows, importance, out)


def test_empty_rows_are_fine(level: str) -> None:
    for tensor_type in (TensorType.Q4_K, TensorType.F16, TensorType.Q5_1):
        encode, decode = kernels.encoder(tensor_type), kernels.decoder(tensor_type)
        assert encode is not None
        assert decode is not None
        rows, data = np.empty((0, 256), np.float32), np.empty((0, tensor_type.row_size(256)), "u1")
        encode(rows, np.ones(256, np.float32), data)
        decode(data, rows)


def test_threads_do_not_disturb_each_other(level: str) -> None:
    encode = kernels.encoder(TensorType.Q4_K)
    assert encode is not None
    rows = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    whole = np.empty((64, 288), np.uint8)
    encode(rows, None, whole)
    parts = np.empty_like(whole)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: encode(rows[i : i + 1], None, parts[i : i + 1]), range(64)))
    assert np.array_equal(whole, parts)


def test_importing_loads_neither_numpy_nor_a_library() -> None:
    code = (
        "import sys, ggufkit.kernels as k; print('numpy' in sys.modules, k._library.cache_info())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.startswith("False CacheInfo(hits=0, misses=0")


def test_threads_that_come_at_once_share_a_grids_tables() -> None:
    code = (
        "import numpy as np; from concurrent.futures import ThreadPoolExecutor;"
        "from ggufkit.codecs import quantize; from ggufkit.types import TensorType;"
        "rows = np.random.default_rng(0).standard_normal((8, 1024)).astype(np.float32);"
        "pool = ThreadPoolExecutor(8);"
        "parts = list(pool.map(lambda _: quantize(rows, TensorType.IQ3_S), range(16)));"
        "assert all((part == parts[0]).all() for part in parts)"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
