"""Writing files whose tensors are copied, byte for byte, from other files.

Where it can, the kernel copies (``copy_file_range``: file systems that share blocks then copy
nothing at all); elsewhere the bytes go through memory in chunks. No file takes its final name
before all of them are complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.errors import OutputError, TruncatedError
from ggufkit.gguf.scan import byte_ranges
from ggufkit.io.atomic import PartialFile, partial_path

if TYPE_CHECKING:
    from ggufkit.gguf.layout import Layout, TensorInfo
    from ggufkit.gguf.model import GGUFModel
    from ggufkit.gguf.reader import GGUFFile
    from ggufkit.toolbox import Progress


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """A file to write.

    Attributes
    ----------
    path : Path
        Its final name.
    layout : Layout
        From `plan_layout`.
    sources : tuple of TensorInfo
        For each of the layout's tensors, the one of the model whose data it gets.
    done_before : bool
        Whether the file was there already, with just these bytes.
    """

    path: Path
    layout: Layout
    sources: tuple[TensorInfo, ...]
    done_before: bool = False

    @property
    def n_bytes(self) -> int:
        """Bytes of tensor data, without padding."""
        return sum(info.nbytes for info in self.sources)


def refuse_existing(targets: Iterable[CopyTarget]) -> None:
    """Raise `OutputError` if a file exists."""
    for target in targets:
        if os.path.lexists(target.path):
            raise OutputError(
                f"{target.path} exists and has other content: replace it with --force, or choose "
                "another name"
            )


def write_targets(
    model: GGUFModel,
    targets: Sequence[CopyTarget],
    *,
    dry_run: bool,
    force: bool,
    progress: Progress,
) -> tuple[CopyTarget, ...]:
    """Write the targets of a command with the usual options, unless they are complete already.

    Raises
    ------
    OutputError, TruncatedError
        See `copy_tensors`; or a file exists, is not what would be written, and `force` is not set.
    """
    if not force:
        if all(is_written(model, target) for target in targets):
            return tuple(replace(target, done_before=True) for target in targets)
        refuse_existing(targets)
    if not dry_run:
        copy_tensors(model, targets, progress)
    return tuple(targets)


def is_written(model: GGUFModel, target: CopyTarget) -> bool:
    """Whether a file is there already with the very bytes that would be copied into it."""
    return is_complete(target, lambda: _pieces(model, target))


def is_complete(target: CopyTarget, pieces: Callable[[], Iterable[tuple[int, bytes]]]) -> bool:
    """Whether a file is there with given bytes.

    Parameters
    ----------
    target : CopyTarget
        The file.
    pieces : callable
        Returns the offsets and bytes of its tensor data. It is called only if the file's size and
        header are right.
    """
    path, header = target.path, target.layout.header
    if path.is_symlink() or not path.is_file() or path.stat().st_size != target.layout.file_size:
        return False
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            return False
        for at, data in pieces():
            file.seek(at)
            if file.read(len(data)) != data:
                return False
    return True


def _pieces(model: GGUFModel, target: CopyTarget) -> Iterator[tuple[int, bytes]]:
    for info, source in zip(target.layout.tensors, target.sources, strict=True):
        at = target.layout.data_offset + info.offset
        for start, size in byte_ranges(source.nbytes):
            yield at + start, model.read_bytes(source, start, size)


def copy_tensors(model: GGUFModel, targets: Sequence[CopyTarget], progress: Progress) -> None:
    """Write all of `targets`, or none; files of these names are replaced.

    Raises
    ------
    OutputError
        A file can't be written.
    TruncatedError
        The model's file has shrunk since it was opened.
    """
    _refuse_sources(model, targets)
    with ExitStack() as opened:
        files = []
        for target in targets:
            file = PartialFile(target.path, target.layout.file_size)
            opened.callback(file.discard)
            files.append(file)
        for file, target in zip(files, targets, strict=True):
            file.write_at(0, target.layout.header)
            _Copier(model, file, opened).copy(target, progress)
            with suppress(OSError):  # a file that is replaced hands on its permissions
                shutil.copymode(target.path, file.path)
            file.sync()
        for file in files:
            file.publish()


def _refuse_sources(model: GGUFModel, targets: Iterable[CopyTarget]) -> None:
    """Refuse targets whose partial file would overwrite what is being read."""
    read = {part.path.resolve() for part in model.parts if part.path is not None}
    for target in targets:
        partial = partial_path(target.path)
        if partial.resolve() in read:
            raise OutputError(
                f"{target.path} would be written to {partial}, which is the source: rename it"
            )


class _Copier:
    """Copies tensors of a model into one partial file."""

    def __init__(self, model: GGUFModel, file: PartialFile, opened: ExitStack) -> None:
        self.model = model
        self.file = file
        self.opened = opened
        self.fd = self._open(file.path, os.O_WRONLY)
        self.sources: dict[int, int] = {}
        self.in_kernel = hasattr(os, "copy_file_range")

    def copy(self, target: CopyTarget, progress: Progress) -> None:
        for info, source in zip(target.layout.tensors, target.sources, strict=True):
            at = target.layout.data_offset + info.offset
            for start, size in byte_ranges(source.nbytes):
                copied = self._copy_in_kernel(source, start, at + start, size)
                if copied < size:
                    rest = self.model.read_bytes(source, start + copied, size - copied)
                    self.file.write_at(at + start + copied, rest)
                progress(size)

    def _copy_in_kernel(self, source: TensorInfo, start: int, at: int, size: int) -> int:
        """Return the bytes copied; what is missing has to go through memory."""
        if not self.in_kernel:
            return 0
        part = self.model.part_of(source.name)
        start += part.data_offset + source.offset
        try:
            return os.copy_file_range(self._fd_of(part), self.fd, size, start, at)
        except OSError:
            # Not supported, or not across file systems; if the disk is the reason, writing says so.
            self.in_kernel = False
            return 0

    def _fd_of(self, part: GGUFFile) -> int:
        if id(part) not in self.sources:
            fd = self._open(part.path or Path(), os.O_RDONLY)
            if os.fstat(fd).st_size != part.file_size:
                raise TruncatedError("the file changed while in use", path=part.path)
            self.sources[id(part)] = fd
        return self.sources[id(part)]

    def _open(self, path: Path, flags: int) -> int:
        try:
            fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}") from error
        self.opened.callback(os.close, fd)
        return fd
