"""Mixtures of experts: how many layers keep their experts in RAM (``--n-cpu-moe``)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from ggufkit.cli.main import main
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.toolbox.fit.fit import fit
from ggufkit.types import TensorType

N, HIDDEN, EXPERT, N_EXPERTS, VOCABULARY = 48, 2048, 768, 128, 151936
EXPERTS = 3 * N_EXPERTS * EXPERT * HIDDEN * 144 // 256  # bytes of a layer in Q4_K
GIB = 1 << 30


class Spec(NamedTuple):
    name: str
    shape: tuple[int, ...]
    type: TensorType


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Path:
    """A file with the header of Qwen3-30B-A3B in Q4_K, and a hole for its weights."""
    shapes = {"token_embd": (VOCABULARY, HIDDEN), "output": (VOCABULARY, HIDDEN)}
    for i in range(N):
        shapes |= {
            f"blk.{i}.attn_q": (4096, HIDDEN),
            f"blk.{i}.attn_k": (512, HIDDEN),
            f"blk.{i}.attn_v": (512, HIDDEN),
            f"blk.{i}.attn_output": (HIDDEN, 4096),
            f"blk.{i}.ffn_gate_exps": (N_EXPERTS, EXPERT, HIDDEN),
            f"blk.{i}.ffn_up_exps": (N_EXPERTS, EXPERT, HIDDEN),
            f"blk.{i}.ffn_down_exps": (N_EXPERTS, HIDDEN, EXPERT),
        }
    hparams = {
        "block_count": N,
        "context_length": 40960,
        "embedding_length": HIDDEN,
        "feed_forward_length": 6144,
        "expert_feed_forward_length": EXPERT,
        "expert_count": N_EXPERTS,
        "expert_used_count": 8,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
        "attention.value_length": 128,
    }
    metadata = Metadata({"general.architecture": "qwen3moe", "general.file_type": 15})
    metadata.extend(Metadata({f"qwen3moe.{key}": value for key, value in hparams.items()}))
    specs = [Spec(f"{n}.weight", s, TensorType.Q4_K) for n, s in shapes.items()]
    layout = plan_layout(metadata, specs)
    path = tmp_path_factory.mktemp("moe") / "moe.gguf"
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.file_size)
    return path


@pytest.mark.parametrize("vram", [4, 8, 12])
def test_the_fewest_experts_that_leave_room_stay_in_ram(mixture: Path, vram: int) -> None:
    placed = fit(mixture, vram=vram * GIB, ram=32 * GIB).placements[0]
    n = placed.n_cpu_moe
    everything = placed.need.vram(N + 1)
    assert 0 < n <= N
    assert everything - n * EXPERTS <= vram * GIB < everything - (n - 1) * EXPERTS


@pytest.mark.parametrize(("vram", "ram"), [(24, 32), (8, 4), (0.5, 64), (0, 64)])
def test_no_experts_are_moved_where_that_is_no_answer(mixture: Path, vram: float, ram: int) -> None:
    assert fit(mixture, vram=int(vram * GIB), ram=ram * GIB).placements[0].n_cpu_moe == 0


def test_the_command_says_the_flags(mixture: Path, capsys) -> None:
    n = fit(mixture, vram=8 * GIB, ram=32 * GIB).placements[0].n_cpu_moe
    assert main(["fit", str(mixture), "--vram", "8G", "--ram", "32G"]) == 0
    assert f"-ngl {N + 1} --n-cpu-moe {n}" in " ".join(capsys.readouterr().out.split())
