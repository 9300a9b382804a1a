"""What the real llama.cpp computes on tiny files, in processes of their own.

A process takes many files, and writes a line for each; where llama.cpp ends it, the file that it
was at gets no values and another process goes on with the next.

python llama_values.py     reads [[path, kind, tokens], ...] as JSON on standard input
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ggufkit.publish.llama_cpp import api
from ggufkit.publish.llama_cpp.worker import log_softmax

N_CTX = 256
_MARK = "values: "
Request = tuple[str, str, list[int]]

# Of the context's parameters: where they lie, what llama.cpp wants by default, and what we want:
# no flash attention, which rounds to float16, and float32 in the cache of keys and values.
_PARAMETERS = ((52, -1, 0), (104, 1, 0), (108, 1, 0))
_RANK = (44, -1, 4)  # pooling into a classifier's scores


def compute(requests: Sequence[Request]) -> list[list[float] | str]:
    """Return each file's values, or what llama.cpp said."""
    found: list[list[float] | str] = []
    while len(found) < len(requests):
        done = subprocess.run(
            [sys.executable, "-m", "tests.real.llama_values"],
            input=json.dumps(requests[len(found) :]),
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            cwd=Path(__file__).parents[2],
        )
        lines = done.stdout.splitlines()
        found += [json.loads(line[len(_MARK) :]) for line in lines if line.startswith(_MARK)]
        if done.returncode and len(found) < len(requests):
            found.append(f"it ends with {done.returncode}: {done.stderr[-300:]}")
    return found


class FloatModel(api.Model):
    """A model that attends in float32."""

    def __init__(self, path: str, *more: tuple[int, int, int]) -> None:
        library = api._library()
        defaults = library.llama_context_default_params

        def parameters() -> Any:
            found = defaults()
            for offset, default, wanted in (*_PARAMETERS, *more):
                field = ctypes.c_int32.from_buffer(found, offset)
                if field.value != default:
                    raise api.LoadError("this llama.cpp's context has other parameters")
                field.value = wanted
            return found

        library.llama_context_default_params = parameters
        with mock.patch.object(api, "_library", return_value=library):
            super().__init__(path, N_CTX)
        for name in ("llama_get_embeddings", "llama_get_embeddings_seq"):
            getattr(library, name).restype = ctypes.c_void_p

    def close(self) -> None:
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def next_token(self, tokens: list[int]) -> Any:
        return log_softmax(self.logits(tokens, len(tokens)))[-1]

    def decoded(self, tokens: list[int]) -> Any:
        """Return what an encoder-decoder begins its answer to `tokens` with."""
        self._encode(tokens)
        return self.next_token([self._lib.llama_model_decoder_start_token(self._model)])

    def embedding(self, tokens: list[int], n: int | None = None) -> Any:
        """Return the embedding, or the last token's where the model does not pool."""
        self._lib.llama_set_embeddings(self._context, True)
        self._encode(tokens)
        if self._lib.llama_pooling_type(self._context) == 0:
            data, n_rows = self._pointer("llama_get_embeddings", self._context), len(tokens)
        else:
            data, n_rows = self._pointer("llama_get_embeddings_seq", self._context, 0), 1
        n = n or self._lib.llama_model_n_embd(self._model)
        floats = ctypes.cast(data, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(floats, (n_rows, n))[-1].copy()

    def score(self, tokens: list[int]) -> Any:
        """Return a classifier's scores."""
        return self.embedding(tokens, self._lib.llama_model_n_cls_out(self._model))

    def _encode(self, tokens: list[int]) -> None:
        n = len(tokens)
        ids = (ctypes.c_int32 * n)(*tokens)
        flags = (ctypes.c_int8 * n)(*[1] * n)
        address = [ctypes.cast(array, ctypes.c_void_p) for array in (ids, flags)]
        batch = api._Batch(n, address[0], None, None, None, None, address[1])
        if status := self._lib.llama_encode(self._context, batch):
            raise api.LoadError(f"llama_encode gives {status}")


KINDS = {
    "decoder": FloatModel.next_token,
    "encoder-decoder": FloatModel.decoded,
    "embedding": FloatModel.embedding,
    "score": FloatModel.score,
}


def _main() -> None:
    for path, kind, tokens in json.load(sys.stdin):
        try:
            model = FloatModel(path, *([_RANK] if kind == "score" else []))
            answer: Any = KINDS[kind](model, tokens).tolist()
            model.close()
        except api.LoadError as error:
            answer = str(error)
        sys.stdout.write(f"\n{_MARK}{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
