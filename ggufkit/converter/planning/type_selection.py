"""The type of every tensor of a rung: the recipe, then what holds for all recipes.

Follows ``tensor_allows_quantization``, ``llama_tensor_get_type`` and ``tensor_type_fallback`` in
llama-quant.cpp.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ggufkit.codecs import CODECS
from ggufkit.converter.planning.reasons import Reason
from ggufkit.converter.planning.reasons import ReasonCode as Code
from ggufkit.converter.planning.recipes import FALLBACK
from ggufkit.converter.planning.rules import Recipe, RuleContext
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.types import FileType
from ggufkit.types import TensorType as T

# Substring of a tensor's name -> role; the first that occurs decides.
ROLES = (
    ("attn_qkv.weight", "attn_v"),
    ("attn_kv_b.weight", "attn_v"),
    ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"),
    ("attn_q.weight", "attn_q"),
    ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"),
    ("ffn_gate", "ffn_gate"),
    ("ffn_down", "ffn_down"),
)
EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")

# Tensors with one of these in their name are small, or routing, or positions: never quantized.
# The list is llama-quantize's, not the converter's (`ALWAYS_F32` in `sources.checkpoint`), which is
# shorter: laurel, for one, is F16 in the converter's F16 file and keeps that in a Q4_K_M.
KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    *(f"time_mix_{part}{i}.weight" for part in "wvag" for i in range(3)),
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
)
KEPT_NAMES = ("position_embd.weight", "token_types.weight")

# A 70B llama's attn_v is small for its effect: these types become Q5_K.
RAISED_FOR_70B = (T.Q3_K, T.Q4_K)
LOW_BITS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})


@dataclass(frozen=True)
class TypeOptions:
    """llama-quantize's options that override a recipe, under its names.

    Attributes
    ----------
    token_embedding_type, output_tensor_type : TensorType or None
        Type of the token embeddings and of ``output.weight``.
    tensor_type : tuple of (str, TensorType)
        Pattern and type: the first pattern found in a tensor's name decides.
    leave_output_tensor : bool
        Keep ``output.weight`` as it is.
    pure : bool
        The base type for every tensor.
    """

    token_embedding_type: T | None = None
    output_tensor_type: T | None = None
    tensor_type: tuple[tuple[str, T], ...] = ()
    leave_output_tensor: bool = False
    pure: bool = False


def role_of(name: str) -> str:
    """Return what part of the model a tensor is, as far as recipes tell parts apart."""
    if name == "output.weight":
        return "output"
    if name in EMBEDDINGS:
        return "token_embd"
    return next((role for part, role in ROLES if part in name), "other")


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop leading 1s, as llama-quantize does: to ggml they are no dimensions."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def allows_quantization(tensor: SourceTensor) -> bool:
    """Whether llama-quantize would quantize the tensor at all."""
    name = tensor.name
    return (
        len(without_ones(tensor.shape)) >= 2
        and name.endswith("weight")
        and name not in KEPT_NAMES
        and not any(part in name for part in KEPT)
    )


def model_facts(metadata: Mapping[str, object], *, has_imatrix: bool) -> RuleContext:
    """Gather from a model's metadata what rules look at."""
    arch = str(metadata["general.architecture"])

    def number(key: str, default: int) -> int:
        value = metadata.get(f"{arch}.{key}", default)
        if isinstance(value, int):
            return value
        # per-layer arrays: llama-quantize looks at the first layer
        return int(value[0]) if isinstance(value, Sequence) and value else default

    n_layers = number("block_count", 0)
    n_head = number("attention.head_count", 0)
    n_head_kv = number("attention.head_count_kv", n_head)
    return RuleContext(
        arch=arch,
        n_layers=n_layers,
        gqa=n_head // n_head_kv if n_head_kv else 0,
        n_expert=number("expert_count", 0),
        is_70b=arch == "llama" and n_layers == 80 and n_head != n_head_kv,
        has_imatrix=has_imatrix,
    )


@dataclass
class _TypeSelector:
    """Walks the tensors of one rung in file order and keeps the counts that rules need."""

    recipe: Recipe
    facts: RuleContext
    options: TypeOptions
    n_attn_v: int
    tied: bool
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def file_type(self) -> str:
        """Name of the file type that the rung says it is."""
        return self.recipe.file_type.name

    def choose(self, tensor: SourceTensor) -> tuple[T, Reason]:
        role = role_of(tensor.name)
        if not allows_quantization(tensor):
            return tensor.source_type, Reason(Code.KEPT_SMALL)
        if role == "output" and self.options.leave_output_tensor:
            return tensor.source_type, Reason(Code.LEAVE_OUTPUT_OPTION)
        type_, reason = self._before_fallback(tensor, role)
        if self.recipe.base.is_quantized:
            return _fallback(tensor, type_, reason)
        return type_, reason

    def _before_fallback(self, tensor: SourceTensor, role: str) -> tuple[T, Reason]:
        options = self.options
        named = next((t for p, t in options.tensor_type if re.search(p, tensor.name)), None)
        # an explicit pattern may single out the large per-layer table
        by_pattern = named is not None and tensor.name == "per_layer_token_embd.weight"
        if role == "token_embd" and options.token_embedding_type is not None and not by_pattern:
            return options.token_embedding_type, Reason(Code.EMBEDDING_OPTION)
        if role == "output" and options.output_tensor_type is not None:
            return options.output_tensor_type, Reason(Code.OUTPUT_OPTION)
        if not self.recipe.base.is_quantized:
            return self.recipe.base, Reason(Code.BASE)
        if named is not None:
            return named, Reason(Code.TENSOR_TYPE_OPTION)
        if options.pure:
            return self.recipe.base, Reason(Code.PURE_OPTION)
        if tensor.name in self.recipe.types:
            return self.recipe.types[tensor.name], Reason(Code.NAMED)
        return self._by_recipe(tensor, role)

    def _by_recipe(self, tensor: SourceTensor, role: str) -> tuple[T, Reason]:
        if role == "output" or (role == "token_embd" and self.tied):
            return self._output_type(tensor)
        facts = self._facts_of(tensor, role)
        rule = self.recipe.match(role, facts)
        type_ = self.recipe.base if rule is None else rule.type
        raised = role == "attn_v" and facts.is_70b and type_ in RAISED_FOR_70B
        if raised and self.file_type not in LOW_BITS:
            return T.Q5_K, Reason(Code.LLAMA_70B)
        return type_, Reason(Code.BASE) if rule is None else Reason(Code.RULE, str(rule))

    def _output_type(self, tensor: SourceTensor) -> tuple[T, Reason]:
        if self.options.output_tensor_type is not None:
            return self.options.output_tensor_type, Reason(Code.TIED_OUTPUT_OPTION)
        if self.facts.arch == "falcon" or tensor.n_cols % self.recipe.base.block_size:
            return T.Q8_0, Reason(Code.OUTPUT_Q8_0)
        return self.recipe.output, Reason(Code.OUTPUT, self.recipe.output.name)

    def _facts_of(self, tensor: SourceTensor, role: str) -> RuleContext:
        layer = self.seen[role]
        self.seen[role] += 1
        n_layers = self.n_attn_v if role == "attn_v" else self.facts.n_layers
        block = re.match(r"blk\.(\d+)\.", tensor.name)
        # with experts a block has several ffn tensors of a role: the name tells the layer
        by_name = self.facts.n_expert > 1 and self.file_type not in LOW_BITS
        if role.startswith("ffn_") and by_name and block:
            layer = int(block[1])
        n_matrices = tensor.shape[-3] if len(tensor.shape) > 2 else 1
        return replace(self.facts, layer=layer, n_layers=n_layers, n_matrices=n_matrices)


def _fallback(tensor: SourceTensor, type_: T, reason: Reason) -> tuple[T, Reason]:
    if tensor.n_cols % type_.block_size == 0:
        return type_, reason
    fallback = FALLBACK.get(type_, type_)
    if tensor.n_cols % fallback.block_size:
        fallback = T.F16
    detail = f"{tensor.n_cols} columns are not whole blocks of {type_.name}"
    return fallback, Reason(Code.FALLBACK, detail, replaces=reason)


def choose_types(
    tensors: Sequence[SourceTensor],
    recipe: Recipe,
    facts: RuleContext,
    options: TypeOptions | None = None,
) -> list[tuple[T, Reason]]:
    """Choose the type of every tensor of a rung.

    Parameters
    ----------
    tensors : sequence of SourceTensor
        Those of the file that llama-quantize would read, in the order of the file that it would
        write, which the counts of rules depend on. A tensor that is kept has its `source_type`.
    recipe : Recipe
        The rung's recipe.
    facts : RuleContext
        From `model_facts`.
    options : TypeOptions, optional
        Overrides.
    """
    selector = _TypeSelector(
        recipe,
        facts,
        options or TypeOptions(),
        n_attn_v=sum(role_of(t.name) == "attn_v" for t in tensors),
        tied=not any(t.name == "output.weight" for t in tensors),
    )
    return [selector.choose(tensor) for tensor in tensors]


def needs_importance(type_: T) -> bool:
    """Whether llama-quantize makes nothing of the type without importance.

    To two types ggml can encode without it; the result is useless (``tensor_requires_imatrix``).
    """
    return type_ in (T.IQ2_S, T.IQ3_XXS) or CODECS[type_].needs_importance


def lacks_importance(name: str, type_: T, recipe: Recipe) -> bool:
    """Whether a tensor that is quantized to a type by a recipe is refused without importance."""
    small = type_ is T.Q2_K and recipe.file_type is FileType.Q2_K_S
    exempt = name in (*EMBEDDINGS, "output.weight")
    return not exempt and (small or needs_importance(type_))
