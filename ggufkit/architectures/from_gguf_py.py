"""Architectures without a file of their own, from the tables of gguf-py.

The package `gguf` knows what many more models call their tensors, and what llama.cpp calls them.
That is enough to rename and to stack experts, and it is all that is done here. What llama.cpp's
converter does to the values of some models, no table says: rows of queries and keys in another
order, fused tensors split, matrices transposed, norms shifted by one, decays as logarithms. So a
file made this way is unverified, and says so itself, under `UNVERIFIED_KEY`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ggufkit.architectures.suggest import best_fit, closest_name, similar_name, stem
from ggufkit.errors import UnknownArchitectureError
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.blocks import HPARAMS, POOLING
from ggufkit.mapping.matching import IGNORE, SUFFIXES, generalize, mismatch
from ggufkit.mapping.spec import (
    Always,
    Architecture,
    Config,
    Hparam,
    Weight,
    block_count,
    complete_config,
    expert_count,
    text_config,
)
from ggufkit.mapping.transforms import IDENTITY, Change, StackExperts, Transform

# True in the metadata of files made this way; llama.cpp passes over keys that it does not know.
UNVERIFIED_KEY = "ggufkit.generic"
NOTE = (
    "names and experts' stacks are from gguf-py's tables; nothing was permuted, split, transposed "
    "or shifted, as llama.cpp may want it of such a model"
)

# Hparams that one key of a config gives, in addition to those of most models.
_HPARAMS = (
    *HPARAMS,
    *POOLING,
    Hparam("expert_feed_forward_length", "moe_intermediate_size"),
    Hparam("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    Hparam("expert_shared_count", ("n_shared_experts", "num_shared_experts")),
    Hparam("leading_dense_block_count", "first_k_dense_replace"),
    Hparam("rope.dimension_count", "rotary_dim"),
    Hparam(UNVERIFIED_KEY, Always(True)),
)

# Buffers that checkpoints carry along, where the table has no place for them.
_BUFFERS = (*IGNORE, "*.attn.bias", "*.attn.masked_bias")


@dataclass(frozen=True)
class GenericArchitecture:
    """An architecture made from the tables, for one checkpoint.

    Attributes
    ----------
    architecture : Architecture
        Its weights are those of this checkpoint.
    absent : tuple of str
        Tensors that the table lists and the checkpoint has in no block. Many are optional; which
        ones, the table does not say.
    transformed : tuple of str
        Tensors that are transformed in models with a file of their own that llama.cpp runs under
        the same name: so may these have to be.
    """

    architecture: Architecture
    absent: tuple[str, ...] = ()
    transformed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to say of it, for provenance."""
        return _provenance(self.architecture.name, self.absent, self.transformed)


def generic_provenance(metadata: Metadata) -> dict[str, Any]:
    """Return the provenance of a file that was made this way; empty for any other."""
    if metadata.get(UNVERIFIED_KEY) is not True:
        return {}
    return {"generic": _provenance(str(metadata.get("general.architecture", "")))}


def _provenance(
    table: str, absent: Sequence[str] = (), transformed: Sequence[str] = ()
) -> dict[str, Any]:
    return {"table": table, "note": NOTE, "absent": list(absent), "transformed": list(transformed)}


def generic_name(config: Config) -> str | None:
    """Return the architecture of the tables that is spelt like a config's class or model_type."""
    known = {stem(name): name for name in _tables()}
    return next((known[s] for name in _names(config) if (s := stem(name)) in known), None)


def generic_architecture(
    config: Config,
    names: Sequence[str],
    requested: str | None = None,
    *,
    known: Sequence[Architecture],
) -> GenericArchitecture:
    """Make an architecture for a checkpoint that no file covers.

    Parameters
    ----------
    config : mapping
        Its config.json.
    names : sequence of str
        Its tensors; none, of a vocabulary alone.
    requested : str, optional
        The name of the table, where neither class nor model_type tell it.
    known : sequence of Architecture
        Those with a file, of which an error names the closest.

    Raises
    ------
    UnknownArchitectureError
        No table has this name.
    TensorNamesError
        Tensors have no place in the table, or the checkpoint lacks some.
    """
    name = _chosen(config, requested)
    made = Architecture(name, hf_classes=(), tokenizer="any", hparams=_HPARAMS, weights=())
    if not names:
        return GenericArchitecture(made)
    table = _Table(name)
    n_blocks = block_count(complete_config(made, config))
    found = {given: table.find(given) for given in names}
    places = [place for place in found.values() if place is not None and place.block < n_blocks]
    buffers = [given for given, place in found.items() if not place and _is_buffer(given)]
    rest = found.keys() - buffers - {place.given for place in places}
    unmapped = [given for given in names if given in rest]
    missing = [*_missing(table, places, n_blocks)]
    if unmapped or missing:
        error = mismatch(f"gguf-py's table of {name}", unmapped, missing)
        closest = best_fit(known, names, config, _names(config))
        called = _names(config)
        like = closest.hf_class if closest else similar_name(called, _classes(known))
        hint = f" The closest class with an architecture file is {like};" if like else ""
        raise type(error)(
            f"{error}{hint} docs/adding-an-architecture.md says how to add one",
            unmapped=unmapped,
            missing=missing,
            closest=like,
        )
    present = {place.target.removesuffix(".bias") for place in places}
    weights = tuple(_weights(places))
    return GenericArchitecture(
        replace(made, weights=weights, ignore=tuple(buffers)),
        tuple(sorted(table.targets - present)),
        tuple(sorted(_transformed(name, known) & present)),
    )


def _names(config: Config) -> list[str]:
    """Return what a config calls its model."""
    given = config.get("architectures")
    kinds = [config.get("model_type"), (text_config(config) or {}).get("model_type")]
    return [str(n) for n in (*(given if isinstance(given, list) else ()), *kinds) if n]


def _transformed(name: str, known: Iterable[Architecture]) -> set[str]:
    return {
        weight.name
        for architecture in known
        if architecture.name == name
        for weight in architecture.weights
        if not isinstance(weight.transform, Transform) or weight.transform.change > Change.NOTHING
    }


def _is_buffer(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _BUFFERS)


def _classes(architectures: Iterable[Architecture]) -> list[str]:
    return [name for architecture in architectures for name in architecture.hf_classes]


def _chosen(config: Config, requested: str | None) -> str:
    tables = _tables()
    name = generic_name(config) if requested is None else requested
    if name not in tables:
        said = " or ".join(_names(config)[:4])[:200] if requested is None else requested[:200]
        closest = closest_name([said], tables)
        raise UnknownArchitectureError(
            f"gguf-py has no table for {said or 'a model without a name'}; the closest name is "
            f"{closest}. If llama.cpp runs it under another name, write --generic NAME; "
            "docs/adding-an-architecture.md says how to add an architecture",
            closest=closest,
        )
    return str(name)


def _tables() -> dict[str, Any]:
    """Return the architectures of gguf-py that have token embeddings, by name."""
    from gguf.constants import MODEL_ARCH_NAMES, MODEL_TENSOR, MODEL_TENSORS

    return {
        name: arch
        for arch, name in MODEL_ARCH_NAMES.items()
        if MODEL_TENSOR.TOKEN_EMBD in MODEL_TENSORS.get(arch, ())
    }


@dataclass(frozen=True)
class _Place:
    """Where a tensor of a checkpoint goes.

    `given` is its name, `source` and `target` stand for all blocks (and experts), without
    `suffix`. `block` is -1 outside of blocks, `expert` is -1 outside of stacks.
    """

    given: str
    source: str
    target: str
    suffix: str
    block: int
    expert: int


class _Table:
    """gguf-py's names of one architecture."""

    def __init__(self, name: str) -> None:
        from gguf.constants import MODEL_TENSORS, TENSOR_NAMES
        from gguf.tensor_mapping import TensorNameMap

        arch = _tables()[name]
        # one architecture's names are added to its class's: they would be all others', too
        own = {"block_mappings_cfg": dict(TensorNameMap.block_mappings_cfg)}
        # names of one block stand for those of all: a config may claim any number
        self._map = type("OwnNames", (TensorNameMap,), own)(arch, 1)
        names = (TENSOR_NAMES[tensor] for tensor in MODEL_TENSORS[arch])
        self.targets = {name.replace("{bid}", "{i}") for name in names}

    def find(self, given: str) -> _Place | None:
        """Return where a tensor goes, None if the table does not say."""
        full, block, expert = generalize(given)
        if str(int(block or 0)) != (block or "0") or str(int(expert or 0)) != (expert or "0"):
            return None  # 007
        key = full.replace(".{e}", "").replace("{i}", "0")
        suffix = next((s for s in SUFFIXES if key.endswith(s)), "")
        name = self._map.get_name(key.removesuffix(suffix))
        if name is None and key.endswith("_bias"):  # of what is no module in the checkpoint
            name = self._map.get_name(key.removesuffix("_bias"))
            name = name and f"{name}.bias"
        if name is None:
            return None
        target = name.replace(".0.", ".{i}.", 1)
        # a stack of experts or one tensor for all of them; nothing else has a second number
        if expert and not target.endswith("_exps"):
            return None
        return _Place(
            given,
            full.removesuffix(suffix),
            target,
            suffix,
            block=int(block or -1),
            expert=int(expert or -1),
        )


def _weights(places: Iterable[_Place]) -> Iterator[Weight]:
    """Yield the weights of a checkpoint's tensors, each once."""
    by_source: dict[tuple[str, bool], list[_Place]] = defaultdict(list)
    for place in places:
        by_source[place.source, place.suffix == ""].append(place)
    for (source, bare), same in by_source.items():
        n_experts = 1 + max(place.expert for place in same)
        target = same[0].target
        yield Weight(
            # what is stacked already has no suffix in the checkpoint
            f"{target}.weight" if bare and target.endswith("_exps") else target,
            source,
            StackExperts() if n_experts else IDENTITY,
            optional=True,
            full_name=bare,
            stack_size=lambda config, n=n_experts: expert_count(config) or n,  # type: ignore[misc]
        )


def _missing(table: _Table, places: Sequence[_Place], n_blocks: int) -> Iterator[str]:
    """Yield tensors that a checkpoint lacks, by what it has.

    The table does not say what is optional. What most blocks have the same is taken for a block's
    tensors: a block that has only a part of these lacks the rest. Blocks with others (attention
    here, convolutions there) are taken as they are.
    """
    present = {place.target for place in places}
    # encoders norm the embeddings instead of what comes out
    needed = {"token_embd", *(() if "token_embd_norm" in table.targets else ("output_norm",))}
    yield from (f"{name}.weight" for name in sorted(needed & table.targets - present))
    blocks: dict[int, set[str]] = defaultdict(set)
    for place in places:
        if place.target.startswith("blk.{i}.") and place.suffix != ".bias":
            blocks[place.block].add(place.target + place.suffix)
    layouts = Counter(frozenset(layout) for layout in blocks.values())
    if not layouts:
        yield from (f"blk.{block}.*" for block in range(n_blocks))
        return
    usual = max(layouts, key=lambda layout: (layouts[layout], len(layout)))
    for block in range(n_blocks):
        if blocks[block] < usual:
            yield from (t.replace("{i}", str(block)) for t in sorted(usual - blocks[block]))
