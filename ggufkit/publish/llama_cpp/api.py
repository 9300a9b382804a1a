"""The part of llama.cpp's C API that is needed to run a model, from the library in `xllamacpp`.

It relies only on parts that have been stable for years: function names, the batch, and the first
field of the context's parameters, ``n_ctx``. The parameters themselves are blobs that llama.cpp
fills with its defaults. llama.cpp aborts on unexpected input, so this module is only imported by
`ggufkit.publish.llama_cpp.worker`, which runs in a separate process.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

from ggufkit.arrays import Floats

# More than the parameters of any version; llama.cpp does not look at the rest.
_BLOB_BYTES = 2048
_PIECE_BYTES = 512


class _Blob(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * _BLOB_BYTES)]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_POINTERS = (
    "llama_model_load_from_file",
    "llama_init_from_model",
    "llama_model_get_vocab",
    "llama_get_memory",
    "llama_get_logits",
)


def library_path() -> Path | None:
    """Return the shared library with llama.cpp, or None without the package `xllamacpp`."""
    from importlib.util import find_spec

    spec = find_spec("xllamacpp")  # found, not imported
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.so"))), None)


class LoadError(Exception):
    """llama.cpp refuses a file; the message is its first logged error."""


class Model:
    """A model, loaded into memory with a context.

    Parameters
    ----------
    path : str
        The file, or the first of a split.
    n_ctx : int
        Tokens of the context.

    Raises
    ------
    LoadError
        llama.cpp can't load it.
    """

    def __init__(self, path: str, n_ctx: int) -> None:
        self._lib = _library()
        self._errors: list[str] = []
        self._log = _LOG(self._note)  # kept: llama.cpp has only a pointer to it
        self._lib.llama_log_set(self._log, None)
        self._lib.llama_backend_init()
        parameters = self._lib.llama_model_default_params()
        self._model = self._pointer("llama_model_load_from_file", path.encode(), parameters)
        context = self._lib.llama_context_default_params()
        ctypes.cast(ctypes.byref(context), ctypes.POINTER(ctypes.c_uint32))[0] = n_ctx
        self._context = self._pointer("llama_init_from_model", self._model, context)
        n_threads = os.cpu_count() or 1
        self._lib.llama_set_n_threads(self._context, n_threads, n_threads)
        self._vocab = self._pointer("llama_model_get_vocab", self._model)
        self.n_vocab = int(self._lib.llama_vocab_n_tokens(self._vocab))

    def _note(self, level: int, text: bytes, _: object) -> None:
        if level >= 4 and text.strip():  # GGML_LOG_LEVEL_ERROR
            self._errors.append(text.decode(errors="replace").strip())

    def _pointer(self, function: str, *arguments: object) -> ctypes.c_void_p:
        found = getattr(self._lib, function)(*arguments)
        if not found:
            raise LoadError(self._errors[0] if self._errors else f"{function} gives no reason")
        return ctypes.c_void_p(found)

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Return the tokens of a text, with BOS and EOS as the vocabulary wants them.

        Parameters
        ----------
        text : str
            The text.
        special : bool
            Whether texts of special tokens become these tokens.
        """
        data = text.encode()
        found = (ctypes.c_int32 * (len(data) + 8))()
        n = self._lib.llama_tokenize(self._vocab, data, len(data), found, len(found), True, special)
        if n < 0:
            raise LoadError("the text can't be tokenized")
        # chat templates write BOS themselves, and the vocabulary adds it
        twice = n > 1 and found[0] == found[1] == self.bos()
        return list(found[twice:n])

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        n = self._lib.llama_token_to_piece(self._vocab, token, buffer, _PIECE_BYTES, 0, True)
        return buffer.raw[: max(0, n)]

    def ends(self, token: int) -> bool:
        """Whether a token ends the model's answer."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def bos(self) -> int | None:
        """Return the token that is added before texts, or None if the model has none."""
        if not self._lib.llama_vocab_get_add_bos(self._vocab):
            return None
        return int(self._lib.llama_vocab_bos(self._vocab))

    def forget(self) -> None:
        """Clear the context."""
        memory = self._lib.llama_get_memory(self._context)
        self._lib.llama_memory_clear(ctypes.c_void_p(memory), True)

    def logits(self, tokens: list[int], n_last: int = 1) -> Floats:
        """Append `tokens`; return the logits after the last `n_last`, (n_last, n_vocab)."""
        n = len(tokens)
        ids = (ctypes.c_int32 * n)(*tokens)
        flags = (ctypes.c_int8 * n)(*([0] * (n - n_last) + [1] * n_last))
        address = [ctypes.cast(array, ctypes.c_void_p) for array in (ids, flags)]
        status = self._lib.llama_decode(
            self._context, _Batch(n, address[0], None, None, None, None, address[1])
        )
        if status:
            raise LoadError(f"llama_decode gives {status}: {' '.join(self._errors[-1:])}")
        data = self._pointer("llama_get_logits", self._context)
        floats = ctypes.cast(data, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(floats, (n_last, self.n_vocab)).copy()


def _library() -> ctypes.CDLL:
    path = library_path()
    if path is None:
        raise LoadError("the package xllamacpp is not installed")
    library = ctypes.CDLL(str(path))
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(library, name).restype = _Blob
    for name in _POINTERS:
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("llama_vocab_is_eog", "llama_vocab_get_add_bos"):
        getattr(library, name).restype = ctypes.c_bool
    return library
