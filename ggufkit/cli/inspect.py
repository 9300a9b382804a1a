"""Show what is in a GGUF file: the model, its size, the mix of tensor types, the metadata.

FILE may be any part of a split model; all parts are read as one. Only the head of each file is
read, never the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggufkit.gguf.joined import JoinedFile
    from ggufkit.gguf.metadata import Metadata

HELP = "show what is in a GGUF file"

#: Longest value shown in the table of metadata; ``--json`` shows all of it.
MAX_SHOWN = 72
_FIRST_ITEMS = 6

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a GGUF file, or any part of a split one")
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument(
        "--filter",
        metavar="REGEX",
        type=_pattern,
        help="only metadata keys and tensors whose name matches somewhere",
    )
    parser.add_argument(
        "--json", action="store_true", help="print everything, nothing shortened, as JSON"
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="read what the format forbids but llama.cpp reads, such as text that is not UTF-8",
    )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None


def run(args: argparse.Namespace) -> int:
    """Open the file and print."""
    from ggufkit.gguf.joined import open_gguf

    if args.file.endswith(".dat"):
        from ggufkit.cli.legacy_imatrix import show

        return show(args.file, as_json=args.json)

    def wanted(name: str) -> bool:
        return args.filter is None or args.filter.search(name) is not None

    with open_gguf(args.file, strict=not args.lenient) as file:
        if args.json:
            sys.stdout.write(json.dumps(as_json(file, wanted), allow_nan=False) + "\n")
        else:
            _show(file, wanted, tensors=args.tensors, everything=args.filter is None)
    sys.stdout.flush()
    return 0


def as_json(file: JoinedFile, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Any]:
    """Return everything the head of a file says, ready for `json.dump`."""
    return {
        "files": [{"name": _file_name(p), "size": p.file_size} for p in file.parts],
        "version": file.version,
        "byte_order": "little" if file.parts[0].byte_order == "<" else "big",
        "alignment": file.alignment,
        "size": file.file_size,
        "summary": summary(file),
        "types": type_mix(file),
        "metadata": {k: _json_pair(file.metadata, k) for k in file.metadata if wanted(k)},
        "tensors": [
            {
                "name": info.name,
                "type": info.type.name,
                "shape": list(info.shape),
                "n_weights": info.n_weights,
                "n_bytes": info.nbytes,
                "file": _file_name(file.part_of(info.name)),
                "offset": file.part_of(info.name).data_offset + info.offset,
            }
            for info in file.tensors.values()
            if wanted(info.name)
        ],
    }


def summary(file: JoinedFile) -> dict[str, Any]:
    """Return what identifies a model; None for what the file does not say."""
    metadata = file.metadata
    n_weights = sum(info.n_weights for info in file.tensors.values())
    n_bytes = sum(info.nbytes for info in file.tensors.values())
    architecture = metadata.get("general.architecture")
    return {
        "name": metadata.get("general.name"),
        "type": metadata.get("general.type"),
        "architecture": architecture,
        "file_type": _file_type(metadata),
        "n_weights": n_weights,
        "tensor_bytes": n_bytes,
        "bits_per_weight": 8 * n_bytes / n_weights if n_weights else None,
        "context_length": metadata.get(f"{architecture}.context_length"),
        "vocab_size": _vocab_size(metadata),
    }


def type_mix(file: JoinedFile) -> list[dict[str, Any]]:
    """Return per tensor type the tensors, weights and bytes, most bytes first."""
    mix: dict[str, dict[str, Any]] = {}
    for info in file.tensors.values():
        row = mix.setdefault(
            info.type.name,
            {"type": info.type.name, "n_tensors": 0, "n_weights": 0, "n_bytes": 0},
        )
        row["n_tensors"] += 1
        row["n_weights"] += info.n_weights
        row["n_bytes"] += info.nbytes
    return sorted(mix.values(), key=lambda row: -int(row["n_bytes"]))


def _file_name(part: Any) -> str | None:
    return part.path.name if part.path else None


def _file_type(metadata: Metadata) -> str | None:
    from ggufkit.types import FileType

    number = metadata.get("general.file_type")
    if not isinstance(number, int):
        return None
    return FileType(number).name if number in set(FileType) else str(number)


def _vocab_size(metadata: Metadata) -> int | None:
    try:
        return metadata.n_items_of("tokenizer.ggml.tokens")
    except (KeyError, TypeError):
        return None


def _json_pair(metadata: Metadata, key: str) -> dict[str, Any]:
    pair: dict[str, Any] = {"type": metadata.type_of(key).name}
    if pair["type"] == "ARRAY":
        pair["items"] = metadata.item_type_of(key).name
    pair["value"] = json_value(metadata[key])
    return pair


def json_value(value: Any) -> Any:
    """Return a value for JSON, which has no infinities and no NaN: they become text."""
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _show(
    file: JoinedFile, wanted: Callable[[str], bool], *, tensors: bool, everything: bool
) -> None:
    from ggufkit.cli import render

    if everything:
        render.heading(_file_name(file.parts[0]) or "")
        render.fields(_summary_rows(file))
        for remark in _remarks(file):
            render.note(remark)
        _show_types(file)
    keys = [key for key in file.metadata if wanted(key)]
    if keys:
        render.blank()
        render.heading(f"Metadata: {len(keys)} keys")
        render.table(("key", "type", "value"), [metadata_row(file.metadata, key) for key in keys])
    if tensors or not everything:
        _show_tensors(file, wanted)


def _summary_rows(file: JoinedFile) -> Iterator[tuple[str, str]]:
    from ggufkit.cli.render import count, size

    facts = summary(file)
    metadata = file.metadata
    for label in ("name", "architecture"):
        if facts[label] is not None:
            yield label, str(facts[label])
    if facts["type"] not in (None, "model"):
        yield "type", str(facts["type"])
    if facts["type"] == "imatrix":
        yield from _imatrix_rows(file)
    elif facts["n_weights"]:
        yield "parameters", f"{count(facts['n_weights'])}  ({len(file.tensors)} tensors)"
    split = f"  in {len(file.parts)} files" if len(file.parts) > 1 else ""
    yield "size", size(file.file_size) + split
    if facts["type"] != "imatrix":
        bpw = facts["bits_per_weight"]
        encoding = [facts["file_type"], f"{bpw:.2f} bits per weight" if bpw else None]
        if any(encoding):
            yield "encoding", ", ".join(text for text in encoding if text)
    for label, key in _HPARAMS.items():
        value = metadata.get(f"{facts['architecture']}.{key}")
        if value is not None:
            yield label, _per_layer(value)
    if facts["vocab_size"] is not None:
        yield "vocabulary", str(facts["vocab_size"])
    for label, key in _TEXTS.items():
        if key in metadata:
            yield label, _shorten(str(metadata[key]))


def _imatrix_rows(file: JoinedFile) -> Iterator[tuple[str, str]]:
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
            return _shorten(str(value))
    return str(value[0]) if isinstance(value, list) and value else str(value)


def _remarks(file: JoinedFile) -> Iterator[str]:
    for part in file.parts:
        if part.surplus > 0:
            yield f"{_file_name(part)}: {part.surplus} bytes follow the last tensor"
        elif part.surplus < 0:
            yield f"{_file_name(part)}: the padding behind the last tensor is missing"
        if part.byte_order == ">":
            yield f"{_file_name(part)}: big-endian; most programs can't read it"


def _show_types(file: JoinedFile) -> None:
    from ggufkit.cli import render

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


def _show_tensors(file: JoinedFile, wanted: Callable[[str], bool]) -> None:
    from ggufkit.cli import render

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


def metadata_row(metadata: Metadata, key: str) -> tuple[str, str, str]:
    """Return key, type and value as text, the value shortened."""
    stored = metadata.type_of(key)
    shown = short_type(stored.name)
    if shown == "array":
        shown = f"{short_type(metadata.item_type_of(key).name)}[{metadata.n_items_of(key)}]"
    return key, shown, _shown_value(metadata, key)


def short_type(name: str) -> str:
    """Return the short name of a value type: u32 for UINT32."""
    short = {"UINT": "u", "INT": "i", "FLOAT": "f"}
    match = re.fullmatch(r"(UINT|INT|FLOAT)(\d+)", name)
    return short[match[1]] + match[2] if match else name.lower()


def _shown_value(metadata: Metadata, key: str) -> str:
    if metadata.type_of(key).name != "ARRAY":
        value = metadata[key]
        return _shorten(value if isinstance(value, str) else number_text(value))
    more = ", ..." if metadata.n_items_of(key) > _FIRST_ITEMS else ""
    items = [
        json.dumps(item, ensure_ascii=False) if isinstance(item, str) else number_text(item)
        for item in metadata.first_items_of(key, _FIRST_ITEMS)
    ]
    return _shorten(", ".join(items) + more)


def number_text(value: Any) -> str:
    """Return a number as people write it."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
