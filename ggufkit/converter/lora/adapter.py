"""An adapter of PEFT: a folder with adapter_config.json and adapter_model.safetensors or .bin.

::

    base_model.model.MODULE.lora_A.weight       (rank, n_in)
    base_model.model.MODULE.lora_B.weight       (n_out, rank)       W + scale * B @ A
    base_model.model.MODULE.lora_embedding_A    (rank, n_tokens)
    base_model.model.MODULE.lora_embedding_B    (n_embd, rank)      W + scale * (B @ A).T
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.arrays import Floats
from ggufkit.checkpoint.hub import REPO_ID, fetch_files
from ggufkit.checkpoint.safetensors import (
    CheckpointTensor,
    Shard,
    expect_weights,
    read_float32,
    read_header,
)
from ggufkit.checkpoint.torch.torchfile import read_torch_header
from ggufkit.converter.lora.settings import Settings, parse_settings
from ggufkit.errors import ConversionError, MissingFileError, named
from ggufkit.io.guarded_files import find_file, has_file, read_json

if TYPE_CHECKING:
    from typing import Self


CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
#: Tensors that a message names.
MOST_NAMED = 8

_PAIR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.weight)?", re.DOTALL)
_BASE = ".base_layer.weight"
# Whole norms, which tools that extract adapters from models add to them.
_NORM = re.compile(r".*(_layernorm|\.norm).*\.weight", re.DOTALL)


@dataclass(frozen=True)
class LowRank:
    """The two small matrices of one weight.

    Attributes
    ----------
    name : str
        The weight's, in the checkpoint.
    a, b : CheckpointTensor
        (rank, n_in) and (n_out, rank).
    scale : float
        What their product is multiplied with.
    transposed : bool
        Whether the checkpoint has the weight with inputs as rows: embeddings, Conv1D.
    """

    name: str
    a: CheckpointTensor
    b: CheckpointTensor
    scale: float
    transposed: bool

    @property
    def rank(self) -> int:
        """Columns of B, and rows of A."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight, in the checkpoint."""
        n_out, n_in = self.b.shape[0], self.a.shape[1]
        return (n_in, n_out) if self.transposed else (n_out, n_in)

    def factors(self, rows: slice = slice(None)) -> tuple[Floats, Floats]:
        """Return (n_rows, rank) and (rank, n_cols), whose product is like rows of the weight."""
        if self.transposed:
            return read_float32(self.a)[:, rows].T, read_float32(self.b).T
        return read_float32(self.b, rows), read_float32(self.a)


@dataclass(frozen=True)
class Adapter:
    """An adapter, its pairs matched; only the head of its file has been read.

    Attributes
    ----------
    path : Path
        The folder.
    name : str
        The folder's, or the repository's.
    settings : Settings
        From its config.
    pairs : mapping of str to LowRank
        By the weight's name in the checkpoint, in the order of the file.
    norms : mapping of str to CheckpointTensor
        Whole norms, by name.
    bases : mapping of str to CheckpointTensor
        Copies of the base's own weights, which PEFT saves with adapted embeddings, by name.
    """

    path: Path
    name: str
    settings: Settings
    pairs: Mapping[str, LowRank]
    norms: Mapping[str, CheckpointTensor]
    bases: Mapping[str, CheckpointTensor]

    @classmethod
    def open(cls, source: str | Path) -> Self:
        """Open an adapter's folder or, for ``owner/name``, a repository of the Hub.

        Raises
        ------
        MissingFileError
            It lacks a file.
        CheckpointError
            A file is malformed.
        ConversionError
            It is no plain LoRA; the message says why.
        """
        path = _folder(source)
        settings = parse_settings(read_json(path, CONFIG), str(path / CONFIG))
        tensors = _read_tensors(path)
        halves: dict[str, dict[str, CheckpointTensor]] = {}
        embeddings: set[str] = set()
        norms: dict[str, CheckpointTensor] = {}
        bases: dict[str, CheckpointTensor] = {}
        odd = []
        for name, tensor in tensors.items():
            expect_weights(tensor)
            plain = name.removeprefix(PREFIX)
            match = _PAIR.fullmatch(plain)
            if match:
                halves.setdefault(match[1], {})[match[3]] = tensor
                if match[2]:
                    embeddings.add(match[1])
            elif _NORM.fullmatch(plain) and len(tensor.shape) == 1:
                norms[plain] = tensor
            elif plain.endswith(_BASE):
                bases[f"{plain.removesuffix(_BASE)}.weight"] = tensor
            else:
                odd.append(name)
        if odd:
            raise ConversionError(f"{path}: {_why_odd(odd[0])} ({named(odd, MOST_NAMED)})")
        if not halves:
            raise ConversionError(f"{path}: holds no pair of lora_A and lora_B")
        pairs = {
            f"{module}.weight": _pair(path, module, found, settings, module in embeddings)
            for module, found in halves.items()
        }
        return cls(path, Path(source).name, settings, pairs, norms, bases)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The files that its weights are read from."""
        return tuple(dict.fromkeys(pair.a.shard for pair in self.pairs.values()))

    @property
    def scales(self) -> dict[str, float]:
        """What each pair's product is multiplied with."""
        return {name: pair.scale for name, pair in self.pairs.items()}


def _folder(source: str | Path) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or not isinstance(source, str) or not REPO_ID.fullmatch(source):
        raise MissingFileError(
            f"{path}: neither a folder with an adapter ({CONFIG}, {WEIGHTS[0]}) nor a repository "
            "of the Hub ('owner/name')"
        )
    found = fetch_files(source, (CONFIG, "config.json", "README.md", WEIGHTS[0]))
    return found if has_file(found, WEIGHTS[0]) else fetch_files(source, (CONFIG, WEIGHTS[1]))


def _read_tensors(folder: Path) -> dict[str, CheckpointTensor]:
    for name in WEIGHTS:
        if has_file(folder, name):
            read = read_header if name.endswith(".safetensors") else read_torch_header
            return read(find_file(folder, name))
    raise MissingFileError(f"{folder}: neither {WEIGHTS[0]} nor {WEIGHTS[1]}")


def _pair(
    path: Path,
    module: str,
    found: Mapping[str, CheckpointTensor],
    settings: Settings,
    is_embedding: bool,
) -> LowRank:
    if len(found) != 2:
        raise ConversionError(f"{path}: {module} has lora_{next(iter(found))}, and not the other")
    a, b = found["A"], found["B"]
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ConversionError(
            f"{path}: {module} is no matrix (shapes {b.shape} and {a.shape}); adapters of "
            "convolutions can't be converted"
        )
    if a.shape[0] != b.shape[1] or not a.shape[0]:
        raise ConversionError(f"{path}: {module}: {b.shape} and {a.shape} can't be multiplied")
    scale = settings.scale(module, a.shape[0])
    return LowRank(f"{module}.weight", a, b, scale, is_embedding or settings.transposed)


_ODD = (
    ("lora_magnitude_vector", "a DoRA adapter, which also rescales the weights' columns"),
    (".hada_", "a LoHa adapter, which multiplies two products"),
    (".lokr_", "a LoKr adapter, which has Kronecker products"),
    (".bias", "an adapter with biases, for which a GGUF adapter has no place"),
    ("embed_tokens.weight", "has whole embeddings: tokens were added, or modules_to_save used"),
    ("lm_head.weight", "has a whole output matrix: tokens were added, or modules_to_save used"),
)


def _why_odd(name: str) -> str:
    known = next((why for part, why in _ODD if part in name), None)
    return f"{known or 'has tensors that are no part of a LoRA'}; merge it with PEFT, and convert"
