"""A GGUF file of metadata alone, as ``convert_hf_to_gguf.py --vocab-only`` writes it.

llama.cpp tokenizes with such a file; weights need not be there, nor be fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.errors import ConversionError, OutputError
from ggufkit.gguf.layout import Layout, plan_layout
from ggufkit.gguf.naming import build_name
from ggufkit.gguf.writer import write
from ggufkit.io.atomic import output_errors
from ggufkit.types import FileType

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.tokenizers import SelfTest

_HEAD_BYTES = 24  # magic, version and two counts

FILE_TYPES = {"BF16": FileType.BF16, "F16": FileType.F16}


@dataclass(frozen=True)
class VocabularyFile:
    """A planned file.

    Attributes
    ----------
    path : Path
        Where it goes.
    metadata : Metadata
        All of its content.
    layout : Layout
        Its bytes.
    self_test : SelfTest or None
        What became of the tokenizer's self-test, if it was wanted.
    """

    path: Path
    metadata: Metadata
    layout: Layout
    self_test: SelfTest | None


def plan_vocabulary(
    source: str | Path,
    out: str | Path,
    *,
    revision: str | None = None,
    pre: str | None = None,
    name: str | None = None,
    self_test: bool = True,
    generic: bool | str = False,
) -> VocabularyFile:
    """Plan a GGUF file with the metadata of a checkpoint and no tensors.

    Parameters
    ----------
    source, revision, pre, name, self_test, generic
        See `ggufkit.converter.ladder.open_source`; a GGUF file is no source.
    out : str or Path
        A folder, or a file ending in ``.gguf``.

    Raises
    ------
    CheckpointError, ConversionError
        The tokenizer or the config can't be converted.
    """
    if Path(source).suffix.lower() == ".gguf":
        raise ConversionError(f"{source}: --vocab-only is for checkpoints, not for GGUF files")
    checkpoint = Checkpoint.open(source, revision=revision, weights=False)
    opened = CheckpointSource.open_vocabulary(
        checkpoint, pre=pre, name=name, self_test=self_test, generic=generic
    )
    metadata = opened.metadata(_file_type(checkpoint))
    path = Path(out)
    if path.suffix != ".gguf":
        path /= _file_name(metadata)
    return VocabularyFile(path, metadata, _lay_out(metadata), opened.self_test)


def write_vocabulary(vocabulary: VocabularyFile, *, force: bool = False) -> Path:
    """Write a planned file, whole or not at all.

    Parameters
    ----------
    vocabulary : VocabularyFile
        From `plan_vocabulary`.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        The file exists, or can't be written.
    """
    path = vocabulary.path
    if path.exists() and not force:
        raise OutputError(f"{path} exists: replace it with --force, or choose another name")
    with output_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, vocabulary.layout, ())


def _file_type(checkpoint: Checkpoint) -> FileType:
    """Return the type that the converter's ``--outtype auto`` finds: of the first 16-bit matrix."""
    matrices = (t.dtype for t in checkpoint.tensors.values() if len(t.shape) >= 2)
    return next((FILE_TYPES[dtype] for dtype in matrices if dtype in FILE_TYPES), FileType.F16)


def _lay_out(metadata: Metadata) -> Layout:
    layout = plan_layout(metadata, ())
    # The converter pads before tensors only.
    header = layout.header[: _HEAD_BYTES + len(metadata.encoded())]
    return replace(layout, header=header, data_offset=len(header), file_size=len(header))


def _file_name(metadata: Metadata) -> str:
    def text(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value if isinstance(value, str) else None

    return build_name(
        text("basename") or text("name") or "model",
        fine_tune=text("finetune"),
        version=text("version"),
        type="vocab",
    )
