"""A llama checkpoint of any size, with random weights and a tokenizer of single bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ggufkit.codecs import quantize
from ggufkit.types import TensorType

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_llama(
    folder: Path, *, n_layers: int = 2, hidden: int = 256, ffn: int = 512, vocab: int = 320
) -> Path:
    """Write the checkpoint in bfloat16 and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": n_layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(vocab)))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    _write_safetensors(folder / "model.safetensors", _shapes(n_layers, hidden, ffn, vocab))
    return folder


def _tokenizer(vocab: int) -> dict[str, object]:
    # the byte-level alphabet: printable bytes as themselves, the others from U+0100 on
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = letters + [f"<extra{i}>" for i in range(vocab - 256)]
    split = {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated"}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {**split, "invert": False},
                {**byte_level, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": ["t h"],
            "ignore_merges": True,
        },
    }


def _shapes(n_layers: int, hidden: int, ffn: int, vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (vocab, hidden),
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    for i in range(n_layers):
        layer = f"model.layers.{i}"
        for name in ("q", "k", "v", "o"):
            shapes[f"{layer}.self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (ffn, hidden)
        shapes[f"{layer}.mlp.up_proj.weight"] = (ffn, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, ffn)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    return dict(sorted(shapes.items()))


def _weights(shapes: tuple[tuple[int, ...], ...]) -> Iterator[bytes]:
    """Yield random weights in BF16, the same in every call."""
    rng = np.random.default_rng(7)
    for shape in shapes:
        values = rng.standard_normal(shape, np.float32) * np.float32(0.05)
        yield quantize(values, TensorType.BF16).tobytes()


@cache
def _small(shapes: tuple[tuple[int, ...], ...]) -> list[bytes]:
    return list(_weights(shapes))


def _write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        # Many tests write the same small model; that of a large one is not kept in memory.
        weights = _small if offset < 1 << 22 else _weights
        file.writelines(weights(tuple(shapes.values())))
