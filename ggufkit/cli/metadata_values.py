"""Values of metadata as text, shortened to fit a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

#: Longest value shown in a table; ``--json`` shows all of it.
MAX_SHOWN = 72
#: Items shown of an array.
N_ITEMS = 6


def shorten(text: str) -> str:
    """Cut a text that is longer than `MAX_SHOWN`."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def short_type(name: str) -> str:
    """Return the short name of a value type.

    Examples
    --------
    >>> short_type("UINT32"), short_type("STRING")
    ('u32', 'string')
    """
    return re.sub(r"(U|I|F)(?:INT|NT|LOAT)(?=\d)", r"\1", name).lower()


def number_text(value: Any) -> str:
    """Return a number with as many digits as FLOAT32 has."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def items_text(items: Iterable[Any]) -> str:
    """Return an array's items, texts in quotes."""
    return ", ".join(
        json.dumps(item, ensure_ascii=False) if isinstance(item, str) else number_text(item)
        for item in items
    )
