"""CODECS: the codec of each tensor type, imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from ggufkit.codecs.base import Codec
from ggufkit.errors import UnknownTensorTypeError
from ggufkit.types import TensorType


class CodecTable(Mapping[TensorType, Codec]):
    """Read-only mapping from tensor type to codec; a type's module loads on first use."""

    def __init__(self) -> None:
        self._loaded: dict[TensorType, Codec] = {}

    def __getitem__(self, key: TensorType) -> Codec:
        codec = self._loaded.get(key)
        if codec is None:
            codec = self._loaded[key] = _load(key)
        return codec

    def __contains__(self, key: object) -> bool:
        return isinstance(key, TensorType) and key.is_known

    def __iter__(self) -> Iterator[TensorType]:
        return iter(TensorType)

    def __len__(self) -> int:
        return len(TensorType)


def _load(key: TensorType) -> Codec:
    if not isinstance(key, TensorType) or not key.is_known:
        raise UnknownTensorTypeError(f"{key!r} is no tensor type; see ggufkit.types.TensorType")
    name = key.name
    module = name.lower() if key.is_quantized else "plain"
    codec: Codec = getattr(import_module(f"ggufkit.codecs.formats.{module}"), name)
    return codec


CODECS = CodecTable()
