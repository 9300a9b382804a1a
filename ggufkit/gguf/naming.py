"""GGUF file names: the fields of `FileName`, joined by dashes.

``[Sidecar-]BaseName-SizeLabel[-FineTune]-Version[-Encoding][-Type][-Shard].gguf``

Source: "GGUF Naming Convention" in ggml's docs/gguf.md; `build_name` and `size_label` follow
``naming_convention`` and ``size_label`` of gguf-py, whose names leave out what is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ggufkit.errors import BadValueError

EXTENSION = ".gguf"
#: File systems allow 255 bytes; the rest is for ``-00001-of-00009.gguf.partial``.
MAX_STEM_BYTES = 220

_SIDECARS = ("mmproj", "mtp")
_TYPES = ("LoRA", "vocab")
_BASE_FIRST = re.compile(r"[A-Za-z0-9\s]*")
_BASE_NEXT = re.compile(r"[A-Za-z\s][A-Za-z0-9\s]*|[0-9\s]*")
_SIZE = re.compile(r"(\d+x)?(\d+\.)?\d+[A-Za-z]", re.ASCII)
_SIZE_ATTRIBUTE = re.compile(r"[A-Za-z]+(\d+\.)?\d+[A-Za-z]+", re.ASCII)
_FINE_TUNE = re.compile(r"[A-Za-z0-9\s-]+")
_VERSION = re.compile(r"v\d+(\.\d+)*", re.ASCII)
_ENCODING = re.compile(r"(?!LoRA|vocab)\w+", re.ASCII)
# Above which count, factor, letter. gguf-py multiplies: dividing could round the other way.
_SCALES = ((1e12, 1e-12, "T"), (1e9, 1e-9, "B"), (1e6, 1e-6, "M"), (-1, 1e-3, "K"))
_SHARD = re.compile(r"-(\d{5}-of-\d{5})$", re.ASCII)


@dataclass(frozen=True)
class FileName:
    """The parts of a file name that follows the convention.

    Examples
    --------
    >>> name = parse_name("Mixtral-8x7B-v0.1-KQ2.gguf")
    >>> name.base_name, name.size_label, name.version, name.encoding
    ('Mixtral', '8x7B', 'v0.1', 'KQ2')
    """

    base_name: str
    size_label: str
    version: str
    sidecar: str | None = None
    fine_tune: str | None = None
    encoding: str | None = None
    type: str | None = None
    shard: str | None = None


def parse_name(name: str) -> FileName | None:
    """Parse a file name, or return None if it does not follow the convention.

    Accepts what the specification's regular expression accepts, in linear time: every part but
    the fine-tune is recognised segment by segment between the dashes.
    """
    if not name.endswith(EXTENSION) or "\n" in name:
        return None
    stem = name.removesuffix(EXTENSION)
    shard = _SHARD.search(stem)
    segments = (stem[: shard.start()] if shard else stem).split("-")
    sidecar = segments.pop(0) if segments[0] in _SIDECARS and len(segments) > 1 else None
    file_type = segments.pop() if segments[-1] in _TYPES else None
    encoding = None
    if segments and not _VERSION.fullmatch(segments[-1]) and _ENCODING.fullmatch(segments[-1]):
        encoding = segments.pop()
    if not segments or not _VERSION.fullmatch(segments[-1]):
        return None
    version = segments.pop()
    found = _parse_model(segments)
    if found is None:
        return None
    base, size, fine_tune = found
    return FileName(
        base, size, version, sidecar, fine_tune, encoding, file_type, shard and shard[1]
    )


def _parse_model(segments: list[str]) -> tuple[str, str, str | None] | None:
    """Split what is before the version into base name, size label and fine-tune."""
    if not segments or not _BASE_FIRST.fullmatch(segments[0]):
        return None
    at = 1
    while at < len(segments) and _BASE_NEXT.fullmatch(segments[at]):
        at += 1
    if at == len(segments) or not _SIZE.fullmatch(segments[at]):
        return None
    base, size = "-".join(segments[:at]), segments[at]
    rest = segments[at + 1 :]
    if rest and _SIZE_ATTRIBUTE.fullmatch(rest[0]):
        size += "-" + rest.pop(0)
    fine_tune = "-".join(rest)
    if rest and not _FINE_TUNE.fullmatch(fine_tune):
        return None
    return base, size, fine_tune if rest else None


def build_name(
    base_name: str,
    *,
    size_label: str | None = None,
    fine_tune: str | None = None,
    version: str | None = None,
    encoding: str | None = None,
    type: str | None = None,  # noqa: A002 - the convention's word
) -> str:
    """Build a file name from parts, some of which may be unknown.

    Raises
    ------
    BadValueError
        Nothing usable is left of the base name.

    Examples
    --------
    >>> build_name("Llama 3", size_label="8B", fine_tune="Instruct", encoding="q4_k_m")
    'Llama-3-8B-Instruct-Q4_K_M.gguf'
    """
    upper = encoding.upper() if encoding else None
    parts = [
        safe_name(part) for part in (base_name, size_label, fine_tune, version, upper, type) if part
    ]
    stem = "-".join(part for part in parts if part)
    if not safe_name(base_name):
        raise BadValueError(f"the model name {base_name!r} leaves no characters for a file name")
    return _shorten(stem) + EXTENSION


def safe_name(text: str) -> str:
    """Make text from a model card usable inside a file name.

    Spaces and separators become dashes; control characters and leading dots and dashes are removed,
    so that no name leaves its folder, is hidden, or looks like an option.
    """
    dashed = re.sub(r"[\s/\\:]+", "-", text.strip())
    printable = "".join(char for char in dashed if char.isprintable())
    return printable.replace("..", ".").lstrip(".-")


def _shorten(stem: str) -> str:
    return stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")


def size_label(n_total: int, n_shared: int, n_expert: int, n_experts: int) -> str:
    """Return the weight class of a model.

    Parameters
    ----------
    n_total : int
        Weights of all tensors.
    n_shared : int
        Weights outside of experts.
    n_expert : int
        Weights of one expert, summed over layers.
    n_experts : int
        Experts per layer, 0 if there are none.

    Examples
    --------
    >>> size_label(7_241_732_096, 7_241_732_096, 0, 0)
    '7.2B'
    >>> size_label(46_700_000_000, 1_600_000_000, 5_640_000_000, 8)
    '8x7.2B'
    """
    if n_experts > 0:
        return f"{n_experts}x{round_count(n_shared + n_expert)}"
    return round_count(n_total)


def round_count(n_weights: int) -> str:
    """Return a number of weights with at least two digits and a letter for the scale."""
    factor, letter = next(row[1:] for row in _SCALES if n_weights > row[0])
    scaled = n_weights * factor
    digits = len(str(round(scaled)).lstrip("0"))
    return f"{scaled:.{max(2 - digits, 0)}f}{letter}"
