"""Vision encoders of multimodal models: one family a file, one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ggufkit.architectures.vision.internvl import INTERNVL
from ggufkit.architectures.vision.llava import LLAVA
from ggufkit.architectures.vision.pixtral import PIXTRAL
from ggufkit.architectures.vision.qwen import QWEN2VL, QWEN3VL, QWEN25VL, QWEN35
from ggufkit.architectures.vision.siglip import GEMMA3, IDEFICS3
from ggufkit.errors import UnknownArchitectureError

if TYPE_CHECKING:
    from ggufkit.architectures.vision.base import VisionFamily
    from ggufkit.mapping.spec import Config

FAMILIES = (GEMMA3, IDEFICS3, INTERNVL, LLAVA, PIXTRAL, QWEN2VL, QWEN25VL, QWEN35, QWEN3VL)


def find_vision(config: Config) -> VisionFamily:
    """Return the family of a model's vision encoder.

    Parameters
    ----------
    config : mapping
        Its config.json.

    Raises
    ------
    UnknownArchitectureError
        No family covers its class.
    """
    given = config.get("architectures")
    names = [str(name) for name in given] if isinstance(given, list) else []
    vision = config.get("vision_config")
    kind = vision.get("model_type") if isinstance(vision, dict) else None
    fitting = (f for f in FAMILIES if f.kind in ("", kind))
    found = next((f for f in fitting if set(names) & set(f.hf_classes)), None)
    if found is None:
        known = ", ".join(sorted({name for family in FAMILIES for name in family.hf_classes}))
        seen = f" with {str(kind)[:40]}" if kind else ""
        raise UnknownArchitectureError(
            f"config.json names the model class {', '.join(names)[:200] or '(none)'}{seen}, whose "
            f"vision encoder ggufkit can't convert; it converts those of {known} (of LLaVA: "
            "CLIP's and Pixtral's). Its language model may convert without --mmproj"
        )
    return found
