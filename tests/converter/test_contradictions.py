"""Checkpoints whose config, tokenizer and weights contradict each other."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import main
from tests.llama import write_llama

Change = Callable[[Path], None]


def config(**values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def fewer_tokens(n: int) -> Change:
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        vocab = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {token: i for token, i in vocab.items() if i < n}
        path.write_text(json.dumps(tokenizer))
        config(vocab_size=n)(folder)

    return change


def header(edit: Callable[[dict[str, Any]], None]) -> Change:
    """Change the header of the weights; their data stays as it is."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        (n,) = struct.unpack_from("<Q", raw)
        found = json.loads(raw[8 : 8 + n])
        edit(found)
        text = json.dumps(found).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n :])

    return change


def transposed(name: str) -> Change:
    return header(lambda found: found[name]["shape"].reverse())


DOWN = "model.layers.1.mlp.down_proj.weight"

# what is changed, and what the error names
CASES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "303 tokens for 320 rows": (fewer_tokens(303), ("token_embd.weight", "320", "303")),
    "heads twice as long": (config(head_dim=128), ("key_length 128 (config.json: head_dim)",)),
    "heads half as long": (config(head_dim=32), ("attn_", "key_length 32", "head_dim")),
    "one layer of two": (config(num_hidden_layers=1), ("block_count is 1", "2 blocks")),
    "three layers of two": (config(num_hidden_layers=3), ("lacks 9 weights", "blk.2")),
    "one key-value head": (config(num_key_value_heads=1), ("attn_k.weight", "head_count_kv 1")),
    "two heads": (config(num_attention_heads=2, head_dim=64), ("head_count 2", "_attention_heads")),
    "another feed-forward": (config(intermediate_size=511), ("ffn_", "feed_forward_length 511")),
    "a wider model": (config(hidden_size=260, head_dim=64), ("embedding_length is 260", "256")),
    "a transposed matrix": (transposed(DOWN), ("blk.1.ffn_down.weight", "(512, 256)")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["", "dry run"])
def test_a_contradiction_is_refused_before_weights_are_read(
    tmp_path: Path, case: str, more: tuple[str, ...], capsys: Any
) -> None:
    change, named = CASES[case]
    folder = write_llama(tmp_path / "model")
    change(folder)
    # no weight can be read: only the header is left of them
    path = folder / "model.safetensors"
    size, raw = path.stat().st_size, path.read_bytes()
    (n,) = struct.unpack_from("<Q", raw)
    with path.open("wb") as file:
        file.write(raw[: 8 + n])
        file.truncate(size)
    out = tmp_path / "out"
    assert main(["convert", str(folder), "--out", str(out), "--ladder", "Q8_0", *more]) in (1, 2, 3)
    said = " ".join(capsys.readouterr().err.split())
    assert all(text in said for text in named), said
    assert not list(tmp_path.rglob("*.gguf"))


def test_what_agrees_is_converted(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "model")
    assert main(["convert", str(folder), "--out", str(tmp_path / "out"), "--ladder", "Q8_0"]) == 0
    assert len(list(tmp_path.rglob("*.gguf"))) == 1
