"""The rules about metadata, names and shapes beside llama.cpp's loader.

Tiny files of every architecture are changed in every hparam and tensor, one at a time. What
llama.cpp refuses to load, the rules have to call an error that it refuses; what it loads, they
must not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ggufkit.architectures.registry import architecture_names
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.layout import TensorInfo, plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.rules.engine import errors
from ggufkit.rules.known_tensors import known_tensors
from ggufkit.rules.model import DescribedModel
from ggufkit.types import TensorType, ValueType
from tests.architectures.test_converted import CASES, write_case
from tests.architectures.vocabulary import vocabulary
from tests.real.llama_verdicts import verdicts

# Cases of every kind of architecture.
SAMPLE = (
    *("llama3", "mixtral", "qwen2", "qwen3_moe", "qwen3_5", "qwen3_next", "gemma3", "gemma3n"),
    *("phi3-longrope", "deepseek_v3", "glm4_moe", "gpt_oss", "mamba2", "jamba", "lfm2"),
    *("granitemoehybrid", "falcon_h1", "t5", "bert", "modernbert-classifier", "exaone_moe-mtp"),
    *("minicpm3", "llama4", "gpt2", "gemma4-moe", "gemma4-e2b"),
)

Model = tuple[Metadata, dict[str, TensorInfo]]


def described(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    case = json.loads(CASES[name].read_text(encoding="utf-8"))
    tokens = vocabulary(case["n_tokens"], case["config"])
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: tokens)
    write_case(folder / "checkpoint" / name, case)
    path = folder / f"{name}.gguf"
    convert(folder / "checkpoint" / name, path, ladder="BF16", self_test=False)
    with GGUFFile.open(path) as file:
        tensors = {n: TensorInfo(n, t.shape, t.type) for n, t in file.tensors.items()}
        return file.metadata.copy(), tensors


def with_value(model: Model, key: str, value: Any) -> Model:
    metadata, tensors = model[0].copy(), model[1]
    kind = metadata.type_of(key)
    metadata.set(key, value, metadata.item_type_of(key) if kind is ValueType.ARRAY else kind)
    return metadata, tensors


def with_shape(model: Model, name: str, shape: tuple[int, ...]) -> Model:
    return model[0], {**model[1], name: TensorInfo(name, shape, model[1][name].type)}


def hparams_changed(model: Model) -> Iterator[tuple[str, Model]]:
    for key, value in model[0].items():
        if not key.startswith(f"{model[0]['general.architecture']}."):
            continue
        if type(value) is int:
            for changed in (value + 1, value - 1):
                if changed >= 0:
                    yield f"{key} {changed}", with_value(model, key, changed)
        elif isinstance(value, list) and value and type(value[0]) is int:
            for changed in ([*value, value[-1]], value[:-1], [value[0] + 1, *value[1:]]):
                yield f"{key} {changed}", with_value(model, key, changed)


def keys_changed(model: Model) -> Iterator[tuple[str, Model]]:
    metadata, tensors = model
    for key, value in metadata.items():
        rest = metadata.copy()
        del rest[key]
        yield f"no {key}", (rest, tensors)
        wide = {ValueType.UINT32: ValueType.UINT64, ValueType.FLOAT32: ValueType.FLOAT64}
        kind = wide.get(metadata.type_of(key))
        if kind is not None:
            widened = metadata.copy()
            widened.set(key, value, kind)
            yield f"{key} as {kind.name}", (widened, tensors)


def factors_added(model: Model) -> Iterator[tuple[str, Model]]:
    metadata, tensors = model
    prefix = metadata["general.architecture"]
    heads = metadata.get(f"{prefix}.attention.head_count", 1)
    width = metadata[f"{prefix}.embedding_length"] // max(heads if type(heads) is int else 1, 1)
    length = metadata.get(f"{prefix}.attention.key_length", width)
    n = metadata.get(f"{prefix}.rope.dimension_count", length) // 2
    scaled = metadata.copy()
    scaled.set(f"{prefix}.rope.scaling.type", "longrope", ValueType.STRING)
    for kinds in (("freqs",), ("factors_long", "factors_short")):
        names = [f"rope_{kind}.weight" for kind in kinds]
        for size in (n, n + 1):
            added = {name: TensorInfo(name, (size,), TensorType.F32) for name in names}
            yield f"{kinds} of {size}", (metadata, {**tensors, **added})
            yield f"{kinds} of {size} with longrope", (scaled, {**tensors, **added})


def tensors_changed(model: Model) -> Iterator[tuple[str, Model]]:
    metadata, tensors = model
    for name, info in tensors.items():
        yield f"no {name}", (metadata, {n: t for n, t in tensors.items() if n != name})
        for axis in range(len(info.shape)):
            longer = tuple(n + (i == axis) for i, n in enumerate(info.shape))
            yield f"{name} longer in {axis}", with_shape(model, name, longer)
        if len(info.shape) > 1 and info.shape[-1] != info.shape[-2]:
            turned = (*info.shape[:-2], info.shape[-1], info.shape[-2])
            yield f"{name} transposed", with_shape(model, name, turned)
    for name in ("extra.weight", "blk.0.extra.weight"):
        yield f"{name} added", (metadata, {**tensors, name: TensorInfo(name, (8,), TensorType.F32)})
    count = metadata[f"{metadata['general.architecture']}.block_count"]
    for block in (0, count - 1):
        rest = {n: t for n, t in tensors.items() if not n.startswith(f"blk.{block}.")}
        yield f"no block {block}", (metadata, rest)
    more = {n.replace(f"blk.{count - 1}.", f"blk.{count}."): t for n, t in tensors.items()}
    renamed = {n: TensorInfo(n, t.shape, t.type) for n, t in more.items()}
    yield "one more block", (metadata, {**tensors, **renamed})


def tokens_changed(model: Model) -> Iterator[tuple[str, Model]]:
    for name in ("scores", "token_type"):
        key = f"tokenizer.ggml.{name}"
        for changed in (model[0][key][:-1], [*model[0][key], model[0][key][-1]]):
            yield f"{key} of {len(changed)}", with_value(model, key, changed)


def refused(model: Model) -> list[str]:
    found = errors(DescribedModel(*model))
    return [f"{rule.id}: {finding.message}" for rule, finding in found if rule.refused]


def test_the_tensors_of_every_architecture_are_known() -> None:
    assert not [name for name in architecture_names() if not known_tensors(name)]


@pytest.mark.parametrize("name", SAMPLE)
def test_the_rules_refuse_what_llama_cpp_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    model = described(name, tmp_path, monkeypatch)
    files = tmp_path / "changed"
    files.mkdir()
    changes = [("unchanged", model), *hparams_changed(model), *tensors_changed(model)]
    changes += [*tokens_changed(model), *keys_changed(model), *factors_added(model)]
    said, ours = {}, {}
    for number, (what, changed) in enumerate(changes):
        try:
            layout = plan_layout(changed[0], changed[1].values())
        except ValueError:  # rows of block types can't be of any length
            continue
        path = files / f"{number:05}.gguf"
        with path.open("wb") as file:
            file.write(layout.header)
            file.truncate(layout.file_size)
        said[path.stem], ours[path.stem] = what, refused(changed)
    theirs = verdicts(files)
    missed = [f"{said[n]}: {why}" for n, why in theirs.items() if why != "ok" and not ours[n]]
    wrong = [f"{said[n]}: {ours[n][0]}" for n, why in theirs.items() if why == "ok" and ours[n]]
    assert theirs.keys() == said.keys()
    assert not missed
    assert not wrong
    assert sum(why != "ok" for why in theirs.values()) > len(theirs) / 3  # it has been asked
