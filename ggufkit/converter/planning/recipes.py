"""Recipes: which tensor type each tensor of a file type gets, as data.

For a tensor, the first rule whose role and predicate match gives the type; with no match it is the
recipe's base type. `ggufkit.converter.planning.type_selection` adds what holds for every recipe.
Together they give llama-quantize's type for every tensor (``llama_tensor_get_type_impl`` in llama-
quant.cpp).
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType

from ggufkit.converter.planning.rules import (
    Recipe,
    RecipeRule,
    both,
    eight_experts,
    expert_stack,
    falcon,
    first_2,
    first_4,
    first_eighth,
    first_sixteenth,
    grouped_heads,
    grouped_heads_or_experts,
    imatrix_given,
    middle,
    more_bits,
    no_imatrix,
    not_eight_experts,
    not_falcon,
)
from ggufkit.errors import ConversionError
from ggufkit.types import TensorType as T

# With eight experts, keys and values are a small part of the file: they get 8 bits.
_EXPERTS_KV = (
    RecipeRule("attn_v", T.Q8_0, eight_experts),
    RecipeRule("attn_k", T.Q8_0, eight_experts),
)
_EXPERTS_OUT = RecipeRule("attn_output", T.Q5_K, both(eight_experts, not_falcon))


def _recipe(name: str, base: T, *rules: RecipeRule) -> Recipe:
    output = T.Q8_0 if base is T.Q8_0 else T.Q6_K
    return Recipe(name, base, output, (*_EXPERTS_KV, *rules))


def _low_bits(name: str, base: T, better: T, *rules: RecipeRule) -> Recipe:
    """Return an IQ1 or IQ2 recipe: `better` is what its sensitive tensors get."""
    shared = (
        RecipeRule("attn_v", T.Q4_K, grouped_heads_or_experts),
        RecipeRule("attn_v", better),
        RecipeRule("attn_k", T.Q4_K, eight_experts),
        RecipeRule("ffn_down", better, first_eighth),
        RecipeRule("attn_output", T.Q5_K, eight_experts),
    )
    return Recipe(name, base, T.Q5_K, (RecipeRule("token_embd", better), *shared, *rules))


def _plain(name: str) -> Recipe:
    return Recipe(name, T[name], T[name])


_IQ4 = (
    RecipeRule("attn_v", T.Q5_K, grouped_heads),
    RecipeRule("ffn_down", T.Q5_K, both(first_eighth, no_imatrix)),
    _EXPERTS_OUT,
)

# From fewest to most bits per weight: ladder ranges follow this order.
_ORDERED = (
    _recipe("Q1_0", T.Q1_0),
    _low_bits("IQ1_S", T.IQ1_S, T.Q2_K, RecipeRule("attn_output", T.IQ2_XXS)),
    _recipe("TQ1_0", T.TQ1_0, RecipeRule("token_embd", T.Q4_K)),
    _low_bits("IQ1_M", T.IQ1_M, T.Q2_K, RecipeRule("attn_output", T.IQ2_XXS)),
    _low_bits("IQ2_XXS", T.IQ2_XXS, T.Q2_K),
    _recipe("TQ2_0", T.TQ2_0, RecipeRule("token_embd", T.Q4_K)),
    _recipe("Q2_0", T.Q2_0, RecipeRule("token_embd", T.Q4_K)),
    _low_bits("IQ2_XS", T.IQ2_XS, T.Q2_K),
    _low_bits("IQ2_S", T.IQ2_XS, T.IQ3_S, RecipeRule("attn_output", T.IQ3_S)),
    _low_bits("IQ2_M", T.IQ2_S, T.IQ3_S, RecipeRule("attn_output", T.IQ3_S)),
    _recipe(
        "Q2_K_S",
        T.Q2_K,
        RecipeRule("attn_v", T.Q4_K, grouped_heads),
        RecipeRule("ffn_down", T.Q4_K, first_eighth),
    ),
    _recipe(
        "Q2_K",
        T.Q2_K,
        RecipeRule("attn_v", T.Q4_K, grouped_heads),
        RecipeRule("attn_v", T.Q3_K),
        RecipeRule("ffn_down", T.Q3_K),
        _EXPERTS_OUT,
        RecipeRule("attn_output", T.Q3_K, not_falcon),
    ),
    Recipe(
        "IQ3_XXS",
        T.IQ3_XXS,
        T.Q5_K,
        (
            RecipeRule("token_embd", T.IQ3_S),
            *_EXPERTS_KV,
            RecipeRule("attn_v", T.Q4_K, grouped_heads),
            RecipeRule("attn_v", T.IQ3_S, no_imatrix),
            RecipeRule("attn_k", T.IQ2_S),
            RecipeRule("attn_q", T.IQ2_S),
            RecipeRule("ffn_down", T.Q4_K, both(no_imatrix, first_eighth)),
            RecipeRule("ffn_down", T.Q3_K, no_imatrix),
            _EXPERTS_OUT,
            RecipeRule("attn_output", T.IQ3_S, not_falcon),
        ),
    ),
    _recipe(
        "IQ3_XS",
        T.IQ3_S,
        RecipeRule("attn_v", T.Q4_K, grouped_heads),
        RecipeRule("attn_k", T.IQ3_XXS),
        RecipeRule("attn_q", T.IQ3_XXS),
        _EXPERTS_OUT,
        RecipeRule("ffn_gate", T.IQ3_XXS, middle),
        RecipeRule("ffn_up", T.IQ3_XXS, middle),
    ),
    _recipe("Q3_K_S", T.Q3_K, _EXPERTS_OUT),
    _recipe("IQ3_S", T.IQ3_S, RecipeRule("attn_v", T.Q4_K, grouped_heads), _EXPERTS_OUT),
    _recipe(
        "IQ3_M",
        T.IQ3_S,
        RecipeRule("attn_v", T.Q4_K),
        RecipeRule("ffn_down", T.Q4_K, first_eighth),
        RecipeRule("ffn_down", T.Q4_K, both(eight_experts, more_bits)),
        _EXPERTS_OUT,
        RecipeRule("attn_output", T.Q4_K, not_falcon),
    ),
    _recipe(
        "Q3_K_M",
        T.Q3_K,
        RecipeRule("attn_v", T.Q5_K, first_2),
        RecipeRule("attn_v", T.Q4_K),
        RecipeRule("ffn_down", T.Q5_K, first_sixteenth),
        RecipeRule("ffn_down", T.Q4_K, not_falcon),
        RecipeRule("ffn_down", T.Q4_K, more_bits),
        _EXPERTS_OUT,
        RecipeRule("attn_output", T.Q4_K, not_falcon),
    ),
    _recipe(
        "Q3_K_L",
        T.Q3_K,
        RecipeRule("attn_v", T.Q5_K),
        RecipeRule("ffn_down", T.Q4_K, falcon),
        RecipeRule("ffn_down", T.Q5_K),
        RecipeRule("attn_output", T.Q4_K, falcon),
        RecipeRule("attn_output", T.Q5_K, not_eight_experts),
    ),
    _recipe("IQ4_XS", T.IQ4_XS, *_IQ4),
    _recipe("IQ4_NL", T.IQ4_NL, *_IQ4),
    _recipe("Q4_0", T.Q4_0, RecipeRule("ffn_down", T.Q4_1, both(imatrix_given, first_eighth))),
    _recipe(
        "Q4_K_S",
        T.Q4_K,
        RecipeRule("attn_v", T.Q5_K, first_4),
        RecipeRule("ffn_down", T.Q5_K, both(not_falcon, first_eighth)),
        _EXPERTS_OUT,
    ),
    _recipe(
        "Q4_K_M",
        T.Q4_K,
        RecipeRule("attn_v", T.Q6_K, more_bits),
        RecipeRule("ffn_down", T.Q6_K, both(falcon, first_sixteenth)),
        RecipeRule("ffn_down", T.Q5_K, both(falcon, more_bits)),
        RecipeRule("ffn_down", T.Q6_K, both(not_falcon, more_bits)),
        _EXPERTS_OUT,
    ),
    _recipe("Q4_1", T.Q4_1),
    _recipe("Q5_0", T.Q5_0, RecipeRule("ffn_down", T.Q5_1, both(imatrix_given, first_eighth))),
    _recipe("Q5_K_S", T.Q5_K),
    _recipe(
        "Q5_K_M",
        T.Q5_K,
        RecipeRule("attn_v", T.Q6_K, more_bits),
        RecipeRule("ffn_down", T.Q6_K, more_bits),
    ),
    _recipe("Q5_1", T.Q5_1),
    _recipe("Q6_K", T.Q6_K),
    Recipe("MXFP4_MOE", T.Q8_0, T.Q8_0, (RecipeRule("*", T.MXFP4, expert_stack),)),
    _recipe("Q8_0", T.Q8_0),
    _plain("F16"),
    _plain("BF16"),
    _plain("F32"),
)

RECIPES = MappingProxyType({recipe.name: recipe for recipe in _ORDERED})

ALIASES = MappingProxyType({"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"})

# The file type to make, or to take from a ladder, if none is named.
DEFAULT_LADDER = "Q4_K_M"

# Replacements for types whose blocks do not divide a tensor's rows (tensor_type_fallback).
FALLBACK = MappingProxyType(
    {
        **dict.fromkeys((T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S), T.IQ4_NL),
        **dict.fromkeys((T.IQ3_XXS, T.IQ3_S, T.IQ4_XS), T.IQ4_NL),
        **dict.fromkeys((T.Q2_0, T.Q2_K, T.Q3_K, T.TQ1_0, T.TQ2_0), T.Q4_0),
        T.Q4_K: T.Q5_0,
        T.Q5_K: T.Q5_1,
        T.Q6_K: T.Q8_0,
    }
)

# What "all" and ranges leave out: made for special models, or (MXFP4_MOE) for experts.
SPECIAL = frozenset({"Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "MXFP4_MOE"})


def parse_ladder(text: str) -> tuple[Recipe, ...]:
    """Read a ladder: one file type, a list, a range ``LOW:HIGH``, or ``all``.

    Parameters
    ----------
    text : str
        For example ``Q4_K_M``, ``Q2_K,Q8_0`` or ``Q2_K:Q8_0``. A range holds the recipes between
        its ends in order of size, without those made for special models; IQ types, which want an
        importance matrix, are in it if one of its ends is one.

    Raises
    ------
    ConversionError
        A name is unknown or repeated, the ladder is empty, or a range runs downwards.

    Examples
    --------
    >>> [recipe.name for recipe in parse_ladder("q5_k_s:q6_k")]
    ['Q5_K_S', 'Q5_K_M', 'Q5_1', 'Q6_K']
    """
    chosen: dict[str, Recipe] = {}
    parts = [part.strip() for part in text.upper().split(",")]
    if not all(parts):
        what = "names no file type" if not any(parts) else "has an empty place"
        raise ConversionError(f"ladder {text!r} {what}: write one, such as {DEFAULT_LADDER}")
    named = Counter(_parse_part(part)[0].name for part in parts if ":" not in part)
    for name, n in named.items():
        if n > 1:
            raise ConversionError(f"ladder {text!r} names {name} {n} times: write it once")
    for part in parts:
        for recipe in _parse_part(part):
            chosen[recipe.name] = recipe
    return tuple(sorted(chosen.values(), key=_ORDERED.index))


def _parse_part(part: str) -> tuple[Recipe, ...]:
    if part == "ALL":
        return tuple(r for r in _ORDERED if r.name not in SPECIAL)
    if ":" not in part:
        return (_named(part),)
    ends = [_named(end) for end in part.split(":", 1)]
    low, high = map(_ORDERED.index, ends)
    if low > high:
        raise ConversionError(f"ladder {part} runs downwards: write the smaller type first")
    with_iq = any(recipe.name.startswith("IQ") for recipe in ends)
    between = [
        recipe
        for recipe in _ORDERED[low : high + 1]
        if recipe.name not in SPECIAL and (with_iq or not recipe.name.startswith("IQ"))
    ]
    return tuple(recipe for recipe in _ORDERED if recipe in between or recipe in ends)


def _named(name: str) -> Recipe:
    try:
        return RECIPES[ALIASES.get(name, name)]
    except KeyError:
        known = " ".join(RECIPES)
        raise ConversionError(f"unknown file type {name!r}: known are {known}, all") from None
