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

from ggufkit.version import __version__ as __version__

if TYPE_CHECKING:
    from ggufkit.api import dequantize as dequantize
    from ggufkit.api import open as open  # noqa: A004
    from ggufkit.api import save as save
    from ggufkit.calibration.imatrix import Imatrix as Imatrix
    from ggufkit.checkpoint import Checkpoint as Checkpoint
    from ggufkit.codecs import quantize as quantize
    from ggufkit.codecs.error_sums import ErrorSums as ErrorSums
    from ggufkit.converter.execution.report import Report as Report
    from ggufkit.converter.ladder import Ladder as Ladder
    from ggufkit.converter.ladder import convert as convert
    from ggufkit.converter.planning.plan import Plan as Plan
    from ggufkit.converter.planning.plan import Rung as Rung
    from ggufkit.converter.planning.planner import SplitLimits as SplitLimits
    from ggufkit.converter.planning.type_selection import TypeOptions as TypeOptions
    from ggufkit.errors import GGUFKitError as GGUFKitError
    from ggufkit.export.write import export_hf as export_hf
    from ggufkit.gguf.layout import TensorInfo as TensorInfo
    from ggufkit.gguf.metadata import Metadata as Metadata
    from ggufkit.gguf.model import GGUFModel as GGUFModel
    from ggufkit.gguf.reader import Tensor as Tensor
    from ggufkit.rules.rule import Finding as Finding
    from ggufkit.rules.rule import Severity as Severity
    from ggufkit.toolbox.checks.engine import check as check
    from ggufkit.toolbox.compare.compare import compare as compare
    from ggufkit.toolbox.compare.measures import Comparison as Comparison
    from ggufkit.toolbox.copy import copy as copy
    from ggufkit.toolbox.copying import CopyTarget as CopyTarget
    from ggufkit.toolbox.diff import Difference as Difference
    from ggufkit.toolbox.diff import diff as diff
    from ggufkit.toolbox.edit import Edit as Edit
    from ggufkit.toolbox.edit import edit as edit
    from ggufkit.toolbox.endian import convert_endian as convert_endian
    from ggufkit.toolbox.fit.fit import Fit as Fit
    from ggufkit.toolbox.fit.fit import fit as fit
    from ggufkit.toolbox.hash import FileHash as FileHash
    from ggufkit.toolbox.hash import hash_file as hash_file
    from ggufkit.toolbox.merge import merge as merge
    from ggufkit.toolbox.split import split as split
    from ggufkit.toolbox.verify import Verification as Verification
    from ggufkit.toolbox.verify import verify as verify
    from ggufkit.types import FileType as FileType
    from ggufkit.types import TensorType as TensorType
    from ggufkit.types import ValueType as ValueType

# Module -> what it defines of the names above; a name is imported when it is first used.
_EXPORTS = {
    "ggufkit.api": ("dequantize", "open", "save"),
    "ggufkit.calibration.imatrix": ("Imatrix",),
    "ggufkit.checkpoint": ("Checkpoint",),
    "ggufkit.codecs": ("quantize",),
    "ggufkit.codecs.error_sums": ("ErrorSums",),
    "ggufkit.converter.execution.report": ("Report",),
    "ggufkit.converter.ladder": ("Ladder", "convert"),
    "ggufkit.converter.planning.plan": ("Plan", "Rung"),
    "ggufkit.converter.planning.planner": ("SplitLimits",),
    "ggufkit.converter.planning.type_selection": ("TypeOptions",),
    "ggufkit.errors": ("GGUFKitError",),
    "ggufkit.export.write": ("export_hf",),
    "ggufkit.gguf.layout": ("TensorInfo",),
    "ggufkit.gguf.metadata": ("Metadata",),
    "ggufkit.gguf.model": ("GGUFModel",),
    "ggufkit.gguf.reader": ("Tensor",),
    "ggufkit.toolbox.checks.engine": ("check",),
    "ggufkit.rules.rule": ("Finding", "Severity"),
    "ggufkit.toolbox.compare.compare": ("compare",),
    "ggufkit.toolbox.compare.measures": ("Comparison",),
    "ggufkit.toolbox.copying": ("CopyTarget",),
    "ggufkit.toolbox.diff": ("Difference", "diff"),
    "ggufkit.toolbox.edit": ("Edit", "edit"),
    "ggufkit.toolbox.copy": ("copy",),
    "ggufkit.toolbox.endian": ("convert_endian",),
    "ggufkit.toolbox.fit.fit": ("Fit", "fit"),
    "ggufkit.toolbox.hash": ("FileHash", "hash_file"),
    "ggufkit.toolbox.merge": ("merge",),
    "ggufkit.toolbox.split": ("split",),
    "ggufkit.toolbox.verify": ("Verification", "verify"),
    "ggufkit.types": ("FileType", "TensorType", "ValueType"),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ggufkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
