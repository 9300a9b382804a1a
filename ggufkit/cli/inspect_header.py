"""How `ggufkit inspect` shows the header of a GGUF file to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.header_summary import file_name, summary, type_mix
from ggufkit.cli.metadata_values import N_ITEMS, items_text, number_text, short_type, shorten

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.gguf.model import GGUFModel

#: Row of the summary -> key, under the architecture.
_HPARAMS = {
    "context": "context_length",
    "blocks": "block_count",
    "embedding": "embedding_length",
    "feed forward": "feed_forward_length",
    "heads": "attention.head_count",
    "KV heads": "attention.head_count_kv",
    "experts": "expert_count",
    "experts used": "expert_used_count",
}
_TEXTS = {
    "license": "general.license",
    "tokenizer": "tokenizer.ggml.model",
    "pre-tokenizer": "tokenizer.ggml.pre",
}


def show_header(
    file: GGUFModel, wanted: Callable[[str], bool], *, tensors: bool, everything: bool
) -> None:
    """Show the summary and the mix of types, if `everything`, and what is `wanted` by name."""
    if everything:
        render.heading(file_name(file.parts[0]) or "")
        render.fields(_summary_rows(file))
        for remark in _remarks(file):
            render.note(remark)
        _show_types(file)
    keys = [key for key in file.metadata if wanted(key)]
    if keys:
        render.blank()
        render.heading(f"Metadata: {len(keys)} keys")
        render.table(("key", "type", "value"), [_metadata_row(file.metadata, key) for key in keys])
    if tensors or not everything:
        _show_tensors(file, wanted)


def _summary_rows(file: GGUFModel) -> Iterator[tuple[str, str]]:
    facts = summary(file)
    is_imatrix = facts["type"] == "imatrix"
    kind = None if facts["type"] == "model" else facts["type"]
    yield from _known({"name": facts["name"], "architecture": facts["architecture"], "type": kind})
    if is_imatrix:
        yield from _imatrix_rows(file)
    elif facts["n_weights"]:
        yield "parameters", f"{render.count(facts['n_weights'])}  ({len(file.tensors)} tensors)"
    split = f"  in {len(file.parts)} files" if len(file.parts) > 1 else ""
    yield "size", render.size(file.file_size) + split
    if not is_imatrix:
        yield from _known({"encoding": _encoding(facts["file_type"], facts["bits_per_weight"])})
    for label, key in _HPARAMS.items():
        value = file.metadata.get(f"{facts['architecture']}.{key}")
        yield from _known({label: None if value is None else _per_layer(value)})
    yield from _known({"vocabulary": facts["vocab_size"]})
    for label, key in _TEXTS.items():
        if key in file.metadata:
            yield label, shorten(str(file.metadata[key]))


def _known(rows: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    return ((label, str(value)) for label, value in rows.items() if value is not None)


def _encoding(file_type: str | None, bits_per_weight: float | None) -> str | None:
    bits = f"{bits_per_weight:.2f} bits per weight" if bits_per_weight else None
    return ", ".join(text for text in (file_type, bits) if text) or None


def _imatrix_rows(file: GGUFModel) -> Iterator[tuple[str, str]]:
    entries = sum(name.endswith(".in_sum2") for name in file.tensors)
    yield "entries", f"{entries} tensors"
    for label, key in (("chunks", "chunk_count"), ("chunk size", "chunk_size")):
        if f"imatrix.{key}" in file.metadata:
            yield label, str(file.metadata[f"imatrix.{key}"])
    if "imatrix.datasets" in file.metadata:
        yield "datasets", _shown_value(file.metadata, "imatrix.datasets")


def _per_layer(value: Any) -> str:
    """Show a number, or the range of one per layer."""
    if isinstance(value, list) and value and len(set(map(str, value))) > 1:
        try:
            return f"{min(value)} to {max(value)}, by layer"
        except TypeError:
            return shorten(str(value))
    return str(value[0]) if isinstance(value, list) and value else str(value)


def _remarks(file: GGUFModel) -> Iterator[str]:
    for part in file.parts:
        if part.surplus > 0:
            yield f"{file_name(part)}: {part.surplus} bytes follow the last tensor"
        elif part.surplus < 0:
            yield f"{file_name(part)}: the padding behind the last tensor is missing"
        if part.byte_order == ">":
            yield f"{file_name(part)}: big-endian; most programs can't read it"


def _show_types(file: GGUFModel) -> None:
    mix = type_mix(file)
    total = sum(row["n_bytes"] for row in mix) or 1
    if mix:
        render.blank()
        render.table(
            ("type", "tensors", "weights", "size", "share", ""),
            [
                (
                    row["type"],
                    str(row["n_tensors"]),
                    render.count(row["n_weights"]),
                    render.size(row["n_bytes"]),
                    f"{row['n_bytes'] / total:.1%}",
                    render.bar(row["n_bytes"] / total),
                )
                for row in mix
            ],
            right=("tensors", "weights", "size", "share"),
        )


def _show_tensors(file: GGUFModel, wanted: Callable[[str], bool]) -> None:
    infos = [info for info in file.tensors.values() if wanted(info.name)]
    if not infos:
        return
    render.blank()
    render.heading(f"Tensors: {len(infos)}")
    render.table(
        ("name", "type", "size", "shape"),
        [
            (info.name, info.type.name, render.size(info.nbytes), " x ".join(map(str, info.shape)))
            for info in infos
        ],
        right=("size",),
    )


def _metadata_row(metadata: Metadata, key: str) -> tuple[str, str, str]:
    """Return key, type and value as text, the value shortened."""
    stored = metadata.type_of(key)
    shown = short_type(stored.name)
    if shown == "array":
        shown = f"{short_type(metadata.item_type_of(key).name)}[{metadata.n_items_of(key)}]"
    return key, shown, _shown_value(metadata, key)


def _shown_value(metadata: Metadata, key: str) -> str:
    if metadata.type_of(key).name != "ARRAY":
        value = metadata[key]
        return shorten(value if isinstance(value, str) else number_text(value))
    items = items_text(metadata.first_items_of(key, N_ITEMS))
    return shorten(items + (", ..." if metadata.n_items_of(key) > N_ITEMS else ""))
