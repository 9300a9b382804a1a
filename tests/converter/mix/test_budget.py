"""Mixes as a whole: limits are kept, losses are the least, files say the same as they."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from ggufkit.codecs import dequantize, quantize
from ggufkit.converter.ladder import open_source
from ggufkit.converter.mix import measure
from ggufkit.converter.mix.budget import Budget, MixOptions
from ggufkit.converter.mix.measure import Errors, measure_errors
from ggufkit.converter.mix.recipe_file import read_recipe
from ggufkit.converter.mix.result import Limit
from ggufkit.converter.mix.sensitivity import Sensitivity, group_of
from ggufkit.converter.planning.planner import SplitLimits
from ggufkit.converter.planning.reasons import ReasonCode
from ggufkit.converter.planning.type_selection import TypeOptions
from ggufkit.errors import BadValueError, ConversionError
from ggufkit.gguf.open import open_gguf
from ggufkit.types import TensorType as T
from tests.converter.test_ladder import digests
from tests.llama import write_llama

NAME = "blk.1.ffn_down.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "Tiny-Test", n_layers=4, vocab=4096)


@pytest.fixture(scope="module")
def budget(source: Path) -> Budget:
    return Budget.of(open_source(source), MixOptions(min_bits={}))


@pytest.fixture(scope="module")
def errors(budget: Budget) -> Errors:
    return measured(budget)


def measured(budget: Budget) -> Errors:
    with ThreadPoolExecutor(2) as pool:
        return measure_errors(budget.fixed, budget.choices, pool=pool, jobs=2)


def test_errors_are_those_of_decoded_blocks(budget: Budget, errors: Errors) -> None:
    tensor = budget.tensors[NAME]
    weights = budget.fixed.source.reader(tensor).read(slice(0, tensor.n_rows))
    decoded = dequantize(quantize(weights, T.Q3_K), T.Q3_K)
    expected = np.sum(np.square(weights - decoded, dtype=np.float64)) / np.sum(
        np.square(weights, dtype=np.float64)
    )
    assert errors[NAME, T.Q3_K] == pytest.approx(expected, rel=1e-5)
    assert errors[NAME, T.BF16] == 0.0  # what the checkpoint has


def test_errors_are_weighted_by_importance(source: Path) -> None:
    opened = open_source(source)
    rng = np.random.default_rng(5)
    entries = {
        t.name: ImatrixEntry(rng.random((1, t.n_cols), np.float32) + 0.1, np.ones(1, np.float32))
        for t in opened.tensors
        if t.name.startswith("blk") and len(t.shape) == 2
    }
    budget = Budget.of(opened, imatrix=Imatrix(entries, "x.gguf"))
    assert T.IQ2_XXS in budget.choices[NAME]
    importance = budget.fixed.importance[NAME][0]
    tensor = budget.tensors[NAME]
    weights = opened.reader(tensor).read(slice(0, tensor.n_rows))
    blocks = quantize(weights, T.IQ3_XXS, importance=importance)
    error = np.square(weights - dequantize(blocks, T.IQ3_XXS), dtype=np.float64) * importance
    expected = error.sum() / (np.square(weights, dtype=np.float64) * importance).sum()
    assert measured(budget)[NAME, T.IQ3_XXS] == pytest.approx(expected, rel=1e-5)


def test_large_tensors_are_sampled(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure.count_tasks(budget.fixed, budget.choices)
    monkeypatch.setattr("ggufkit.converter.planning.plan.CHUNK_WEIGHTS", 4096)
    many = measure.count_tasks(budget.fixed, budget.choices)
    assert whole == len(budget.choices)
    assert many == measure.MOST_TASKS * len(budget.choices)
    sampled, exact = measured(budget), sum(1 for _ in budget.fixed.tasks())
    assert exact > many
    monkeypatch.undo()
    for key, error in measured(budget).items():
        assert sampled[key] == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_S", "Q6_K"])
def test_a_mix_of_a_file_types_size_loses_no_more(
    budget: Budget, errors: Errors, name: str
) -> None:
    rung = next(rung for rung in budget.fixed.rungs if rung.name == name)
    mix = budget.find(Limit.of_bytes("MIX", rung.n_bytes), errors)
    assert budget.plan_rung(mix.recipe).n_bytes <= rung.n_bytes
    loss = budget.loss_of(rung, errors)
    assert loss is not None
    assert mix.bound <= mix.loss <= loss
    assert mix.nearest.name == name or mix.nearest.n_bytes == rung.n_bytes
    assert mix.recipe.file_type.name == mix.nearest.name


@pytest.mark.parametrize("bits", [4.25, 5.5])
def test_bits_per_weight_are_kept_and_used(budget: Budget, errors: Errors, bits: float) -> None:
    mix = budget.find(Limit.of_bits("MIX", bits), errors)
    rung = budget.plan_rung(mix.recipe)
    assert bits - 0.05 < rung.bits_per_weight <= bits


def test_a_limit_counts_the_headers_of_splits(source: Path) -> None:
    budget = Budget.of(open_source(source), split=SplitLimits(max_tensors=3))
    limit = 3_000_000
    mix = budget.find(Limit.of_bytes("MIX", limit), measured(budget))
    rung = budget.plan_rung(mix.recipe)
    assert len(rung.parts) > 3
    assert rung.n_bytes <= limit


def test_minimum_bits_and_options_are_kept(source: Path) -> None:
    options = TypeOptions(output_tensor_type=T.Q8_0)
    budget = Budget.of(
        open_source(source),
        MixOptions(min_bits={"attn_v": 6.0, "ffn_up/late": 8.0}),
        options=options,
    )
    assert "output.weight" not in budget.choices
    mix = budget.find(Limit.of_bits("MIX", 4.5), measured(budget))
    types = mix.recipe.types
    assert all(types[f"blk.{i}.attn_v.weight"].bits_per_weight >= 6 for i in range(4))
    assert types["blk.3.ffn_up.weight"].bits_per_weight >= 8
    assert budget.plan_rung(mix.recipe).targets["output.weight"].type is T.Q8_0


def test_what_an_option_names_is_no_choice_even_where_it_falls_back(tmp_path: Path) -> None:
    odd = write_llama(tmp_path / "Odd", ffn=288)
    options = TypeOptions(tensor_type=(("ffn_down", T.Q4_K),))
    budget = Budget.of(open_source(odd), options=options)
    target = budget.fixed.rungs[0].targets["blk.0.ffn_down.weight"]
    assert target.reason.code is ReasonCode.FALLBACK
    assert "blk.0.ffn_down.weight" not in budget.choices
    assert "blk.0.ffn_down.weight" in Budget.of(open_source(odd)).choices


def test_what_matters_more_gets_more(budget: Budget, errors: Errors) -> None:
    def bits(role: str, sensitivity: dict[str, float]) -> float:
        options = MixOptions(min_bits={}, sensitivity=Sensitivity(sensitivity, "test"))
        changed = Budget(budget.fixed, options, budget.plan_rung)
        types = changed.find(Limit.of_bits("MIX", 4.5), errors).recipe.types
        return sum(t.bits_per_weight for name, t in types.items() if role in name)

    assert bits("ffn_up", {"ffn_up": 100.0, "other": 1.0}) > bits("ffn_up", {"other": 1.0})


def test_impossible_limits_say_so(budget: Budget, errors: Errors, source: Path) -> None:
    with pytest.raises(ConversionError, match=r"MIX: the smallest mix needs \d+ bytes more"):
        budget.find(Limit.of_bytes("MIX", 1_000_000), errors)
    with pytest.raises(ConversionError, match="no tensor's type is left"):
        _ = Budget.of(open_source(source), options=TypeOptions(pure=True)).choices


def test_both_files_of_a_mix_make_its_bytes_again(source: Path, tmp_path: Path) -> None:
    """And another command does, that knows nothing of the budget."""
    out = tmp_path / "mix"
    common = ["convert", str(source), "-q"]
    assert main([*common, "-o", str(out), "--bpw", "4.6", "--ladder", "Q4_K_M"]) == 0
    stem = "Tiny-Test-4.7M-MIX_4_6BPW"
    made = digests(out)
    assert set(made) == {f"{stem}.gguf", "Tiny-Test-4.7M-Q4_K_M.gguf"}
    recipe = out / f"{stem}.recipe.json"
    assert main([*common, "-o", str(tmp_path / "again"), "--recipe", str(recipe)]) == 0
    assert digests(tmp_path / "again") == {f"{stem}.gguf": made[f"{stem}.gguf"]}

    types = out / f"{stem}.tensor-types.txt"
    like = read_recipe(recipe).file_type.name
    target = tmp_path / "by-types.gguf"
    options = ["--ladder", like, "--tensor-type-file", str(types)]
    assert main([*common, "-o", str(target), *options]) == 0
    assert target.read_bytes() == (out / f"{stem}.gguf").read_bytes()
    with open_gguf(target) as file:
        stored = {name: info.type for name, info in file.tensors.items()}
    assert stored.items() >= read_recipe(recipe).types.items()
    assert len({t for t in stored.values() if t.is_quantized}) > 1


def test_a_mix_that_is_done_is_not_made_again(source: Path, tmp_path: Path) -> None:
    command = ["convert", str(source), "-q", "-o", str(tmp_path), "--budget", "Q3_K_M"]
    assert main(command) == 0
    path = tmp_path / "Tiny-Test-4.7M-MIX_Q3_K_M.gguf"
    before = path.stat().st_mtime_ns
    assert main(command) == 0
    assert path.stat().st_mtime_ns == before


def test_a_dry_run_shows_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["convert", str(source), "-o", str(out), "--dry-run"]
    limits = ["--bpw", "5", "--budget", "3MiB", "--fit-vram", "0.6G", "--context", "512"]
    assert main([*command, *limits, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [mix["name"] for mix in shown["mixes"]] == ["MIX_3MIB", "MIX_5BPW", "MIX_0_6G_VRAM"]
    assert all(mix["bound"] <= mix["loss"] for mix in shown["mixes"])
    assert shown["rungs"][0]["bytes"] <= 3 << 20
    assert not out.exists()
    assert main([*command, "--bpw", "5"]) == 0
    assert "Predicted loss" in capsys.readouterr().out


def test_groups() -> None:
    assert group_of("blk.0.attn_q.weight", 8, tied=True) == "attn_q/early"
    assert group_of("blk.5.ffn_down_exps.weight", 8, tied=True) == "ffn_down/middle"
    assert group_of("blk.7.attn_qkv.weight", 8, tied=True) == "attn_v/late"
    assert group_of("token_embd.weight", 8, tied=False) == "token_embd"
    assert group_of("output.weight", 8, tied=False) == "output"


def test_sensitivities_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    Sensitivity({"attn_v/early": 2.0, "attn_v/late": 8.0, "ffn_up": 1.0}, "x").write(path)
    read = Sensitivity.read(path)
    counts = dict.fromkeys(["attn_v", "ffn_up", "attn_v/early", "attn_v/late", "attn_v/middle"], 2)
    assert read.of("attn_v/early", counts) == 1.0  # shared by its two tensors
    assert read.of("attn_v/middle", counts) == pytest.approx(2.0)  # the mean of its role
    assert read.of("ffn_up/late", counts) == 0.5  # its role's


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "x"}', '{"format": "ggufkit sensitivity 1", "weights": {"a": 0}}'],
)
def test_other_files_are_no_sensitivities(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(BadValueError, match="no file of sensitivities"):
        Sensitivity.read(path)


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"like": "Q9"}, {"types": {"a": "Q9_9"}}, {"types": 3}, {"name": "../x"}],
)
def test_other_files_are_no_recipes(tmp_path: Path, change: dict[str, object]) -> None:
    values = {"format": "ggufkit recipe 1", "name": "MIX_1", "like": "Q4_K_M", "types": {}}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(values))
    assert read_recipe(path).name == "MIX_1"
    path.write_text(json.dumps(values | change))
    with pytest.raises(BadValueError, match="no recipe"):
        read_recipe(path)
