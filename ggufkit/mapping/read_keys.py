"""A config that knows which of its keys were read: the others have no effect."""

from __future__ import annotations

from typing import Any


class ReadKeys(dict[str, Any]):
    """A config. Copies made of it count as not read."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.seen: set[object] = set()

    def __getitem__(self, key: str) -> Any:
        """Return a value, and note that it was read."""
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value or a default, and note that it was read."""
        self.seen.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a value, and note that this was asked."""
        self.seen.add(key)
        return super().__contains__(key)
