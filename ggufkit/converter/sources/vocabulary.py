"""A GGUF file of metadata alone, as ``convert_hf_to_gguf.py --vocab-only`` writes it.

llama.cpp tokenizes with such a file; weights need not be there, nor be fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.architectures.third_party import load_file
from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.sources.base import FILE_TYPE_KEY, Reader, Source, SourceTensor, file_name
from ggufkit.converter.sources.checkpoint import (
    IdentifiedModel,
    checkpoint_origin,
    tokenizer_origin,
)
from ggufkit.errors import ConversionError, MissingTensorError
from ggufkit.tokenizers import self_test as check_tokenizer
from ggufkit.types import FileType

if TYPE_CHECKING:
    from ggufkit.tokenizers import SelfTest

FILE_TYPES = {"BF16": FileType.BF16, "F16": FileType.F16}


@dataclass(frozen=True, kw_only=True)
class VocabularySource(Source):
    """A checkpoint's metadata.

    Attributes
    ----------
    self_test : SelfTest or None
        What became of the tokenizer's self-test, if it was wanted.
    """

    self_test: SelfTest | None

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        pre: str | None = None,
        name: str | None = None,
        self_test: bool = True,
        generic: bool | str = False,
        architecture: str | Path | None = None,
    ) -> VocabularySource:
        """Read a checkpoint's config and tokenizer.

        Parameters
        ----------
        source, revision, pre, name, self_test, generic, architecture
            See `ggufkit.converter.ladder.open_source`; a GGUF file is no source.

        Raises
        ------
        CheckpointError, ConversionError
            The tokenizer or the config can't be converted.
        """
        if Path(source).suffix.lower() == ".gguf":
            raise ConversionError(f"{source}: a vocabulary is for checkpoints, not for GGUF files")
        checkpoint = Checkpoint.open(source, revision=revision, weights=False)
        given = load_file(Path(architecture)) if architecture else None
        model = IdentifiedModel.of(checkpoint, pre=pre, generic=generic, given=given)
        tested = check_tokenizer(checkpoint.path, model.tokenizer) if self_test else None
        file_type = _file_type(checkpoint)
        metadata = model.metadata(checkpoint, (), name)
        metadata[FILE_TYPE_KEY] = int(file_type)
        return cls(
            tensors=(),
            origin={
                **checkpoint_origin(checkpoint, given),
                **model.provenance,
                **tokenizer_origin(model, tested),
            },
            base_metadata=metadata,
            file_types=(file_type,),
            self_test=tested,
        )

    def file_name(self, _: str) -> str:
        """Return the name that the converter gives the file."""
        return file_name(self.base_metadata, None, with_size=False, kind="vocab")

    def reader(self, tensor: SourceTensor) -> Reader:
        """Refuse: there are no tensors."""
        raise MissingTensorError(f"{tensor.name}: a vocabulary has no tensors")


def _file_type(checkpoint: Checkpoint) -> FileType:
    """Return the type that the converter's ``--outtype auto`` finds: of the first 16-bit matrix."""
    matrices = (t.dtype for t in checkpoint.tensors.values() if len(t.shape) >= 2)
    return next((FILE_TYPES[dtype] for dtype in matrices if dtype in FILE_TYPES), FileType.F16)
