"""Blocks <-> floats: what the bits of each tensor type mean, byte for byte as in ggml.

One module per tensor type, named after it; its docstring is the format page. `quantize` and
`dequantize` work on whole tensors, in tiles that fit a processor's cache.
"""

from ggufkit.codecs.base import Codec
from ggufkit.codecs.table import CODECS
from ggufkit.codecs.tensors import dequantize, quantize

__all__ = ["CODECS", "Codec", "dequantize", "quantize"]
