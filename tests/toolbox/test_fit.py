"""Sizes by hand for small shapes; llama.cpp's own numbers are in tests/real/test_fit.py."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.errors import BadValueError, GGUFKitError, MissingFileError
from ggufkit.gguf.metadata import Metadata
from ggufkit.toolbox.fit import candidates
from ggufkit.toolbox.fit.fit import fit, table
from ggufkit.toolbox.fit.machine import this_machine
from ggufkit.toolbox.fit.placing import RAM_OVERHEAD, VRAM_OVERHEAD
from ggufkit.toolbox.fit.shape import ModelShape
from ggufkit.types import TensorType
from tests.llama import write_llama
from tests.toolbox.tiny_models import make_falcon_h1

MIB = 1 << 20


def shape(architecture: str, **hparams: object) -> ModelShape:
    """The shape of a model with 8 layers, 4 heads of 32 and 2 key-value heads."""
    usual = {
        "block_count": 8,
        "embedding_length": 128,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "feed_forward_length": 256,
    }
    keys = usual | {name.replace("__", "."): value for name, value in hparams.items()}
    metadata = Metadata({"general.architecture": architecture})
    metadata.extend(Metadata({f"{architecture}.{key}": value for key, value in keys.items()}))
    return ModelShape.of(metadata)


def model(path: Path, *, n_layers: int = 4, hidden: int = 64, **keys: object) -> Path:
    """A llama of one matrix per block and 1 head, without a vocabulary."""
    metadata = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": 4096,
        "llama.block_count": n_layers,
        "llama.embedding_length": hidden,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 1,
        **keys,
    }
    matrix = np.zeros((1024, hidden), np.float32), TensorType.F16
    names = ["token_embd", "output", *(f"blk.{i}.ffn_up" for i in range(n_layers))]
    return ggufkit.save(path, metadata, {f"{name}.weight": matrix for name in names})


def test_windows_by_period() -> None:
    found = shape("gemma3", attention__sliding_window=512)
    assert [layer.window for layer in found.layers] == [512] * 5 + [0, 512, 512]
    found = shape("smallthinker", attention__sliding_window=1)
    assert [layer.window for layer in found.layers] == [0, *[4096] * 3] * 2
    assert {layer.window for layer in shape("gemma3").layers} == {0}
    assert {layer.window for layer in shape("qwen2", attention__sliding_window=512).layers} == {0}


def test_windows_by_array_with_heads_of_their_own() -> None:
    pattern = [True, False] * 4
    found = shape(
        "gemma4",
        attention__sliding_window=512,
        attention__sliding_window_pattern=pattern,
        attention__key_length=64,
        attention__value_length=64,
        attention__key_length_swa=16,
        attention__value_length_swa=16,
        attention__shared_kv_layers=3,
        embedding_length_per_layer_input=0,
    )
    assert [layer.window for layer in found.layers[:5]] == [512, 0, 512, 0, 512]
    assert [layer.k for layer in found.layers] == [(32,), (128,)] * 2 + [(32,)] + [()] * 3


def test_heads_per_layer() -> None:
    found = shape("deci", attention__head_count_kv=[2, 0, 1, 2, 2, 2, 2, 2])
    assert [layer.k for layer in found.layers[:3]] == [(64,), (0,), (32,)]


def test_mla_keeps_one_row() -> None:
    found = shape(
        "deepseek2",
        attention__head_count_kv=1,
        attention__key_length=576,
        attention__value_length=512,
        attention__key_length_mla=192,
        attention__value_length_mla=128,
    )
    assert {(layer.k, layer.v) for layer in found.layers} == {((576,), ())}


def test_an_indexer_keeps_keys_of_its_own() -> None:
    mla = {"attention__key_length_mla": 192, "attention__value_length_mla": 128}
    sizes = {"attention__head_count_kv": 1, "attention__key_length": 576}
    found = shape("deepseek32", attention__indexer__key_length=128, **sizes, **mla)
    assert {(layer.k, layer.v) for layer in found.layers} == {((576, 128), ())}


def test_states_of_hybrid_models() -> None:
    lfm2 = shape("lfm2", attention__head_count_kv=[0, 0, 2, 0, 0, 2, 0, 2], shortconv__l_cache=3)
    assert [(bool(layer.k), layer.state) for layer in lfm2.layers[1:3]] == [(False, 256), (True, 0)]
    ssm = {f"ssm__{k}": v for k, v in (("inner_size", 256), ("state_size", 16), ("group_count", 2))}
    falcon = shape("falcon-h1", ssm__conv_kernel=4, **ssm)
    state = 3 * (256 + 2 * 2 * 16) + 256 * 16
    assert {(layer.k, layer.state) for layer in falcon.layers} == {((64,), state)}
    qwen = shape("qwen3next", ssm__conv_kernel=4, **ssm, nextn_predict_layers=1)
    assert [layer.state for layer in qwen.layers] == [state] * 3 + [0] + [state] * 3 + [0]
    assert [bool(layer.k) for layer in qwen.layers] == [False] * 3 + [True] + [False] * 4
    rwkv = shape("rwkv7", wkv__head_size=64, attention__head_count=0)
    assert {layer.state for layer in rwkv.layers} == {128 * (2 + 64)}


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"block_count": 513}, "block_count is 513"),
        ({"block_count": 0}, "block_count is 0"),
        ({"attention__head_count_kv": [1, 2]}, "has 2 items for 8 layers"),
    ],
)
def test_shapes_that_can_not_be(hparams: dict, message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        shape("llama", **hparams)


def test_missing_and_wrong_keys_are_errors_of_one_kind() -> None:
    for keys in ({}, {"general.architecture": "llama"}):
        with pytest.raises(GGUFKitError):
            ModelShape.of(Metadata(keys))


def test_layers_go_to_the_gpu_until_it_is_full(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    need = fit(path, context=4096, ram="1G").placements[0].need
    matrix, cache = 1024 * 64 * 2, 4096 * 2 * 64 * 2
    assert need.kv == 4 * cache
    fixed = VRAM_OVERHEAD + need.compute + matrix
    for n_blocks in range(5):
        room = fixed + n_blocks * (matrix + cache)
        placed = fit(path, context=4096, vram=room, ram="1G").placements[0]
        assert (placed.n_gpu_layers, placed.vram) == (n_blocks + 1, room)
        compute = need.compute if n_blocks < 4 else 0
        assert placed.ram == RAM_OVERHEAD + matrix + (4 - n_blocks) * (matrix + cache) + compute
        assert placed.where == ("gpu" if n_blocks == 4 else "both")
    assert fit(path, context=4096, vram=fixed - 1, ram="1G").placements[0].where == "ram"
    assert fit(path, context=4096, vram=fixed).placements[0].where == "nowhere"


def test_tied_embeddings_are_copied_to_the_gpu(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    with ggufkit.open(path) as opened:
        tensors = {
            name: (opened[name].data, TensorType.F16) for name in opened if name != "output.weight"
        }
        tied = ggufkit.save(tmp_path / "tied.gguf", opened.metadata, tensors)
    whole, without = (fit(p, vram="1G", ram="1G").placements[0] for p in (path, tied))
    assert whole.vram == without.vram
    assert whole.ram == without.ram


def test_the_largest_that_fits_is_chosen(tmp_path: Path) -> None:
    write_llama(tmp_path / "source", n_layers=2)
    found = fit(tmp_path / "source", ladder="Q2_K,Q4_K_M,F16", context=256, ram="1G")
    assert [p.need.candidate.name for p in found.placements] == ["Q2_K", "Q4_K_M", "F16"]
    assert found.best is found.placements[-1]
    limit = found.placements[1].ram
    less = fit(tmp_path / "source", ladder="Q2_K,Q4_K_M,F16", context=256, ram=limit)
    assert less.best is less.placements[1]
    assert less.sentence.startswith("Q4_K_M fits: 0.2")
    nothing = fit(tmp_path / "source", ladder="Q2_K", ram="1M")
    assert nothing.best is None
    assert nothing.sentence.startswith("Nothing fits: Q2_K, the smallest, needs 0.2")


def test_the_longest_context_is_the_longest(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf", hidden=1024)
    room = fit(path, context=2048, ram="9G").placements[0].ram
    placed = fit(path, context=256, ram=room).placements[0]
    assert placed.longest_context == 2048
    by_context = table(fit(path, ram=room), (1024, 2048, 4096))
    assert [row[0].fits for row in by_context.values()] == [True, True, False]
    assert fit(path, context=4096, ram=room).sentence.endswith("It would fit with 2048 tokens.")


def test_a_usual_model_of_a_size() -> None:
    found = fit(params="8B", ladder="Q4_K_M,F16", vram="8G", ram="32G")
    q4, f16 = found.placements
    # Llama-3.1-8B-Instruct's published files: 4.92 GB and 16.07 GB
    assert q4.need.weights.total == pytest.approx(4.92e9, rel=0.02)
    assert f16.need.weights.total == pytest.approx(16.07e9, rel=0.02)
    assert q4.need.kv == 8192 * 32 * 2 * 1024 * 2
    assert found.estimated
    with pytest.raises(BadValueError, match="not a number of parameters"):
        fit(params="many")


def test_a_folder_must_hold_one_model(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="neither GGUF models nor"):
        fit(tmp_path)
    model(tmp_path / "a.gguf")
    model(tmp_path / "b.gguf", **{"general.file_type": 7})
    assert [p.need.candidate.name for p in fit(tmp_path).placements] == ["F16", "Q8_0"]
    ggufkit.save(tmp_path / "mmproj.gguf", {"general.architecture": "clip"}, {})
    assert len(fit(tmp_path).placements) == 2
    with pytest.raises(BadValueError, match=r"mmproj.gguf: not a model of its own"):
        fit(tmp_path / "mmproj.gguf")


@pytest.mark.parametrize("where", ["hf:owner/name/m.gguf", "https://example.com/m.gguf"])
def test_remote_files_are_opened_under_their_own_name(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(tmp_path / "local.gguf")
    asked = []

    def open_remote(name: str) -> ggufkit.GGUFModel:
        asked.append(name)
        return ggufkit.open(path)

    monkeypatch.setattr(candidates, "open_gguf", open_remote)
    placed = fit(where, ram="1G").placements[0]
    assert asked == [where]
    assert placed.need.candidate.file == "m.gguf"


def test_options_that_can_not_be(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    for options, message in [
        ({"k": "q3_k"}, "'q3_k' is not a type of a KV cache"),
        ({"context": 1 << 30}, "a context of 1073741824 tokens"),
        ({"ram": "much"}, "'much' is not an amount of memory"),
        ({"vram": "99999999T"}, "is not an amount of memory"),
        ({"parallel": 0}, "parallel is 0"),
        ({"params": "8B"}, "name either a model"),
    ]:
        with pytest.raises(BadValueError, match=message):
            fit(path, **options)


def test_damaged_files_give_a_result_or_one_error(tmp_path: Path) -> None:
    whole = make_falcon_h1(tmp_path).read_bytes()
    damaged = tmp_path / "damaged.gguf"
    rng = random.Random(5)
    outcomes = set()
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(1200)] = rng.choice([0, 255, rng.randrange(256)])
        damaged.write_bytes(data)
        try:
            outcomes.add(fit(damaged, vram="1G", ram="1G").as_dict()["best"])
        except GGUFKitError:
            outcomes.add("error")
    assert {"F32", "error"} <= outcomes


def test_this_machine_has_memory() -> None:
    memory = this_machine()
    assert memory.ram is None or memory.ram > 64 * MIB
    assert memory.vram >= 0


def test_command(tmp_path: Path, capsys) -> None:
    path = str(model(tmp_path / "m.gguf"))
    assert main(["fit", path, "--ram", "4G"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("F16 fits: 0.2")
    assert "VRAM" not in out
    assert main(["fit", path, "--vram", "2G", "-c", "9000"]) == 0
    out = capsys.readouterr().out
    assert "every layer on the GPU" in out
    assert "trained for 4096 tokens" in out
    assert main(["fit", path, "--ram", "4G", "--table"]) == 0
    assert "GiB at tokens" in capsys.readouterr().out
    assert main(["fit", path, "--ram", "1M", "--json", "--table"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["best"] is None
    assert result["rungs"][0]["kv_cache"] == 4096 * 4 * 2 * 64 * 2
    assert [row["context"] for row in result["table"]] == [2048, 4096]
    assert main(["fit"]) == 3
