"""The one way in which commands print JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any


def to_json(value: Any) -> str:
    """Return a value as JSON text in ASCII, which any pipe can carry.

    Objects take a line per key and lists of numbers or texts a single line. JSON has no
    infinities and no NaN: they become text.

    Examples
    --------
    >>> print(to_json({"rmse": float("inf"), "shape": (32, 64), "files": [{"name": "a"}]}))
    {
     "rmse": "inf",
     "shape": [32, 64],
     "files": [
      {
       "name": "a"
      }
     ]
    }
    """
    return _indented(value, "\n")


def emit(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(to_json(value) + "\n")


def _indented(value: Any, newline: str) -> str:
    inner = newline + " "
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(str(k))}: {_indented(item, inner)}" for k, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(lines)}{newline}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(v, (dict, list, tuple)) for v in value):
        lines = [_indented(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(lines)}{newline}]"
    try:
        return _dumps(value)
    except ValueError:
        return _dumps(_finite(value))


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """Return a path as text and a number of numpy as one of Python."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value.item()


def _finite(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
