"""Files of the real libraries, by scripts/make_quantized.py, widen to what the libraries say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ggufkit.checkpoint.quantized import dequantized_view
from ggufkit.checkpoint.safetensors import read_float32, read_header
from ggufkit.codecs import dequantize

FILES = {p.stem: p for p in sorted((Path(__file__).parent / "quantized").glob("*.safetensors"))}
#: The library itself computes in bfloat16 here, or (torchao) in another order.
ROUNDED = {"ct-nvfp4": 4e-3, "ct-mxfp8": 4e-3}
#: Scales that float16 does not hold: these would be rounded, so there are no blocks.
FLOAT32_SCALES = ("torchao-int8", "torchao-intx-4")


def config_of(path: Path) -> dict:
    head = path.read_bytes()
    n = int.from_bytes(head[:8], "little")
    return json.loads(json.loads(head[8 : 8 + n])["__metadata__"]["config"])


def opened(name: str):
    tensors = read_header(FILES[name])
    expected = read_float32(tensors.pop("expected"))
    found, said = dequantized_view(config_of(FILES[name]), tensors)
    return found, said, expected


@pytest.mark.parametrize("name", FILES)
def test_a_librarys_file_widens_to_what_it_says(name: str) -> None:
    found, said, expected = opened(name)
    assert said
    (tensor,) = found.values()  # the parts are gone
    values = read_float32(tensor)
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=ROUNDED.get(name, 1e-6), atol=1e-9)
    for rows in (slice(0, 1), slice(1, 2), slice(5, 9)):
        assert np.array_equal(read_float32(tensor, rows), values[rows])


@pytest.mark.parametrize("name", FILES)
def test_blocks_are_the_weights_without_rounding(name: str) -> None:
    found, _, expected = opened(name)
    (tensor,) = found.values()
    packing = tensor.packing
    n_rows = int(np.prod(expected.shape[:-1]))
    for start, stop in ((0, n_rows), (3, 7)):
        blocks = packing.blocks(start, stop)
        if packing.lossless_type is None or name in FLOAT32_SCALES:
            assert blocks is None
            continue
        decoded = dequantize(blocks, packing.lossless_type)
        assert np.array_equal(decoded, packing.rows(start, stop))


def test_the_kinds_that_are_exact_are_known() -> None:
    exact = {
        name: str(packing.lossless_type.name)
        for name in FILES
        if (packing := next(iter(opened(name)[0].values())).packing).lossless_type is not None
    }
    assert exact == {
        **dict.fromkeys(("ct-pack-4", "ct-pack-4-channel", "ct-pack-4-tensor"), "Q4_0"),
        **dict.fromkeys(("ct-pack-8", "ct-int-channel", "ct-int-tensor"), "Q8_0"),
        **dict.fromkeys(("torchao-int8", "torchao-intx-4"), "Q8_0"),
        **dict.fromkeys(("ct-mxfp4", "mxfp4-gpt-oss"), "MXFP4"),
        **{name: "Q4_1" for name in FILES if name.startswith(("mlx-2", "mlx-3", "mlx-4"))},
        **{name: "Q5_1" for name in FILES if name.startswith("mlx-5")},
    }
