"""What is fuzzed: for each reader its seeds, the mutations that suit it, and how to call it."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.safetensors import read_float32, read_header
from ggufkit.checkpoint.torch.torchfile import read_torch_header
from ggufkit.checkpoint.torch.unpickle import unpickle_tensors
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.export.plan import plan_export
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.reader import GGUFFile
from ggufkit.tokenizers.sentencepiece import parse_model
from tests import build
from tests.fuzzing import mutate
from tests.llama import write_llama
from tests.tokenizers.build import model_type, piece

Mutator = Callable[[bytes, random.Random], bytes]
TORCH = Path(__file__).resolve().parents[1] / "checkpoint" / "torch"
MOST_WEIGHTS = 1 << 20  # decoded, so that a run stays short


@dataclass(frozen=True)
class Target:
    """A reader of files from strangers.

    Attributes
    ----------
    seeds : list of bytes
        Well-formed files.
    mutate : callable
        From a seed to a mutant.
    run : callable
        Reads a mutant; may raise `GGUFKitError` only.
    share : float
        Part of a run's mutants that it gets; slow readers get fewer.
    """

    seeds: list[bytes]
    mutate: Mutator
    run: Callable[[bytes], None]
    share: float = 1.0


def all_targets(folder: Path) -> dict[str, Target]:
    """Return every target; files that readers want on disk go to `folder`."""
    gguf = [build.small(), build.small(version=2), build.small(order=">"), _model(folder)]
    split = _split(folder)
    imatrices = _imatrices(folder)
    checkpoint = write_llama(folder / "tiny")
    weights = (checkpoint / "model.safetensors").read_bytes()
    torch = [(TORCH / name).read_bytes() for name in ("state_dict.bin", "protocol4.bin")]

    def with_file(name: str) -> Callable[[Callable[[Path], object]], Callable[[bytes], None]]:
        def decorate(read: Callable[[Path], object]) -> Callable[[bytes], None]:
            def run(data: bytes) -> None:
                (folder / name).write_bytes(data)
                read(folder / name)

            return run

        return decorate

    def of_checkpoint(name: str) -> Target:
        seed = (checkpoint / name).read_bytes()

        def run(data: bytes) -> None:
            path = checkpoint / name
            path.write_bytes(data)
            try:
                CheckpointSource.open(Checkpoint.open(checkpoint)).metadata(ggufkit.FileType.F16)
            finally:
                path.write_bytes(seed)

        return Target([seed], mutate.mutate_json, run, 0.15)

    return {
        "gguf": Target(gguf, _by_fields(gguf, mutate.gguf_fields), partial(_read, strict=True), 4),
        "gguf-lenient": Target(
            gguf, _by_fields(gguf, mutate.gguf_fields), partial(_read, strict=False), 2
        ),
        "split": Target(
            split,
            _by_fields(split, mutate.gguf_fields),
            with_file("s-00002-of-00002.gguf")(lambda _: _join(folder)),
        ),
        "check": Target(
            gguf,
            _by_fields(gguf, mutate.gguf_fields),
            with_file("c.gguf")(lambda path: ggufkit.check(path)),
            0.2,
        ),
        "export": Target(
            [_floats(folder)],
            _by_fields([_floats(folder)], mutate.gguf_fields),
            with_file("e.gguf")(lambda path: plan_export(path, jobs=1)),
            0.2,
        ),
        "imatrix": Target(
            imatrices[:1],
            _by_fields(imatrices, mutate.gguf_fields),
            with_file("im.gguf")(Imatrix.open),
        ),
        "imatrix-legacy": Target(
            imatrices[1:],
            _by_fields(imatrices, mutate.imatrix_fields),
            with_file("im.dat")(Imatrix.open),
        ),
        "safetensors": Target(
            [_small_safetensors(), weights[: 8 + int.from_bytes(weights[:8], "little")]],
            mutate.mutate_safetensors,
            with_file("w.safetensors")(_read_safetensors),
        ),
        "index": _index(checkpoint),
        "config": of_checkpoint("config.json"),
        "tokenizer": of_checkpoint("tokenizer.json"),
        "tokenizer-config": of_checkpoint("tokenizer_config.json"),
        "pieces": Target(
            [_pieces()],
            _by_fields([_pieces()], mutate.no_fields),
            lambda data: parse_model(data, "tokenizer.model"),
        ),
        "pickle": Target(
            torch,
            _by_fields(torch, mutate.pickle_fields),
            with_file("pytorch_model.bin")(_read_torch),
        ),
        "pickle-alone": Target(
            [_pickle_of(data) for data in torch],
            _by_fields([_pickle_of(data) for data in torch], mutate.pickle_fields),
            lambda data: unpickle_tensors(data, "data.pkl"),
        ),
    }


def _by_fields(others: list[bytes], fields: Callable[[bytes], list[mutate.Field]]) -> Mutator:
    cache: dict[bytes, list[mutate.Field]] = {}

    def of(seed: bytes) -> list[mutate.Field]:
        if seed not in cache:
            cache[seed] = fields(seed)
        return cache[seed]

    return lambda seed, rng: mutate.mutate(seed, others, of, rng)


def _model(folder: Path) -> bytes:
    source = write_llama(folder / "seed", n_layers=1)
    path = folder / "seed.gguf"
    ggufkit.convert(source, path, ladder="Q2_K")
    with path.open("rb") as file:
        head = file.read(1 << 16)
    with GGUFFile.open(path) as model:
        return path.read_bytes()[: model.data_offset + 4096] if model.data_offset < 65536 else head


def _floats(folder: Path) -> bytes:
    """Return a whole model in F32."""
    source = write_llama(folder / "floats", n_layers=1, hidden=64, ffn=64)
    path = folder / "floats.gguf"
    if not path.exists():
        ggufkit.convert(source, path, ladder="F32")
    return path.read_bytes()


def _read(data: bytes, *, strict: bool) -> None:
    with GGUFFile.from_buffer(data, strict=strict) as model:
        for key in model.metadata:
            model.metadata[key]
        for tensor in model.values():
            if tensor.info.n_weights < MOST_WEIGHTS and model.byte_order == "<":
                ggufkit.dequantize(tensor)


def _split(folder: Path) -> list[bytes]:
    """Return the second part of a split model; the first lies in the folder."""
    pairs = [
        [
            build.pair("general.architecture", build.STR, "llama"),
            build.pair("split.no", build.U16, i),
            build.pair("split.count", build.U16, 2),
            build.pair("split.tensors.count", build.I32, 2),
        ]
        for i in range(2)
    ]
    parts = [build.file(pairs[i], [build.tensor(f"t{i}", [8], 0, 0)], bytes(32)) for i in range(2)]
    (folder / "s-00001-of-00002.gguf").write_bytes(parts[0])
    return [parts[1]]


def _join(folder: Path) -> None:
    with open_gguf(folder / "s-00001-of-00002.gguf") as model:
        for tensor in model.values():
            ggufkit.dequantize(tensor)


def _imatrices(folder: Path) -> list[bytes]:
    entry = ImatrixEntry(np.ones((2, 4), np.float32), np.array([3, 0], np.float32))
    matrix = Imatrix({"blk.0.a": entry, "b": entry}, "x", ("text",), 5, 512)
    found = []
    for name in ("seed-im.gguf", "seed-im.dat"):
        matrix.save(folder / name)
        found.append((folder / name).read_bytes())
    return found


def _small_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
        "c": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [24, 32]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(32)


def _read_safetensors(path: Path) -> None:
    for tensor in read_header(path).values():
        if tensor.nbytes < MOST_WEIGHTS and not tensor.dtype.startswith("F8"):
            read_float32(tensor)


def _read_torch(path: Path) -> None:
    for tensor in read_torch_header(path).values():
        if tensor.nbytes < MOST_WEIGHTS and not tensor.dtype.startswith("F8"):
            read_float32(tensor)


def _pickle_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def _index(checkpoint: Path) -> Target:
    weights = Checkpoint.open(checkpoint).tensors
    shard = "model.safetensors"
    document = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, shard)}
    path = checkpoint / "model.safetensors.index.json"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            Checkpoint.open(checkpoint)
        finally:
            path.unlink()

    return Target([json.dumps(document).encode()], mutate.mutate_json, run, 0.3)


def _pieces() -> bytes:
    pieces = b"".join(
        piece(text, score, kind)
        for text, score, kind in (("<unk>", 0, 2), ("<s>", 0, 3), ("▁a", -1, 1), ("<0x41>", 0, 6))
    )
    return pieces + model_type(2)
