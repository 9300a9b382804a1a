"""Why a tensor has its type: every reason that there is, and every fallback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ggufkit.converter.planning.planner import make_plan
from ggufkit.converter.planning.reasons import Reason, ReasonCode
from ggufkit.converter.planning.recipes import FALLBACK, RECIPES
from ggufkit.converter.planning.rules import Recipe
from ggufkit.converter.planning.type_selection import TypeOptions, choose_types, model_facts
from ggufkit.converter.sources.base import Reader, Source, SourceTensor
from ggufkit.gguf.metadata import Metadata
from ggufkit.types import FileType
from ggufkit.types import TensorType as T

OUTPUT = SourceTensor("output.weight", (512, 256), T.F16)
FFN_UP = SourceTensor("blk.0.ffn_up.weight", (512, 256), T.F16)
BY_OPTION = TypeOptions(tensor_type=(("ffn_up", T.Q8_0),))
# the shape by which llama-quantize tells a llama of 70B
LLAMA_70B = {"block_count": 80, "attention.head_count": 64, "attention.head_count_kv": 8}


@dataclass(frozen=True)
class Case:
    """A model of few tensors, of which the last one's type is looked at."""

    tensors: tuple[SourceTensor, ...]
    recipe: str | Recipe
    type: T
    text: str
    options: TypeOptions | None = None
    hparams: Mapping[str, int] | None = None


def weight(name: str, n_cols: int = 256, stored: T = T.F16) -> SourceTensor:
    return SourceTensor(f"{name}.weight", (512, n_cols), stored)


def choose(case: Case) -> tuple[T, Reason]:
    metadata = {"general.architecture": "llama"}
    metadata |= {f"llama.{key}": value for key, value in (case.hparams or {}).items()}
    recipe = RECIPES[case.recipe] if isinstance(case.recipe, str) else case.recipe
    facts = model_facts(metadata, has_imatrix=False)
    return choose_types(case.tensors, recipe, facts, case.options)[-1]


CASES = {
    ReasonCode.KEPT_SMALL: Case(
        (OUTPUT, weight("output_norm", stored=T.F32)),
        "Q4_K_M", T.F32, "kept: small or not a matrix",
    ),
    ReasonCode.LEAVE_OUTPUT_OPTION: Case(
        (OUTPUT,), "Q4_K_M", T.F16, "kept: --leave-output-tensor",
        TypeOptions(leave_output_tensor=True),
    ),
    ReasonCode.EMBEDDING_OPTION: Case(
        (OUTPUT, weight("token_embd")), "Q4_K_M", T.Q5_0, "--token-embedding-type",
        TypeOptions(token_embedding_type=T.Q5_0),
    ),
    ReasonCode.OUTPUT_OPTION: Case(
        (OUTPUT,), "Q4_K_M", T.Q5_0, "--output-tensor-type", TypeOptions(output_tensor_type=T.Q5_0)
    ),
    ReasonCode.TIED_OUTPUT_OPTION: Case(
        (weight("token_embd"),), "Q4_K_M", T.Q5_0, "--output-tensor-type (tied embeddings)",
        TypeOptions(output_tensor_type=T.Q5_0),
    ),
    ReasonCode.TENSOR_TYPE_OPTION: Case(
        (OUTPUT, FFN_UP), "Q4_K_M", T.Q8_0, "--tensor-type", BY_OPTION
    ),
    ReasonCode.PURE_OPTION: Case(
        (OUTPUT, weight("blk.0.attn_v")), "Q4_K_M", T.Q4_K, "--pure", TypeOptions(pure=True)
    ),
    ReasonCode.NAMED: Case(
        (OUTPUT, FFN_UP), Recipe("MIX", T.Q4_K, T.Q6_K, types={FFN_UP.name: T.Q3_K}, like="Q4_K_M"),
        T.Q3_K, "named by the recipe",
    ),
    ReasonCode.RULE: Case((OUTPUT, weight("blk.0.attn_v")), "Q3_K_L", T.Q5_K, "attn_v is Q5_K"),
    ReasonCode.LLAMA_70B: Case(
        (OUTPUT, weight("blk.9.attn_v")), "Q3_K_S", T.Q5_K, "attn_v of a 70B llama",
        hparams=LLAMA_70B,
    ),
    ReasonCode.OUTPUT: Case((OUTPUT,), "Q4_K_M", T.Q6_K, "output is Q6_K"),
    ReasonCode.OUTPUT_Q8_0: Case(
        (weight("output", n_cols=288),), "Q4_K_M", T.Q8_0,
        "output is Q8_0 for falcon and for odd rows",
    ),
    ReasonCode.BASE: Case((OUTPUT, FFN_UP), "Q4_K_M", T.Q4_K, "base type"),
    ReasonCode.FALLBACK: Case(
        (OUTPUT, weight("blk.0.ffn_up", n_cols=288)), "Q4_K_M", T.Q5_0,
        "fallback: 288 columns are not whole blocks of Q4_K",
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES, ids=lambda code: code.name)
def test_each_reason_decides_somewhere(code: ReasonCode) -> None:
    case = CASES[code]
    type_, reason = choose(case)
    assert (type_, reason.code, str(reason)) == (case.type, code, case.text)


def test_no_reason_is_left_out() -> None:
    # two are for files that a converter makes, with no recipe to follow: see below
    assert {*CASES, ReasonCode.KEPT_BLOCKS, ReasonCode.CONVERTER} == set(ReasonCode)


class QuantizedCheckpoint(Source):
    """A source with nothing to read."""

    def reader(self, tensor: SourceTensor) -> Reader:
        raise NotImplementedError(tensor.name)


# one tensor in blocks, one vector
QUANTIZED_CHECKPOINT = QuantizedCheckpoint(
    tensors=(
        SourceTensor("blk.0.ffn_up_exps.weight", (4, 64, 32), T.MXFP4, None, T.MXFP4),
        SourceTensor("output_norm.weight", (32,), T.F32, T.F32),
        weight("output", n_cols=32),
    ),
    origin={"identity": "x"},
    base_metadata=Metadata({"general.architecture": "llama"}),
)


def test_a_float_rung_keeps_blocks_and_small_tensors() -> None:
    plan = make_plan(QUANTIZED_CHECKPOINT, [RECIPES["F16"]], {"F16": Path("x.gguf")})
    got = [(t.type, t.reason.code) for t in plan.rungs[0].targets.values()]
    assert got == [
        (T.MXFP4, ReasonCode.KEPT_BLOCKS),
        (T.F32, ReasonCode.KEPT_SMALL),
        (T.F16, ReasonCode.BASE),
    ]
    (kept, *_) = plan.rungs[0].targets.values()
    assert kept.as_dict()["why"] == "kept: the checkpoint's own blocks"
    assert kept.as_dict()["reason"] == "KEPT_BLOCKS"


def test_a_file_beside_a_model_has_the_types_of_its_converter() -> None:
    source = replace(
        QUANTIZED_CHECKPOINT,
        file_types=(FileType.Q8_0,),
        tensors=(SourceTensor("v.blk.0.ffn_up.weight", (64, 32), T.BF16, T.Q8_0),),
    )
    plan = make_plan(source, [RECIPES["Q8_0"]], {"Q8_0": Path("x.gguf")})
    (target,) = plan.rungs[0].targets.values()
    assert (target.type, target.reason) == (T.Q8_0, Reason(ReasonCode.CONVERTER))
    assert not target.reason.is_by_recipe


# every block type that something falls back from, with columns for its fallback, and for none
QUANTIZED = [r for r in RECIPES.values() if r.base.is_quantized and r.name != "MXFP4_MOE"]
BASES = sorted({recipe.base for recipe in QUANTIZED})


@pytest.mark.parametrize("n_cols", [288, 300])
@pytest.mark.parametrize("wanted", BASES, ids=lambda type_: type_.name)
def test_every_fallback_says_what_it_replaces(wanted: T, n_cols: int) -> None:
    narrow = FALLBACK.get(wanted, wanted)
    expected = narrow if n_cols % narrow.block_size == 0 else T.F16
    tensor = weight("blk.0.ffn_up", n_cols=n_cols)
    by_option = TypeOptions(tensor_type=(("ffn_up", wanted),))
    chosen = {
        ReasonCode.BASE: Case(
            (OUTPUT, tensor), Recipe("X", wanted, T.Q6_K, like="Q4_K_M"), expected, ""
        ),
        ReasonCode.TENSOR_TYPE_OPTION: Case((OUTPUT, tensor), "Q4_K_M", expected, "", by_option),
    }
    for replaced, case in chosen.items():
        type_, reason = choose(case)
        assert type_ is expected
        if n_cols % wanted.block_size == 0:
            assert reason == Reason(replaced)
            continue
        assert reason.code is ReasonCode.FALLBACK
        assert reason.replaces == Reason(replaced)
        assert str(reason) == f"fallback: {n_cols} columns are not whole blocks of {wanted.name}"
        assert reason.is_by_recipe is (replaced is ReasonCode.BASE)


def test_the_table_of_fallbacks_is_covered() -> None:
    assert set(FALLBACK) <= set(BASES)


def test_a_float_rung_does_not_fall_back() -> None:
    case = Case((OUTPUT, weight("blk.0.ffn_up", n_cols=300)), "F16", T.F16, "")
    assert choose(case) == (T.F16, Reason(ReasonCode.BASE))
