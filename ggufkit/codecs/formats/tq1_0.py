"""TQ1_0: 256 weights of -1, 0 or 1 times one scale; five of them share a byte.

::

    | qs: 48 bytes | qh: 4 bytes | d: float16 |

    w[j] = d * (t[j] - 1)
    a byte is ceil(256 * n / 243), n the number with five ternary digits t, highest first:
    multiplied by 3**k, its digit k is the integer part of (byte * 3) / 256
    qs[0:32]:  digit k of byte i is weight 32 * k + i
    qs[32:48]: digit k of byte i is weight 160 + 16 * k + i
    qh:        digit k of byte i is weight 240 + 4 * k + i, the fifth digit 0

ggml: ``quantize_row_tq1_0_ref``; importance is not used.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import abs_max, inverse, round_half_away
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats, half
from ggufkit.types import TensorType

LAYOUT = np.dtype([("qs", "u1", 48), ("qh", "u1", 4), ("d", "<f2")])

# First weight, bytes, digits of the three groups.
_GROUPS = ((0, 32, 5), (160, 16, 5), (240, 4, 4))


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out = np.empty((len(blocks), 256), np.float32)
    packed = np.concatenate([blocks["qs"], blocks["qh"]], axis=1)
    first_byte = 0
    for start, n_bytes, digits in _GROUPS:
        group = packed[:, first_byte : first_byte + n_bytes]
        for digit in range(digits):
            at = start + digit * n_bytes
            shifted = group * np.uint8(3**digit)
            out[:, at : at + n_bytes] = (shifted.astype(np.uint16) * 3) >> 8
        first_byte += n_bytes
    out -= np.float32(1)
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 256)
    d = abs_max(x)
    trits = round_half_away(x * inverse(d)[0][:, None]).astype(np.int8) + np.int8(1)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    packed = np.concatenate([_pack(trits, *group) for group in _GROUPS], axis=1)
    blocks["qs"], blocks["qh"] = packed[:, :48], packed[:, 48:]
    return blocks


def _pack(trits: Bytes, start: int, n_bytes: int, digits: int) -> Bytes:
    group = trits[:, start : start + digits * n_bytes].reshape(len(trits), digits, n_bytes)
    number = np.zeros((len(trits), n_bytes), np.uint16)
    for digit in range(5):
        number *= 3
        if digit < digits:
            number += group[:, digit].view(np.uint8)
    packed: Bytes = (number * 256 + 242) // 243
    return packed.astype(np.uint8)


TQ1_0 = Codec(TensorType.TQ1_0, LAYOUT, decode, encode)
