"""Everything ggufkit raises on purpose.

::

    GGUFKitError
    ├── FormatError (ValueError)         a GGUF file is not what the format allows
    │   ├── NotGGUFError                 the magic is missing
    │   ├── UnsupportedVersionError      a version this reader does not know
    │   ├── TruncatedError               the file ends before what it promises
    │   ├── BadValueError                a value, type id, name or key is invalid
    │   ├── BadLayoutError               tensor offsets, shapes or alignment contradict
    │   └── LimitExceededError           larger than a documented limit
    ├── MetadataError
    │   ├── MissingKeyError (KeyError)
    │   └── WrongValueTypeError (TypeError)
    ├── CodecError (ValueError)
    │   ├── UnknownTensorTypeError
    │   ├── NoEncoderError
    │   ├── NotBlockAlignedError
    │   ├── ImportanceRequiredError
    │   └── NotFiniteError
    ├── CheckpointError
    │   ├── MissingFileError (FileNotFoundError)
    │   ├── MissingTensorError (KeyError)
    │   ├── UnsupportedDtypeError
    │   └── UnsafePickleError
    ├── TemplateError                    a chat template fails, or exceeds a limit
    ├── RemoteError                      a server can't be reached, or sends invalid answers
    ├── LlamaCppError                    llama.cpp is not installed, or refuses a file
    ├── OllamaError                      an Ollama server can't be reached, or refuses
    └── ConversionError
        ├── UnknownArchitectureError
        ├── TensorNamesError             a checkpoint's tensors are not those of its architecture
        │   ├── UnmappedTensorsError
        │   └── MissingWeightsError
        ├── ShapeMismatchError
        ├── UnloadableModelError         llama.cpp would refuse the file
        ├── UnknownTokenizerError
        ├── TokenizerMismatchError       a file would not tokenize like its checkpoint
        └── OutputError                  an output file or folder can't be used

A message says what is wrong, where, and what to do about it. Details that a program may need are
also fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any


class GGUFKitError(Exception):
    """Base of every error raised on purpose by ggufkit."""

    def __str__(self) -> str:
        # KeyError's own __str__ would show the repr of the message.
        return str(self.args[0]) if self.args else self.__class__.__name__

    def as_dict(self) -> dict[str, Any]:
        """Return the kind of error, its message and its fields, for JSON."""
        return {"error": self.__class__.__name__, "message": str(self), **vars(self)}


class FormatError(GGUFKitError, ValueError):
    """A GGUF file breaks a rule of the format.

    Parameters
    ----------
    what : str
        What is wrong and what was expected.
    path : path-like, optional
        The file.
    offset : int, optional
        The byte at which it shows.
    """

    def __init__(
        self, what: str, *, path: str | PathLike[str] | None = None, offset: int | None = None
    ) -> None:
        self.what = what
        self.path = path
        self.offset = offset
        where = "" if path is None else f"{path}: "
        at = "" if offset is None else f"at byte {offset}: "
        super().__init__(f"{where}{at}{what}")


class NotGGUFError(FormatError):
    """The file does not start with the GGUF magic."""


class UnsupportedVersionError(FormatError):
    """The file's GGUF version can't be read."""


class TruncatedError(FormatError):
    """The file ends before what its header promises."""


class BadValueError(FormatError):
    """A value, type id, key or name is not allowed."""


class BadLayoutError(FormatError):
    """Tensor shapes, offsets or the alignment contradict each other or the file."""


class LimitExceededError(FormatError):
    """A count or length is above a documented limit."""


class MetadataError(GGUFKitError):
    """Metadata does not hold what was asked for."""


class MissingKeyError(MetadataError, KeyError):
    """A metadata key is absent."""


class WrongValueTypeError(MetadataError, TypeError):
    """A value does not fit the value type that its key needs."""


class TemplateError(GGUFKitError):
    """A chat template can't be rendered.

    Parameters
    ----------
    message : str
        What went wrong.
    kind : {'syntax', 'raised', 'failed', 'unsafe', 'limit'}
        It can't be parsed; it called ``raise_exception``; it failed in another way; it tried to
        leave the sandbox; it exceeded a limit on time, memory or output.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        self.kind = kind
        super().__init__(message)


class CodecError(GGUFKitError, ValueError):
    """Values can't be encoded to, or decoded from, a tensor type."""


class UnknownTensorTypeError(CodecError):
    """No codec is known for the tensor type."""


class NoEncoderError(CodecError):
    """The tensor type can be decoded but not encoded."""


class NotBlockAlignedError(CodecError):
    """A row's length is not a multiple of the tensor type's block size."""


class ImportanceRequiredError(CodecError):
    """The tensor type can only be encoded with an importance matrix."""


class NotFiniteError(CodecError):
    """A weight is NaN or infinite.

    Parameters
    ----------
    message : str
        What was found.
    tensor : str, optional
        Name of the tensor.
    index : tuple of int, optional
        Position of the first such weight, in numpy order.
    """

    def __init__(
        self, message: str, *, tensor: str | None = None, index: tuple[int, ...] | None = None
    ) -> None:
        self.tensor = tensor
        self.index = index
        super().__init__(message)


class CheckpointError(GGUFKitError):
    """A Hugging Face checkpoint can't be used."""


class MissingFileError(CheckpointError, FileNotFoundError):
    """A file of the checkpoint is absent."""


class MissingTensorError(CheckpointError, KeyError):
    """A tensor is absent from the checkpoint."""


class UnsupportedDtypeError(CheckpointError):
    """A tensor's dtype can't be read."""


class UnsafePickleError(CheckpointError):
    """A pickle holds anything other than tensors."""


class RemoteError(GGUFKitError):
    """A server can't be reached, or sends invalid answers."""


class LlamaCppError(GGUFKitError):
    """llama.cpp is not installed, can't load a file, or crashes."""


class OllamaError(GGUFKitError):
    """An Ollama server can't be reached, or refuses a request."""


class ConversionError(GGUFKitError):
    """A checkpoint can't become a GGUF file."""


class UnknownArchitectureError(ConversionError):
    """No architecture file describes this checkpoint's class.

    Parameters
    ----------
    message : str
        The class, and what to do.
    closest : str, optional
        The most similar known class.
    generic : str, optional
        The architecture of gguf-py's tables that ``--generic`` would take.
    """

    def __init__(
        self, message: str, *, closest: str | None = None, generic: str | None = None
    ) -> None:
        self.closest = closest
        self.generic = generic
        super().__init__(message)


class TensorNamesError(ConversionError):
    """A checkpoint's tensors are not those of its architecture.

    Parameters
    ----------
    message : str
        What does not fit; long lists are shortened.
    unmapped : sequence of str
        All of the checkpoint's tensors that the architecture does not know.
    missing : sequence of str
        All tensors of the file that the checkpoint lacks.
    closest : str, optional
        The class whose architecture fits the tensors better.
    """

    def __init__(
        self,
        message: str,
        *,
        unmapped: Sequence[str] = (),
        missing: Sequence[str] = (),
        closest: str | None = None,
    ) -> None:
        self.unmapped = tuple(unmapped)
        self.missing = tuple(missing)
        self.closest = closest
        super().__init__(message)


class UnmappedTensorsError(TensorNamesError):
    """The checkpoint has tensors that the architecture does not know."""


class MissingWeightsError(TensorNamesError):
    """The architecture needs tensors that the checkpoint lacks."""


class UnloadableModelError(ConversionError):
    """Config, tokenizer and weights contradict each other: llama.cpp would refuse the file."""


class ShapeMismatchError(ConversionError):
    """A tensor's shape does not fit the hparams or its transform."""


class UnknownTokenizerError(ConversionError):
    """The tokenizer or its pre-tokenizer can't be identified."""


class TokenizerMismatchError(ConversionError):
    """The file would not tokenize like its checkpoint.

    Parameters
    ----------
    message : str
        What differs.
    text : str
        The text, token or merge that differs.
    """

    def __init__(self, message: str, *, text: str) -> None:
        self.text = text
        super().__init__(message)


class OutputError(ConversionError):
    """An output file or folder can't be used."""


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first of many names for a message, and how many more there are.

    Examples
    --------
    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
