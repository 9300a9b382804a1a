"""`GGUFModel`: one GGUF file, or all parts of a split model, read as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ggufkit.errors import BadLayoutError, MissingTensorError
from ggufkit.gguf.reader import GGUFFile, Tensor
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT

if TYPE_CHECKING:
    from ggufkit.gguf.layout import TensorInfo


class GGUFModel(Mapping[str, Tensor]):
    """One or more GGUF files read as one model; see `ggufkit.gguf.open`.

    Attributes
    ----------
    parts : tuple of GGUFFile
        In order; one for a file that is not split.
    metadata : Metadata
        Of the first part, without the ``split.*`` keys.
    tensors : dict of str to TensorInfo
        Of all parts, in order; offsets count within their part.
    """

    def __init__(self, parts: Iterable[GGUFFile]) -> None:
        self.parts = tuple(parts)
        self.metadata = self.parts[0].metadata
        if len(self.parts) > 1:
            self.metadata = self.metadata.copy()
            for key in (NO, COUNT, TENSORS_COUNT):
                self.metadata.pop(key, None)
        self.tensors: dict[str, TensorInfo] = {}
        self._part_of: dict[str, GGUFFile] = {}
        for part in self.parts:
            self._add(part)

    def _add(self, part: GGUFFile) -> None:
        for name, info in part.tensors.items():
            if name in self.tensors:
                raise BadLayoutError(
                    f"tensor {name!r} is in {_name_of(self._part_of[name])} too", path=part.path
                )
            self.tensors[name] = info
            self._part_of[name] = part

    @property
    def path(self) -> Path | None:
        """The first part's file."""
        return self.parts[0].path

    @property
    def version(self) -> int:
        """The first part's GGUF version."""
        return self.parts[0].version

    @property
    def alignment(self) -> int:
        """The first part's alignment."""
        return self.parts[0].alignment

    @property
    def file_size(self) -> int:
        """Bytes of all parts together."""
        return sum(part.file_size for part in self.parts)

    def part_of(self, name: str) -> GGUFFile:
        """Return the part that holds a tensor.

        Raises
        ------
        MissingTensorError
            No part has a tensor of this name.
        """
        try:
            return self._part_of[name]
        except KeyError:
            raise MissingTensorError(f"{self.path}: no tensor is named {name!r}") from None

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes:
        """Read bytes of a tensor's data; see `GGUFFile.read_bytes`."""
        return self.part_of(info.name).read_bytes(info, start, size)

    def close(self) -> None:
        """Close every part."""
        for part in self.parts:
            part.close()

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by name; see `GGUFFile`."""
        return self.part_of(name)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<GGUFModel {str(self.path)!r}: {len(self.parts)} parts, {len(self.tensors)} tensors>"
        )


def _name_of(file: GGUFFile) -> str:
    return file.path.name if file.path else "another part"
