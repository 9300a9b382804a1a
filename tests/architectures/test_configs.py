"""Configs that lack keys or lie: an architecture refuses them with one clear error."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from ggufkit.architectures.jamba import JAMBA
from ggufkit.architectures.registry import find_architecture
from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.errors import (
    ConversionError,
    GGUFKitError,
    MissingWeightsError,
    ShapeMismatchError,
    UnknownArchitectureError,
    UnmappedTensorsError,
)
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.matching import canonical_name, map_tensors
from ggufkit.mapping.spec import (
    Context,
    complete_config,
    config_errors,
    write_hparams,
    write_leading_hparams,
)
from tests.architectures.checkpoints import write_checkpoint
from tests.architectures.test_converted import CASES

JUNK = [None, 0, -1, 10**30, 1.5, "", "x", [], [1], {}, {"a": 1}, True, float("nan")]


def open_source(folder: Path, config, tensors) -> CheckpointSource:
    write_checkpoint(folder, config, tensors)
    return CheckpointSource.open(Checkpoint.open(folder))


@pytest.fixture(autouse=True)
def vocabulary(monkeypatch) -> None:
    tokens = Metadata({"tokenizer.ggml.tokens": [f"token {i}" for i in range(512)]})
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: tokens)


@pytest.mark.parametrize("name", CASES)
def test_any_value_is_used_or_refused(name: str) -> None:
    case = json.loads(CASES[name].read_text())
    keys = sorted(set(case["config"]) - {"architectures"})
    for key, value in product(keys, JUNK):
        with suppress(GGUFKitError):
            read_all({**case["config"], key: value}, case["checkpoint"])


def read_all(config, tensors) -> None:
    """Call every function of the config's architecture."""
    architecture = find_architecture(config)
    with config_errors(architecture):
        complete = complete_config(architecture, config)
        for tensor in map_tensors(architecture, tensors, Context(complete, 512)):
            tensor.transform.shape(*(tuple(tensors[source][1]) for source in tensor.sources))
        for generated in architecture.computed:
            generated.compute(complete)
        write_leading_hparams(architecture, complete)
        write_hparams(architecture, complete, 32)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    case = json.loads(CASES["starcoder2"].read_text())
    del case["config"]["num_hidden_layers"]
    with pytest.raises(ConversionError, match="num_hidden_layers"):
        open_source(tmp_path, case["config"], case["checkpoint"])


def test_a_huge_count_is_refused_at_once(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen3_5"].read_text())
    with pytest.raises(ConversionError, match="mtp_num_hidden_layers is 1000000000000"):
        open_source(
            tmp_path, {**case["config"], "mtp_num_hidden_layers": 10**12}, case["checkpoint"]
        )


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen2_moe"].read_text())
    del case["checkpoint"]["model.layers.1.mlp.experts.2.up_proj.weight"]
    with pytest.raises(MissingWeightsError, match=r"blk\.1\.ffn_up_exps\.weight \(expert 2 of 4\)"):
        open_source(tmp_path, case["config"], case["checkpoint"])


def test_experts_of_different_shapes_are_refused(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen2_moe"].read_text())
    case["checkpoint"]["model.layers.1.mlp.experts.2.up_proj.weight"] = ["BF16", [16, 64]]
    with pytest.raises(ShapeMismatchError, match="experts differ"):
        open_source(tmp_path, case["config"], case["checkpoint"])


def test_a_block_too_many_is_refused(tmp_path: Path) -> None:
    case = json.loads(CASES["granite"].read_text())
    del case["checkpoint"]["model.layers.1.mlp.up_proj.weight"]
    case["checkpoint"]["model.layers.1.mlp.sideways_proj.weight"] = ["BF16", [16, 64]]
    with pytest.raises(UnmappedTensorsError, match="sideways_proj"):
        open_source(tmp_path, case["config"], case["checkpoint"])


def test_one_error_lists_all_that_does_not_fit(tmp_path: Path) -> None:
    case = json.loads(CASES["granite"].read_text())
    del case["checkpoint"]["model.layers.1.mlp.up_proj.weight"]
    strange = [f"model.layers.1.strange.{letter}.weight" for letter in "abcdefghijklm"]
    case["checkpoint"] |= dict.fromkeys(strange, ("BF16", [16, 64]))
    with pytest.raises(UnmappedTensorsError, match=r"blk\.1\.ffn_up\.weight") as caught:
        open_source(tmp_path, case["config"], case["checkpoint"])
    assert caught.value.unmapped == tuple(strange)
    assert caught.value.missing == ("blk.1.ffn_up.weight",)
    assert caught.value.closest is None
    assert all(name in str(caught.value) for name in strange)


def test_long_lists_are_joined_and_then_counted(tmp_path: Path) -> None:
    case = json.loads(CASES["granite"].read_text())
    strange = [f"model.layers.{i}.strange{j}.weight" for j in range(50) for i in range(9)]
    case["checkpoint"] |= dict.fromkeys(strange, ("BF16", [16, 64]))
    with pytest.raises(UnmappedTensorsError, match=r"\{0-8\}\.strange1\.weight.* and 10 more") as e:
        open_source(tmp_path, case["config"], case["checkpoint"])
    assert sorted(e.value.unmapped) == sorted(strange)


def test_an_architecture_that_fits_better_is_named(tmp_path: Path) -> None:
    case = json.loads(CASES["starcoder2"].read_text())
    config = {**case["config"], "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-5}
    with pytest.raises(UnmappedTensorsError, match="more like those of Starcoder2ForC") as caught:
        open_source(tmp_path, config, case["checkpoint"])
    assert caught.value.closest == "Starcoder2ForCausalLM"


def test_experts_of_which_many_are_missing_are_ranges(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen2_moe"].read_text())
    config = {**case["config"], "num_experts": 1 << 14}
    with pytest.raises(MissingWeightsError, match=r"up_exps\.weight \(experts 4-16383 of 16384\)"):
        open_source(tmp_path, config, case["checkpoint"])


def test_two_layouts_at_once_are_refused(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen2_moe"].read_text())
    case["checkpoint"]["model.layers.0.mlp.experts.down_proj"] = ["BF16", [4, 64, 32]]
    with pytest.raises(UnmappedTensorsError, match="two layouts"):
        open_source(tmp_path, case["config"], case["checkpoint"])


def test_an_unknown_class_is_told_the_closest_known_one() -> None:
    with pytest.raises(
        UnknownArchitectureError, match="closest class that it knows is LlamaForCausalLM"
    ):
        find_architecture({"architectures": ["LlamasForCausalLM"]})
    with pytest.raises(UnknownArchitectureError, match="adding-an-architecture"):
        find_architecture({"architectures": ["Xyz"]})


def test_a_jamba_of_the_first_kind_has_its_parts_renamed() -> None:
    config = complete_config(JAMBA, {"num_hidden_layers": 4, "hidden_size": 64})
    moe = "model.layers.{}.moe.experts.0.up_proj.weight"
    found = [canonical_name(JAMBA, config, moe.format(block)) for block in range(2)]
    assert found == [
        "model.layers.0.feed_forward.up_proj.weight",
        "model.layers.1.feed_forward.experts.0.up_proj.weight",
    ]


def test_a_modern_bert_is_an_embedding_without_the_part_that_fills_in_masked_tokens() -> None:
    case = json.loads(CASES["modernbert"].read_text())
    config = {**case["config"], "architectures": ["ModernBertForMaskedLM"]}
    architecture = find_architecture(config)
    context = Context(complete_config(architecture, config), case["n_tokens"])
    names = [f"model.{name}" for name in case["checkpoint"]]
    further = ["head.dense.weight", "head.norm.weight", "decoder.weight", "decoder.bias"]
    mapped = map_tensors(architecture, [*names, *further], context)
    assert [tensor.name for tensor in mapped] == [row[0] for row in case["tensors"]]
