"""Small vocabularies of bytes and ranks, trained on the probes: tekken.json and qwen.tiktoken."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from ggufkit.tokenizers.probes import PROBES

N_TOKENS = 600
N_SPECIAL = 40
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(n_tokens: int = N_TOKENS) -> dict[bytes, int]:
    """All bytes, then the most frequent unions; the first of equals in order of bytes."""
    words = [
        [bytes([byte]) for byte in word.encode()]
        for text in PROBES
        for word in re.findall(r" ?[^\s\d]+|\d|\s", text)
    ]
    ranks = {bytes([byte]): byte for byte in range(256)}
    while len(ranks) < n_tokens:
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        ranks[best[0] + best[1]] = len(ranks)
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = [best[0] + best[1]]
                at += 1
    return ranks


LISTED = (
    "<unk>", "<s>", "</s>", "[THINK]", "<pad>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]",
    "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip
CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "vocab_size": N_TOKENS + N_SPECIAL,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tekken(version: str) -> dict[str, Any]:
    """A tekken.json; version 3 does not list its special tokens, and 8 more are never used."""
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in train(N_TOKENS + 8).items()
    ]
    config = {
        "pattern": PATTERN,
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": N_TOKENS + N_SPECIAL,
        "default_num_special_tokens": N_SPECIAL,
        "version": version,
    }
    made: dict[str, Any] = {"config": config, "vocab": vocab}
    if version != "v3":
        made["special_tokens"] = [
            {"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(LISTED)
        ]
    return made


def write_tekken(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tekken.json").write_text(json.dumps(tekken(version)))
    return folder


def write_tiktoken(folder: Path) -> Path:
    """The files of a Qwen 1 checkpoint, but for its code."""
    folder.mkdir(parents=True)
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in train().items()]
    (folder / "qwen.tiktoken").write_text("\n".join(lines) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "QWenTokenizer"}')
    return folder
