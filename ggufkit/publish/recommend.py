"""Recommend a file type, from the memory plan of `ggufkit.fit` and the loss of each type.

The loss is a KL divergence from the 16-bit model: measured by `ggufkit try` on the user's own text
or, without a measurement, llama.cpp's figure for Llama 3 8B on Wikitext
(``tools/perplexity/README.md``, October 2026). The order of types is much the same for other
models; small models lose more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufkit.errors import BadValueError
from ggufkit.toolbox.fit.fit import Fit
from ggufkit.toolbox.fit.placing import Placement

#: KL divergence in nats; with an importance matrix for types that need one.
PUBLISHED: Mapping[str, float] = {
    "Q8_0": 0.001355, "Q6_K": 0.005452, "Q5_K_M": 0.010762, "Q5_K_S": 0.016595, "Q5_1": 0.018045,
    "Q5_0": 0.022239, "Q4_K_M": 0.031273, "Q4_K_S": 0.043136, "IQ4_NL": 0.035742,
    "IQ4_XS": 0.036334, "Q4_1": 0.071683, "Q4_0": 0.071940, "Q3_K_L": 0.087176,
    "Q3_K_M": 0.101913, "Q3_K_S": 0.228217, "IQ3_M": 0.102534, "IQ3_S": 0.111278,
    "IQ3_XS": 0.138693, "IQ3_XXS": 0.183625, "Q2_K": 0.445132, "Q2_K_S": 0.403360,
    "IQ2_M": 0.325989, "IQ2_S": 0.439197, "IQ2_XS": 0.546290, "IQ2_XXS": 0.812022,
    "IQ1_M": 1.393084, "IQ1_S": 2.254554, "F16": 0.0, "BF16": 0.0, "F32": 0.0,
}  # fmt: skip

# A smaller loss is not noticeable, and more bits only cost memory and speed.
UNNOTICED = 0.006
# Above this, a smaller model with more bits is usually better.
SEVERE = 0.2
WORDS = (
    (UNNOTICED, "as the original"),
    (0.02, "excellent"),
    (0.05, "very good"),
    (0.11, "good"),
    (SEVERE, "noticeably worse"),
    (0.5, "poor"),
    (float("inf"), "bad"),
)


@dataclass(frozen=True)
class Advice:
    """One rung: whether it fits, and its loss.

    Attributes
    ----------
    placement : Placement
        The memory that it needs, and where it fits.
    divergence : float or None
        KL divergence from the original, in nats; None if unknown.
    measured : bool
        Whether the divergence was measured on this model.
    """

    placement: Placement
    divergence: float | None
    measured: bool

    @property
    def name(self) -> str:
        """The file type."""
        return self.placement.need.candidate.name

    @property
    def words(self) -> str:
        """The divergence in words."""
        divergence = self.divergence
        if divergence is None:
            return "unknown"
        return next(word for most, word in WORDS if divergence <= most)


@dataclass(frozen=True)
class Recommendation:
    """The recommended rung, and all others.

    Attributes
    ----------
    rungs : tuple of Advice
        All rungs, by size.
    best : Advice or None
        The recommended one; None if nothing fits.
    sentence : str
        The recommendation in words.
    """

    rungs: tuple[Advice, ...]
    best: Advice | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "answer": self.sentence,
            "best": self.best.name if self.best else None,
            "rungs": [
                {
                    **rung.placement.as_dict(),
                    "kl_divergence": rung.divergence,
                    "measured": rung.measured,
                    "quality": rung.words,
                }
                for rung in self.rungs
            ],
        }


def recommend(found: Fit, quality: Mapping[str, float] | None = None) -> Recommendation:
    """Choose a rung.

    Among the rungs that fit on the GPU (or, if none does, anywhere), it is the one with the
    smallest loss; among those with an unnoticeable loss, the smallest.

    Parameters
    ----------
    found : Fit
        From `ggufkit.fit`.
    quality : mapping of str to float, optional
        Measured KL divergence by file type, see `read_quality`.
    """
    quality = quality or {}
    rungs = tuple(
        Advice(placed, quality.get(name, PUBLISHED.get(name)), name in quality)
        for placed in found.placements
        for name in [placed.need.candidate.name]
    )
    best = _best(rungs)
    return Recommendation(rungs, best, _sentence(best, found))


def _best(rungs: tuple[Advice, ...]) -> Advice | None:
    for places in (("gpu",), ("ram", "both")):
        fitting = [r for r in rungs if r.placement.where in places and r.divergence is not None]
        if fitting:
            unnoticed = [rung for rung in fitting if rung.divergence <= UNNOTICED]  # type: ignore[operator]
            return unnoticed[0] if unnoticed else min(fitting, key=lambda r: r.divergence or 0.0)
    return None


def _sentence(best: Advice | None, found: Fit) -> str:
    if best is None:
        return found.sentence
    placed = best.placement
    context = placed.need.options.context
    where = {"gpu": "on the GPU", "ram": "in RAM"}.get(placed.where, "on GPU and RAM together")
    how = "measured here" if best.measured else "as llama.cpp measured of Llama 3 8B"
    text = (
        f"Take {best.name}: it runs {where} at {context} tokens, and its answers are "
        f"{best.words} (KL divergence {best.divergence:.3f}, {how})."
    )
    if best.divergence is not None and best.divergence >= SEVERE:
        text += " A smaller model with more bits is probably better."
    return text


def read_quality(path: Path) -> dict[str, float]:
    """Return KL divergences by file type from what ``ggufkit try --json`` printed.

    Raises
    ------
    BadValueError
        The file is not the output of that command.
    """
    from ggufkit.gguf.open import open_gguf
    from ggufkit.types import FileType

    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        measured = [
            (str(entry["file"]), float(entry["kl_divergence"]))
            for entry in entries
            if entry.get("kl_divergence") is not None
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadValueError(
            f"not what 'ggufkit try LADDER --text FILE --json' prints: {error}", path=path
        ) from None
    found: dict[str, float] = {}
    for file, divergence in measured:
        with open_gguf(Path(file)) as model:
            number = model.metadata.get("general.file_type")
        if number in set(FileType):
            found[FileType(number).name] = divergence  # type: ignore[arg-type]
    return found
