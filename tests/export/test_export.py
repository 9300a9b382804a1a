"""What `ggufkit export-hf` writes, and when it writes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggufkit
from ggufkit.checkpoint import Checkpoint
from ggufkit.cli.main import main
from ggufkit.errors import (
    ConversionError,
    FormatError,
    GGUFKitError,
    NotFiniteError,
    OutputError,
    UnknownArchitectureError,
)
from ggufkit.export import write
from ggufkit.export.plan import plan_export
from ggufkit.export.write import run_export
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.writer import write as write_gguf
from ggufkit.types import TensorType, ValueType
from tests.llama import write_llama

NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny llama in several types."""
    folder = tmp_path_factory.mktemp("files")
    source = write_llama(folder / "tiny", n_layers=2, hidden=128, ffn=256)
    for name in ("F32", "BF16", "Q8_0"):
        ggufkit.convert(source, folder / f"{name}.gguf", ladder=name)
    return folder


def rewritten(
    path: Path,
    out: Path,
    *,
    keys: dict[str, tuple[Any, ValueType]] | None = None,
    tensors: dict[str, tuple[str, np.ndarray, TensorType]] | None = None,
) -> Path:
    """Write a file again, with other keys and tensors: name -> new name, weights, type."""
    with open_gguf(path) as file:
        metadata = file.metadata.copy()
        for key, (value, value_type) in (keys or {}).items():
            metadata.set(key, value, value_type)
        specs, data = [], {}
        for name, tensor in file.items():
            new, weights, type_ = (tensors or {}).get(
                name, (name, ggufkit.dequantize(tensor), tensor.info.type)
            )
            specs.append((new, weights.shape, type_))
            data[new] = ggufkit.quantize(weights, type_)
        write_gguf(out, plan_layout(metadata, specs), data)
    return out


@pytest.mark.parametrize("name", ["F32", "BF16"])
def test_the_folder_is_the_checkpoint(files: Path, tmp_path: Path, name: str) -> None:
    back = ggufkit.export_hf(files / f"{name}.gguf", tmp_path / "back")
    one, two = Checkpoint.open(files / "tiny"), Checkpoint.open(back)
    assert set(one.tensors) == set(two.tensors)
    for tensor in one.tensors:
        assert one.tensors[tensor].dtype == two.tensors[tensor].dtype == "BF16"
        np.testing.assert_array_equal(one.read_raw(tensor), two.read_raw(tensor))
    config, given = two.config, one.config
    assert {key: config[key] for key in given} == given
    assert config["torch_dtype"] == "bfloat16"
    assert not (tmp_path / "back.partial").exists()


def test_many_shards_are_the_same_checkpoint(files: Path, tmp_path: Path) -> None:
    back = ggufkit.export_hf(files / "F32.gguf", tmp_path / "back", max_shard_size=100_000)
    names = sorted(path.name for path in back.glob("*.safetensors"))
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((back / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(names)
    one, two = Checkpoint.open(files / "tiny"), Checkpoint.open(back)
    sizes = dict.fromkeys(names, 0)
    for tensor, shard in index["weight_map"].items():
        np.testing.assert_array_equal(one.read_raw(tensor), two.read_raw(tensor))
        sizes[shard] += two.tensors[tensor].nbytes
    assert index["metadata"]["total_size"] == sum(sizes.values())
    one_tensor = [n for n in names if list(index["weight_map"].values()).count(n) == 1]
    assert all(size <= 100_000 for name, size in sizes.items() if name not in one_tensor)


def test_a_split_file_is_one_model(files: Path, tmp_path: Path) -> None:
    parts = ggufkit.split(files / "F32.gguf", tmp_path / "part", max_tensors=8)
    one = plan_export(files / "F32.gguf")
    two = plan_export(parts[1].path, tmp_path / "back")
    assert one.config == two.config
    assert [s.header for s in one.shards] == [s.header for s in two.shards]
    run_export(two)


def test_auto_is_the_smallest_type_that_holds_every_weight(files: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with open_gguf(files / "F32.gguf") as file:
        shape = file["blk.0.ffn_up.weight"].info.shape
    fine = rng.normal(size=shape).astype("f4")
    thirds = {"blk.0.ffn_up.weight": ("blk.0.ffn_up.weight", fine, TensorType.F32)}
    plan = plan_export(rewritten(files / "F32.gguf", tmp_path / "a.gguf", tensors=thirds))
    dtypes = {t.plan.name: t.dtype.name for shard in plan.shards for t in shard.tensors}
    assert plan.dtype == "bf16"
    assert [n for n in dtypes if dtypes[n] != "BF16"] == ["model.layers.0.mlp.up_proj.weight"]
    assert dtypes["model.layers.0.mlp.up_proj.weight"] == "F32"

    with open_gguf(files / "F32.gguf") as file:
        halves = {
            name: (name, ggufkit.dequantize(t).astype("f2").astype("f4") * np.float32(1.0009765625),
                   TensorType.F32)
            for name, t in file.items()
        }  # fmt: skip
    halves = {n: (n, w.astype("f2").astype("f4"), t) for n, (_, w, t) in halves.items()}
    plan = plan_export(rewritten(files / "F32.gguf", tmp_path / "b.gguf", tensors=halves))
    assert plan.dtype == "f16"
    assert plan.config["torch_dtype"] == "float16"

    assert plan_export(files / "Q8_0.gguf").dtype == "f32"


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_a_type_can_be_asked_for(files: Path, tmp_path: Path, dtype: str) -> None:
    back = Checkpoint.open(ggufkit.export_hf(files / "Q8_0.gguf", tmp_path / "back", dtype=dtype))
    assert {tensor.dtype for tensor in back.tensors.values()} == {dtype.upper()}
    with open_gguf(files / "Q8_0.gguf") as file:
        weights = ggufkit.dequantize(file["blk.0.ffn_up.weight"])
    got = back.read("model.layers.0.mlp.up_proj.weight")
    rounding = {"bf16": 2**-8, "f16": 2**-11, "f32": 0}[dtype]
    np.testing.assert_allclose(got, weights, rtol=rounding, atol=2**-24 if dtype == "f16" else 0)


def test_weights_that_float16_can_not_hold_are_refused(files: Path, tmp_path: Path) -> None:
    large = np.full((128,), 1e6, np.float32)
    path = rewritten(
        files / "F32.gguf",
        tmp_path / "large.gguf",
        tensors={"output_norm.weight": ("output_norm.weight", large, TensorType.F32)},
    )
    with pytest.raises(NotFiniteError, match=NORM):
        ggufkit.export_hf(path, tmp_path / "back", dtype="f16")
    assert [path.name for path in tmp_path.iterdir()] == ["large.gguf"]


def test_an_export_that_is_stopped_leaves_no_checkpoint(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "back"
    plan = plan_export(files / "F32.gguf", out, max_shard_size=100_000)
    real = os.fsync
    left = 0

    def stop(fd: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        real(fd)

    monkeypatch.setattr(os, "fsync", stop)
    n_stops = 0
    for n_files in range(1, 40):
        left = n_files
        try:
            run_export(plan)
            break
        except KeyboardInterrupt:
            n_stops += 1
            assert not (tmp_path / "back.partial").exists() or out.exists()
            with pytest.raises(GGUFKitError):
                Checkpoint.open(out)
    assert n_stops > len(plan.shards)
    assert Checkpoint.open(out).tensors
    assert not (tmp_path / "back.partial").exists()


def test_what_is_moved_half_is_no_checkpoint(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ggufkit.export_hf(files / "F32.gguf", tmp_path / "back", max_shard_size=100_000)
    plan = plan_export(files / "Q8_0.gguf", out)
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if target == out / "model.safetensors":
            raise OSError(5, "gone")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(OutputError, match="gone"):
        run_export(plan, force=True)
    with pytest.raises(GGUFKitError):
        Checkpoint.open(out)


def test_force_replaces_a_checkpoint_and_nothing_else(files: Path, tmp_path: Path) -> None:
    out = ggufkit.export_hf(files / "F32.gguf", tmp_path / "back", max_shard_size=100_000)
    (out / "adapter_model.safetensors").write_bytes(b"mine")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        ggufkit.export_hf(files / "Q8_0.gguf", out)
    ggufkit.export_hf(files / "Q8_0.gguf", out, force=True)
    assert [path.name for path in out.glob("model*")] == ["model.safetensors"]
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "adapter_model.safetensors").read_bytes() == b"mine"


def test_a_folder_of_that_name_that_is_not_ours_stays(files: Path, tmp_path: Path) -> None:
    (tmp_path / "back.partial").mkdir()
    (tmp_path / "back.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not of an export"):
        ggufkit.export_hf(files / "F32.gguf", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back.partial").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("cut", [0, 3, 100, 5000, -1])
def test_files_that_were_cut_are_refused(files: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.gguf").write_bytes((files / "F32.gguf").read_bytes()[:cut])
    with pytest.raises(FormatError):
        ggufkit.export_hf(tmp_path / "cut.gguf", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.gguf"]


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        ({"general.architecture": ("clip", ValueType.STRING)}, UnknownArchitectureError, "clip"),
        ({"llama.block_count": (2**31, ValueType.UINT32)}, ConversionError, "block_count"),
        ({"llama.block_count": (3, ValueType.UINT32)}, ConversionError, "blk.2"),
        ({"llama.attention.key_length": (7, ValueType.UINT32)}, ConversionError, "heads"),
        ({"llama.expert_count": (2**16, ValueType.UINT32)}, ConversionError, "expert_count"),
        ({"llama.rope.freq_base": ("x", ValueType.STRING)}, ConversionError, "llama"),
        ({"llama.embedding_length": ([1], ValueType.INT32)}, ConversionError, "llama"),
        ({"llama.rope.freq_base": (float("inf"), ValueType.FLOAT32)}, ConversionError, "NaN"),
        ({"llama.new_key": (1, ValueType.UINT32)}, ConversionError, "llama.new_key"),
        ({"tokenizer.ggml.tokens": ([1, 2], ValueType.INT32)}, ConversionError, "texts"),
        ({"tokenizer.ggml.token_type": ([1], ValueType.INT32)}, ConversionError, "token_type"),
    ],
)
def test_keys_that_can_not_be_are_refused(files: Path, tmp_path: Path, keys, error, says) -> None:
    path = rewritten(files / "F32.gguf", tmp_path / "odd.gguf", keys=keys)
    with pytest.raises(error, match=says):
        ggufkit.export_hf(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "name", ["../../evil.weight", "/etc/passwd", "blk.../x.weight", "blk.0.attn_q.weight/../x"]
)
def test_names_with_paths_in_them_are_no_tensors(files: Path, tmp_path: Path, name: str) -> None:
    weights = np.ones(128, np.float32)
    path = rewritten(
        files / "F32.gguf",
        tmp_path / "odd.gguf",
        tensors={"output_norm.weight": (name, weights, TensorType.F32)},
    )
    with pytest.raises(ConversionError, match="no place for 1"):
        ggufkit.export_hf(path, tmp_path / "back")


def test_a_lenient_export_lists_what_differs(files: Path, tmp_path: Path) -> None:
    keys = {"llama.new_key": (1, ValueType.UINT32)}
    path = rewritten(files / "F32.gguf", tmp_path / "odd.gguf", keys=keys)
    plan = plan_export(path, tmp_path / "back", lenient=True)
    assert plan.notes[0] == "hparam llama.new_key: 1 in the file, nothing from the config"


def test_general_keys_survive(files: Path, tmp_path: Path) -> None:
    card = {
        "general.name": ('Tiny: the "model"', ValueType.STRING),
        "general.author": ("Ann", ValueType.STRING),
        "general.license": ("apache-2.0", ValueType.STRING),
        "general.base_model.count": (1, ValueType.UINT32),
        "general.base_model.0.name": ("Base 7B", ValueType.STRING),
        "general.base_model.0.organization": ("Some Org", ValueType.STRING),
        "general.base_model.0.repo_url": ("https://huggingface.co/some/base-7b", ValueType.STRING),
        "general.tags": (["chat", "no"], ValueType.STRING),
        "general.languages": (["en", "no"], ValueType.STRING),
        "general.sampling.temp": (0.6, ValueType.FLOAT32),
        "general.sampling.top_k": (20, ValueType.INT32),
    }
    path = rewritten(files / "F32.gguf", tmp_path / "card.gguf", keys=card)
    back = ggufkit.export_hf(path, tmp_path / "back")
    again = ggufkit.convert(back, tmp_path / "again.gguf", ladder="F32").paths[0]
    with open_gguf(path) as one, open_gguf(again) as two:
        for key in card:
            assert one.metadata[key] == two.metadata[key], key


def test_the_command(files: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export-hf", str(files / "Q8_0.gguf"), "--dry-run", "--json", "-q"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["class"] == "LlamaForCausalLM"
    assert planned["path"] == "Q8_0-HF"
    assert not list(tmp_path.iterdir())
    assert main(["export-hf", str(files / "Q8_0.gguf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == planned
    written = {str(path.relative_to("Q8_0-HF")) for path in Path("Q8_0-HF").rglob("*.*")}
    assert written == {*planned["files"], *planned["weights"]}
    assert (
        planned["weights"]["model.safetensors"]
        == (Path("Q8_0-HF") / "model.safetensors").stat().st_size
    )
    assert main(["export-hf", str(files / "Q8_0.gguf")]) == 3
    assert "--force" in capsys.readouterr().err
    options = ["--force", "--dtype", "bf16", "--max-shard-size", "200K", "-j", "1"]
    assert main(["export-hf", str(files / "Q8_0.gguf"), "Q8_0-HF", *options]) == 0
    assert "bf16" in capsys.readouterr().out
    assert main(["export-hf", "nothing.gguf"]) == 3
    assert write.INDEX in {path.name for path in Path("Q8_0-HF").iterdir()}


def test_a_vocabulary_alone_is_no_model(files: Path, tmp_path: Path) -> None:
    metadata = Metadata({"general.architecture": "llama"})
    path = tmp_path / "vocab.gguf"
    write_gguf(path, plan_layout(metadata, []), {})
    with pytest.raises(ConversionError):
        ggufkit.export_hf(path, tmp_path / "back")
