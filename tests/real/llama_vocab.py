"""How the real llama.cpp tokenizes, by a file without tensors, in a process of its own.

The server of `xllamacpp` takes no such file, and llama.cpp's C API does.

python llama_vocab.py tokenize|load      a request as JSON on standard input
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Parameters(ctypes.Structure):
    """``llama_model_params``, as of October 2026."""

    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int32),
        ("load_mode", ctypes.c_int32),
        ("lazy_mode", ctypes.c_int32),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("vocab_only", ctypes.c_bool),
        ("check_tensors", ctypes.c_bool),
        ("use_extra_bufts", ctypes.c_bool),
        ("no_host", ctypes.c_bool),
        ("no_alloc", ctypes.c_bool),
        ("load_mtp", ctypes.c_bool),
    ]


def tokenize(path: Path, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    """The ids of each text; `special` says whether the text of a special token means that."""
    found: list[list[int]] = _ask("tokenize", [str(path), list(texts), special])
    return found


def loaded(paths: Sequence[Path]) -> list[bool]:
    """Whether llama.cpp takes each file."""
    found: list[bool] = _ask("load", [str(path) for path in paths])
    return found


def _ask(what: str, request: Any) -> Any:
    command = [sys.executable, __file__, what]
    done = subprocess.run(
        command, input=json.dumps(request), check=True, capture_output=True, text=True, timeout=300
    )
    return json.loads(done.stdout.splitlines()[-1])


def _library() -> ctypes.CDLL:
    from ggufkit.publish.llama_cpp.api import library_path

    library = ctypes.CDLL(str(library_path()))
    library.llama_model_default_params.restype = Parameters
    load, vocab_of = library.llama_model_load_from_file, library.llama_model_get_vocab
    load.restype = vocab_of.restype = ctypes.c_void_p
    load.argtypes = [ctypes.c_char_p, Parameters]
    library.llama_backend_init()
    return library


def _load(library: ctypes.CDLL, path: str) -> int | None:
    parameters = library.llama_model_default_params()
    assert parameters.use_extra_bufts, "llama_model_params has changed"
    parameters.vocab_only = True
    model: int | None = library.llama_model_load_from_file(path.encode(), parameters)
    return model


def _tokenize(path: str, texts: list[str], special: bool) -> list[list[int]]:
    library = _library()
    model = _load(library, path)
    assert model, f"llama.cpp refuses {path}"
    vocab = ctypes.c_void_p(library.llama_model_get_vocab(ctypes.c_void_p(model)))

    def ids(text: str) -> list[int]:
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 8))()
        n = library.llama_tokenize(vocab, data, len(data), room, len(room), False, special)
        return room[:n]

    return [ids(text) for text in texts]


if __name__ == "__main__":
    request = json.loads(sys.stdin.read())
    if sys.argv[1] == "load":
        library = _library()
        answer: Any = [bool(_load(library, path)) for path in request]
    else:
        answer = _tokenize(*request)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
