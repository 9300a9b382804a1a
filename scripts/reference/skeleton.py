"""A first draft of an architecture file, from what llama.cpp's converter wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from scripts.reference.origins import Pattern
from scripts.reference.tiny_config import text_part

Config = Mapping[str, Any]

#: Kinds of vocabulary by the converter's method that writes them.
_TOKENIZERS = {
    "_set_vocab_gpt2": "gpt2",
    "_set_vocab_llama_hf": "llama",
    "_set_vocab_qwen": "qwen",
    "_set_vocab_sentencepiece": "spm",
}
#: Every class of the converter starts with the same keys; its own come after this one.
_LAST_COMMON = "general.file_type"
#: Of the common keys, those that configs tend to leave out.
_DEFAULTS = (
    "max_position_embeddings",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "layer_norm_eps",
    "rope_theta",
)
_SUFFIX = re.compile(r"\.(weight|bias)$")
_PLAIN = ("as it is", "stacked")


def skeleton(
    case: Mapping[str, Any],
    found: Mapping[str, Any],
    patterns: Sequence[Pattern],
    decoder: Mapping[str, str],
) -> str:
    """Return the draft of a file for ``ggufkit/architectures``.

    Parameters
    ----------
    case : mapping
        What the converter wrote, see `reference.case`.
    found : mapping
        Its class and vocabulary, and transformers' defaults where they are known.
    patterns : sequence of Pattern
        Where the tensors come from.
    decoder : mapping
        From name to source, the weights of `decoder`, which need no line of their own.
    """
    config = case["config"]
    keys = {key: value for key, _, value in case["metadata"]}
    name = keys["general.architecture"]
    hparams = own_hparams(case["metadata"], name, text_part(config))
    weights = list(_weights(patterns, decoder, keys.get(f"{name}.block_count", 0)))
    defaults = _defaults(found.get("defaults") or {}, hparams)
    stacks = any("StackExperts()" in line for line in weights)
    lines = [
        f'"""{config["architectures"][0]}.',
        "",
        f"Source: llama.cpp {found['converter']}; transformers {config.get('model_type')}.",
        '"""',
        "",
        f"from ggufkit.mapping.blocks import {_imports(weights)}",
        "from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam, Weight",
        *(["from ggufkit.mapping.transforms import StackExperts"] if stacks else []),
        "",
        f"{name.upper().replace('-', '_').replace('.', '_')} = Architecture(",
        f"    name={_quoted(name)},",
        f"    title={_quoted(config['architectures'][0])},  # what people call the models",
        f"    hf_classes=({_list(config['architectures'])},),",
        f"    {_tokenizer(found['vocabulary'])}",
        *_block("defaults", "{}", [f"{_quoted(k)}: {v!r}," for k, v in defaults.items()]),
        *_block("hparams", "()", ["*HPARAMS,", *(_hparam(*entry) for entry in hparams)]),
        *_block("weights", "()", weights),
        f"    export=ExportSpec({_quoted(str(config.get('model_type')))}),",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _imports(weights: Sequence[str]) -> str:
    """Return the names of ``mapping.blocks`` that the lines use."""
    text = "\n".join(weights)
    used = [name for name in ("decoder", "without") if re.search(rf"\b{name}\b", text)]
    return ", ".join(["HPARAMS", *used])


def own_hparams(
    metadata: Sequence[Sequence[Any]], name: str, config: Config
) -> list[tuple[str, Any, list[str]]]:
    """Return the keys that a class adds to the common ones, values, and where they may come from.

    Examples
    --------
    >>> rows = [["general.file_type", "UINT32", 32], ["x.expert_count", "UINT32", 4]]
    >>> own_hparams(rows, "x", {"num_experts": 4, "hidden_size": 64})
    [('expert_count', 4, ['num_experts'])]
    """
    keys = [key for key, _, _ in metadata]
    first = keys.index(_LAST_COMMON) + 1 if _LAST_COMMON in keys else 0
    return [
        (key.removeprefix(f"{name}."), value, sources(key, value, config))
        for key, _, value in metadata[first:]
        if key != "general.quantization_version"
    ]


def sources(key: str, value: Any, config: Config) -> list[str]:
    """Return the config keys with this value, the one that is spelt most like `key` first."""
    same = [name for name, given in config.items() if _is_same(given, value)]
    last = key.rsplit(".", 1)[-1]
    return sorted(same, key=lambda name: -SequenceMatcher(None, name, last).ratio())


def _is_same(given: Any, value: Any) -> bool:
    if isinstance(given, bool) or isinstance(value, bool):
        return given is value
    if isinstance(given, float) or isinstance(value, float):
        is_number = isinstance(given, int | float) and isinstance(value, int | float)
        return is_number and abs(given - value) <= 1e-6 * abs(value)
    return bool(given == value)


def _hparam(key: str, value: Any, candidates: Sequence[str]) -> str:
    if not candidates:
        return f"# Hparam({_quoted(key)}, ...): no key of the config has the value {value!r}"
    others = f"  # or {', '.join(candidates[1:3])}" if len(candidates) > 1 else ""
    return f"Hparam({_quoted(key)}, {_quoted(candidates[0])}),{others}"


def _defaults(defaults: Config, hparams: Sequence[tuple[str, Any, list[str]]]) -> dict[str, Any]:
    used = [*_DEFAULTS, *(names[0] for _, _, names in hparams if names)]
    known = text_part(defaults)
    return {key: known[key] for key in dict.fromkeys(used) if known.get(key) is not None}


def _tokenizer(asked: Sequence[str]) -> str:
    kind = next((_TOKENIZERS[name] for name in asked if name in _TOKENIZERS), "any")
    says = f"set_vocab calls {asked[0]}" if asked else "its set_vocab writes them itself"
    return f"tokenizer={_quoted(kind)},  # {says}"


def _weights(
    patterns: Sequence[Pattern], decoder: Mapping[str, str], n_blocks: int
) -> Iterator[str]:
    """Yield the lines of weights; `decoder` stands for its own if most of them fit."""
    written = [p for p in patterns if not _is_bias_of_one(p, patterns)]
    fitting = {p.name.removesuffix(".weight") for p in written if _fits(p, decoder)}
    if 2 * len(fitting) > len(decoder):
        others = [name.removeprefix("blk.{i}.") for name in decoder if name not in fitting]
        yield f"*without(decoder(), {_list(others)})," if others else "*decoder(),"
    else:
        fitting = set()
    for pattern in written:
        if _stem(pattern.name) not in fitting:
            yield _weight(pattern, n_blocks)


def _fits(pattern: Pattern, decoder: Mapping[str, str]) -> bool:
    sources = tuple(map(_stem, pattern.sources))
    return pattern.how == _PLAIN[0] and sources == (decoder.get(_stem(pattern.name)),)


def _is_bias_of_one(pattern: Pattern, patterns: Sequence[Pattern]) -> bool:
    """Whether it is the bias of a weight that has a line, treated in the same way."""
    return pattern.name.endswith(".bias") and any(
        other.name == f"{_stem(pattern.name)}.weight"
        and [*map(_stem, other.sources)] == [*map(_stem, pattern.sources)]
        and other.how == pattern.how
        for other in patterns
    )


def _weight(pattern: Pattern, n_blocks: int) -> str:
    if not pattern.sources:
        return f"# {_quoted(pattern.name)}: {pattern.how}"
    name, source = pattern.name, pattern.sources[0]
    plain = all(_ending(one) == _ending(name) for one in pattern.sources)
    arguments = [
        _quoted(_stem(name) if plain else name),
        _quoted(_stem(source) if plain else source),
    ]
    arguments += ["StackExperts()"] if pattern.how == "stacked" else []
    arguments += [] if plain else ["full_name=True"]
    return f"Weight({', '.join(arguments)}),{_note(pattern, n_blocks)}"


def _note(pattern: Pattern, n_blocks: int) -> str:
    notes = [] if pattern.how in _PLAIN else [pattern.how]
    if len(pattern.sources) > 1:
        notes.append(f"with {', '.join(pattern.sources[1:])}")
    if 0 < len(pattern.blocks) < n_blocks:
        notes.append(f"in blocks {', '.join(map(str, pattern.blocks))}")
    return f"  # {'; '.join(notes)}" if notes else ""


def _ending(name: str) -> str:
    match = _SUFFIX.search(name)
    return match[0] if match else ""


def _stem(name: str) -> str:
    return _SUFFIX.sub("", name)


def _block(name: str, brackets: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [
        f"    {name}={brackets[0]}",
        *(f"        {line}" for line in lines),
        f"    {brackets[1]},",
    ]


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(text: str) -> str:
    return json.dumps(text)
