"""Which file type is recommended, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.errors import BadValueError
from ggufkit.publish.recommend import PUBLISHED, UNNOTICED, read_quality, recommend
from ggufkit.toolbox.fit.fit import fit
from tests.llama import write_llama

LADDER = "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,Q6_K,Q8_0,F16"


@pytest.mark.parametrize(
    ("vram", "ram", "best"),
    [
        ("8G", None, "Q6_K"),
        ("6G", None, "Q4_K_M"),
        ("80G", None, "Q6_K"),  # nobody notices more
        (None, "5G", "Q2_K"),
        ("2G", None, None),
    ],
)
def test_the_one_that_fits_and_loses_least(vram, ram, best) -> None:
    advice = recommend(fit(params="8B", vram=vram, ram=ram, ladder=LADDER))
    assert (advice.best.name if advice.best else None) == best


def test_what_runs_on_the_gpu_alone_comes_before_what_is_better() -> None:
    advice = recommend(fit(params="8B", vram="6G", ram="64G", ladder=LADDER))
    assert advice.best is not None
    assert advice.best.placement.where == "gpu"


def test_measured_divergence_goes_before_published() -> None:
    found = fit(params="8B", vram="8G", ladder=LADDER)
    advice = recommend(found, {"Q4_K_M": UNNOTICED / 2})
    assert advice.best is not None
    assert (advice.best.name, advice.best.measured) == ("Q4_K_M", True)
    assert "measured here" in advice.sentence


def test_a_poor_choice_says_so() -> None:
    advice = recommend(fit(params="8B", ram="5G", ladder="Q2_K,Q8_0"))
    assert "A smaller model with more bits" in advice.sentence


def test_types_of_more_bits_diverge_less() -> None:
    ladder = LADDER.split(",")
    divergences = [PUBLISHED[name] for name in ladder]
    assert divergences == sorted(divergences, reverse=True)


def test_quality_is_what_try_prints(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m")
    out = tmp_path / "out"
    assert main(["convert", str(model), "-o", str(out), "--ladder", "Q4_K_M,Q8_0", "-q"]) == 0
    files = sorted(out.glob("*.gguf"))
    told = [
        {"file": str(files[0]), "kl_divergence": 0.5},
        {"file": str(files[1]), "kl_divergence": None},
    ]
    (tmp_path / "quality.json").write_text(json.dumps(told))
    assert read_quality(tmp_path / "quality.json") == {"Q4_K_M": 0.5}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"kl_divergence": 1}]'])
def test_other_files_are_no_quality(tmp_path: Path, text: str) -> None:
    (tmp_path / "quality.json").write_text(text)
    if text == "{}":
        assert read_quality(tmp_path / "quality.json") == {}
        return
    with pytest.raises(BadValueError, match="not what 'ggufkit try"):
        read_quality(tmp_path / "quality.json")


def test_the_command_answers_in_one_sentence(capsys) -> None:
    assert main(["recommend", "--params", "8B", "--vram", "8G"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("Take Q6_K: it runs on the GPU at 8192 tokens")
    assert main(["recommend", "--params", "70B", "--vram", "2G", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["best"] is None
