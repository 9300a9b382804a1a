"""ggufkit: GGUF files from Hugging Face checkpoints, and everything around them.

The verbs of the command line are functions here; `import ggufkit` loads none of them until it is
used.

Examples
--------
>>> import numpy as np, ggufkit
>>> weights = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)
>>> data = ggufkit.quantize(weights, ggufkit.TensorType.Q8_0)
>>> data.shape, data.dtype
((2, 272), dtype('uint8'))
>>> bool(abs(ggufkit.dequantize(data, ggufkit.TensorType.Q8_0) - weights).max() < 0.005)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ggufkit.version import __version__

if TYPE_CHECKING:
    from ggufkit.api import dequantize as dequantize
    from ggufkit.api import open as open  # noqa: A004
    from ggufkit.api import save as save
    from ggufkit.calibration.imatrix import Imatrix as Imatrix
    from ggufkit.checkpoint import Checkpoint as Checkpoint
    from ggufkit.codecs import quantize as quantize
    from ggufkit.converter.ladder import Ladder as Ladder
    from ggufkit.converter.ladder import convert as convert
    from ggufkit.converter.planning.planner import SplitLimits as SplitLimits
    from ggufkit.converter.planning.type_selection import TypeOptions as TypeOptions
    from ggufkit.errors import GGUFKitError as GGUFKitError
    from ggufkit.export.write import export_hf as export_hf
    from ggufkit.gguf.metadata import Metadata as Metadata
    from ggufkit.gguf.model import GGUFModel as GGUFModel
    from ggufkit.toolbox.checks.engine import check as check
    from ggufkit.toolbox.compare.compare import compare as compare
    from ggufkit.toolbox.copy import copy as copy
    from ggufkit.toolbox.diff import diff as diff
    from ggufkit.toolbox.edit import edit as edit
    from ggufkit.toolbox.endian import convert_endian as convert_endian
    from ggufkit.toolbox.fit.fit import fit as fit
    from ggufkit.toolbox.hash import hash_file as hash_file
    from ggufkit.toolbox.merge import merge as merge
    from ggufkit.toolbox.split import split as split
    from ggufkit.toolbox.verify import verify as verify
    from ggufkit.types import FileType as FileType
    from ggufkit.types import TensorType as TensorType
    from ggufkit.types import ValueType as ValueType

# Public name -> the module that defines it.
_HOMES = {
    "Checkpoint": "ggufkit.checkpoint",
    "FileType": "ggufkit.types",
    "GGUFKitError": "ggufkit.errors",
    "Imatrix": "ggufkit.calibration.imatrix",
    "GGUFModel": "ggufkit.gguf.model",
    "Ladder": "ggufkit.converter.ladder",
    "Metadata": "ggufkit.gguf.metadata",
    "SplitLimits": "ggufkit.converter.planning.planner",
    "TensorType": "ggufkit.types",
    "TypeOptions": "ggufkit.converter.planning.type_selection",
    "ValueType": "ggufkit.types",
    "check": "ggufkit.toolbox.checks.engine",
    "compare": "ggufkit.toolbox.compare.compare",
    "convert": "ggufkit.converter.ladder",
    "convert_endian": "ggufkit.toolbox.endian",
    "copy": "ggufkit.toolbox.copy",
    "dequantize": "ggufkit.api",
    "diff": "ggufkit.toolbox.diff",
    "edit": "ggufkit.toolbox.edit",
    "export_hf": "ggufkit.export.write",
    "fit": "ggufkit.toolbox.fit.fit",
    "hash_file": "ggufkit.toolbox.hash",
    "merge": "ggufkit.toolbox.merge",
    "open": "ggufkit.api",
    "quantize": "ggufkit.codecs",
    "save": "ggufkit.api",
    "split": "ggufkit.toolbox.split",
    "verify": "ggufkit.toolbox.verify",
}

__all__ = [
    "Checkpoint",
    "FileType",
    "GGUFKitError",
    "GGUFModel",
    "Imatrix",
    "Ladder",
    "Metadata",
    "SplitLimits",
    "TensorType",
    "TypeOptions",
    "ValueType",
    "__version__",
    "check",
    "compare",
    "convert",
    "convert_endian",
    "copy",
    "dequantize",
    "diff",
    "edit",
    "export_hf",
    "fit",
    "hash_file",
    "merge",
    "open",
    "quantize",
    "save",
    "split",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ggufkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
