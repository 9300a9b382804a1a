"""Show versions, CPU, kernels and optional packages of this installation, and test it.

The self-test encodes and decodes a few rows with the kernels in use and with numpy; both must give
the same bytes. Exit code 1 if they differ. GGUFKIT_KERNELS forces a kernel level (see "kernels
available"); GGUFKIT_KERNELS=none uses numpy alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.types import TensorType

REQUIRED = ("numpy", "gguf", "sentencepiece", "huggingface_hub", "pyyaml", "rich")
OPTIONAL = ("ml_dtypes", "tokenizers", "hypothesis", "pytest", "libggml-python", "xllamacpp")
SECONDS = 1.0  # the self-test starts no further type after this


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 if kernels and numpy differ."""
    found = report()
    if args.json:
        emit(found)
    else:
        _show(found)
    return 1 if found["self_test"]["different"] else 0


def report() -> dict[str, Any]:
    """Return everything the command shows."""
    from ggufkit import kernels
    from ggufkit.version import __version__

    return {
        "ggufkit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "kernels": {
            "active": kernels.active(),
            "available": ["none", *kernels.available()],
            "variable": kernels.VARIABLE,
            "forced": os.environ.get(kernels.VARIABLE) or None,
        },
        "packages": {name: _version(name) for name in REQUIRED},
        "optional": {name: _version(name) for name in OPTIONAL},
        "self_test": self_test(),
    }


def self_test() -> dict[str, list[str]]:
    """Compare kernels with numpy, type by type, until time is up.

    Returns
    -------
    dict
        Names of the types that are ``same``, ``different`` and ``not_reached``.
    """
    import numpy as np

    from ggufkit import kernels
    from ggufkit.codecs import CODECS

    result: dict[str, list[str]] = {"same": [], "different": [], "not_reached": []}
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2, 256), np.float32)
    importance = rng.random(256, np.float32)
    types = [t for t in CODECS if kernels.encoder(t) or kernels.decoder(t)]
    start = time.monotonic()
    for tensor_type in types:
        if time.monotonic() - start > SECONDS:
            result["not_reached"].append(tensor_type.name)
            continue
        same = _agree(tensor_type, rows, importance)
        result["same" if same else "different"].append(tensor_type.name)
    return result


def _agree(
    tensor_type: TensorType, rows: NDArray[np.float32], importance: NDArray[np.float32]
) -> bool:
    """Whether kernels and numpy encode and decode the same."""
    import numpy as np

    from ggufkit import kernels
    from ggufkit.codecs import CODECS

    codec, encode, decode = (
        CODECS[tensor_type],
        kernels.encoder(tensor_type),
        kernels.decoder(tensor_type),
    )
    with np.errstate(all="ignore"):
        if codec.encode is None:
            return True
        blocks = codec.encode(rows, importance)
        data = blocks.view(np.uint8).reshape(len(rows), tensor_type.row_size(rows.shape[1]))
        if encode is not None:
            got = np.empty_like(data)
            encode(rows, importance, got)
            if not np.array_equal(got, data):
                return False
        if decode is None:
            return True
        weights = np.empty_like(rows)
        decode(np.ascontiguousarray(data), weights)
        return np.array_equal(weights, np.asarray(codec.decode(blocks)).reshape(rows.shape))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Return the CPU's name where the system tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a file of ours
            names = [
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        names = []
    name = names[0] if names else platform.processor()
    return f"{name} ({platform.machine()})" if name else platform.machine()


def _show(found: dict[str, Any]) -> None:
    kernels, tested = found["kernels"], found["self_test"]
    forced = f", forced by {kernels['variable']}" if kernels["forced"] else ""
    verdict = f"{len(tested['same'])} types: kernels and numpy give the same bytes"
    if kernels["active"] == "none":
        verdict = "no kernels in use: numpy does the work"
    if tested["different"]:
        verdict = "kernels and numpy differ: " + ", ".join(tested["different"])
    if tested["not_reached"]:
        verdict += f"; no time for {', '.join(tested['not_reached'])}"
    render.fields(
        [
            ("ggufkit", found["ggufkit"]),
            ("python", found["python"]),
            ("platform", found["platform"]),
            ("cpu", f"{found['cpu']}, {found['cpus']} usable"),
            ("kernels in use", kernels["active"] + forced),
            ("kernels available", ", ".join(kernels["available"])),
            ("self-test", verdict),
            ("packages", _listed(found["packages"])),
            ("optional", _listed(found["optional"])),
        ]
    )
    if kernels["available"] == ["none"]:
        render.note("No kernels were compiled: install a C compiler and reinstall for speed.")


def _listed(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())
