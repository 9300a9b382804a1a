"""How much memory is available: as stated, or this machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ggufkit.errors import BadValueError

_GIB = 1 << 30
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": _GIB, "T": 1 << 40}
_MAX = 1 << 60
_QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
_AMD = "class/drm/card*/device/mem_info_vram_total"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory.

    Attributes
    ----------
    vram : int
        Of all graphics cards together; 0 without one.
    ram : int or None
        Of the machine; None if it is not known.
    """

    vram: int = 0
    ram: int | None = None

    @classmethod
    def stated(cls, vram: str | int | None, ram: str | int | None) -> Memory:
        """Return the stated memory, or this machine's if none is stated."""
        if vram is None and ram is None:
            return this_machine()
        return cls(
            0 if vram is None else parse_memory(vram), None if ram is None else parse_memory(ram)
        )


def parse_memory(text: str | int) -> int:
    """Parse memory such as ``24G``; K, M, G and T are powers of 1024, as memory is sold.

    Raises
    ------
    BadValueError
        It is malformed, or too large.

    Examples
    --------
    >>> parse_memory("24G"), parse_memory("1.5GiB"), parse_memory(4096)
    (25769803776, 1610612736, 4096)
    """
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?) ?([KMGT]?)(?:i?B)?", str(text), re.I | re.A)
    n_bytes = int(float(match[1]) * _UNITS[match[2].upper()]) if match else -1
    if not 0 <= n_bytes <= _MAX:
        raise BadValueError(
            f"{text!r} is not an amount of memory: write 24G, 512M or a number of bytes"
        )
    return n_bytes


def this_machine() -> Memory:
    """Return the memory of this machine and its graphics cards, within a container's limit."""
    return Memory(_vram(), _ram())


def _ram() -> int | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    limits = (
        Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes")
    )
    return min([total, *(limit for path in limits if (limit := _number_in(path)))])


def _vram() -> int:
    amd = sum(_number_in(path) or 0 for path in Path("/sys").glob(_AMD))
    return _nvidia() + amd


def _nvidia() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(int(word) << 20 for word in done.stdout.split() if word.isdecimal())


def _number_in(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
