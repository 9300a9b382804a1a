"""What a user asks of a conversion binds something, is refused, or is said to bind nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from tests.llama import write_llama


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("model") / "Tiny", n_layers=2, ffn=256)


def plan(tiny: Path, *words: str) -> int:
    out = str(tiny.with_name("out"))
    return main(["convert", str(tiny), "-o", out, "--dry-run", "-q", "--no-self-test", *words])


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("atn_v", "attn_v"),
        ("blk.7.ffn_down", "ffn_down"),
        ("^token_embed.weight$", "token_embd.weight"),
        ("model.layers.0.self_attn.q_proj", None),
        ("ATTN_V", "attn_v"),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_pattern_that_matches_no_tensor_is_refused(
    pattern: str, near: str | None, as_file: bool, tiny: Path, tmp_path: Path, capsys
) -> None:
    words = ["--tensor-type", f"{pattern}=Q8_0"]
    if as_file:
        (tmp_path / "types.txt").write_text(f"attn_q=Q8_0\n{words[1]}\n")
        words = ["--tensor-type-file", str(tmp_path / "types.txt")]
    assert plan(tiny, *words) == 3
    message = capsys.readouterr().err
    assert f"--tensor-type {pattern}=Q8_0: no tensor's name matches" in message
    assert near is None or near in message.partition("close to it: ")[2]


@pytest.mark.parametrize("unknown", ["blk.9.ffn_up.weight", "output_norm.wieght", "v.patch.weight"])
def test_a_recipe_of_another_model_is_refused(unknown, tiny: Path, tmp_path: Path, capsys) -> None:
    recipe = {"format": "ggufkit recipe 1", "name": "MINE", "like": "Q4_K_M"}
    recipe["types"] = {"blk.0.ffn_up.weight": "Q8_0", unknown: "Q8_0"}
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    assert plan(tiny, "--recipe", str(tmp_path / "r.json")) == 3
    assert f"recipe MINE names {unknown}, which this model does not have" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--tensor-type attn_norm=Q8_0", "--tensor-type attn_norm=Q8_0 decides no tensor's type"),
        (
            "--tensor-type attn=Q8_0 --tensor-type attn_v=Q4_0",
            "--tensor-type attn_v=Q4_0 decides no tensor's type in Q4_K_M",
        ),
        (
            "--tensor-type attn_v=Q8_0 --tensor-type attn_v=Q4_0",
            "--tensor-type attn_v=Q4_0 decides no tensor's type in Q4_K_M",
        ),
        ("--ladder F16,BF16 --pure", "--pure decides no tensor's type in F16, BF16"),
        ("--ladder F16 --tensor-type attn_v=Q8_0", "decides no tensor's type in F16"),
    ],
)
def test_an_option_that_decides_nothing_is_said(words, said, tiny: Path, capsys) -> None:
    assert plan(tiny, *words.split(), "--json") == 0
    notes = json.loads(capsys.readouterr().out)["source"]["notes"]
    assert len([note for note in notes if said in note]) == 1
    assert plan(tiny, *words.split()) == 0
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "words",
    ["--tensor-type attn_v=Q8_0", "--ladder Q4_0,F16 --pure", "--output-tensor-type Q8_0"],
)
def test_nothing_is_said_of_options_that_decide(words: str, tiny: Path, capsys) -> None:
    assert plan(tiny, *words.split()) == 0
    assert "decides no" not in capsys.readouterr().out


def entries(*names: str, n_cols: int = 256) -> dict[str, ImatrixEntry]:
    ones = np.ones((1, n_cols), np.float32)
    return {name: ImatrixEntry(ones, np.ones(1, np.float32)) for name in names}


@pytest.mark.parametrize("suffix", [".gguf", ".dat"])
@pytest.mark.parametrize("names", [("blk.9.ffn_up.weight",), ("model.layers.0.mlp.up_proj",)])
def test_an_importance_matrix_of_another_model_is_refused(
    names, suffix: str, tiny: Path, tmp_path: Path, capsys
) -> None:
    path = tmp_path / f"other{suffix}"
    Imatrix(entries(*names), path.name, ("text",), 4).save(path)
    assert plan(tiny, "--imatrix", str(path)) == 3
    message = capsys.readouterr().err
    assert f"none of its 1 entries (the first: {names[0]})" in message
    assert not tiny.with_name("out").exists()


def test_a_partial_importance_matrix_is_said_with_counts(
    tiny: Path, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "part.gguf"
    Imatrix(entries("blk.0.ffn_up.weight", "blk.5.ffn_up.weight"), "part.gguf").save(path)
    out = tmp_path / "out"
    words = ["convert", str(tiny), "-o", str(out), "--imatrix", str(path), "-q", "--no-self-test"]
    assert main([*words, "--ladder", "Q4_0,F16"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of its 2 entries (blk.5.ffn_up.weight) are for no tensor of this model" in said
    assert "has no entry for 13 matrices" in said
    files = json.loads((out / "ladder.json").read_text())["files"]
    for entry in files.values():
        assert any("1 of its 2 entries" in note for note in entry["source"]["notes"])
        assert (entry["imatrix"] is None) is (entry["file_type"] == "F16")
    (q4,) = out.glob("*Q4_0.gguf")
    with ggufkit.open(q4) as file:  # as llama-quantize counts
        assert file.metadata["quantize.imatrix.entries_count"] == 2


def test_importance_for_floats_only_is_said(tiny: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "i.gguf"
    Imatrix(entries("blk.0.ffn_up.weight"), "i.gguf").save(path)
    assert plan(tiny, "--imatrix", str(path), "--ladder", "F16") == 0
    assert "--imatrix i.gguf has no effect on F16" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ("", "names no file type"),
        (",", "names no file type"),
        (" , ", "names no file type"),
        ("Q4_0,", "has an empty place"),
        ("Q4_0,,Q8_0", "has an empty place"),
        ("Q8_0,q8_0", "names Q8_0 2 times"),
        ("Q4_K,Q5_0,Q4_K_M", "names Q4_K_M 2 times"),
    ],
)
def test_empty_and_repeated_places_of_a_ladder_are_refused(ladder, said, tiny, capsys) -> None:
    assert plan(tiny, "--ladder", ladder) == 3
    assert said in capsys.readouterr().err


def test_two_rungs_of_one_name_are_refused(tiny: Path, tmp_path: Path, capsys) -> None:
    recipe = {"format": "ggufkit recipe 1", "name": "MINE", "like": "Q4_K_M", "types": {}}
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    assert plan(tiny, *["--recipe", str(tmp_path / "r.json")] * 2) == 3
    assert "2 rungs are called MINE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--min-bits ouptut=4", "--min-bits ouptut: no tensor"),
        ("--min-bits ffn_gate_exps=4", "--min-bits ffn_gate_exps: no tensor"),
        ("--min-bits output=4 --min-bits output=5", "names output 2 times"),
        ("--min-bits output=nan", "expected ROLE=BITS with 0 to 16 bits"),
        ("--min-bits output=-1", "expected ROLE=BITS with 0 to 16 bits"),
        ("--min-bits output=99", "expected ROLE=BITS with 0 to 16 bits"),
        ("--mix-types Q4_0,IQ2_XXS", "--mix-types IQ2_XXS: no tensor of this model can have it"),
        ("--mix-types Q4_0,F32", "--mix-types F32: no tensor of this model can have it"),
    ],
)
def test_restrictions_of_mixes_that_bind_nothing_are_refused(words, said, tiny, capsys) -> None:
    assert plan(tiny, "--budget", "Q5_0", *words.split()) == 3
    assert said in capsys.readouterr().err


def test_sensitivities_of_no_group_of_the_model_are_refused(tiny, tmp_path, capsys) -> None:
    values = {"format": "ggufkit sensitivity 1", "weights": {"conv/early": 1.0}}
    (tmp_path / "s.json").write_text(json.dumps(values))
    assert plan(tiny, "--budget", "Q5_0", "--sensitivity", str(tmp_path / "s.json")) == 3
    assert "conv/early, this model has" in capsys.readouterr().err
