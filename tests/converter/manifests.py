"""The oracle's manifests: reading them, and saying where a file differs from one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ggufkit.converter.planning.type_selection import TypeOptions
from ggufkit.gguf.reader import GGUFFile
from ggufkit.types import TensorType, ValueType

# The oracle's tiny checkpoints, and the class of each.
ORACLE_MODELS = {
    **dict.fromkeys(("llama", "llama3-rope", "llama-oddcols", "llama-deep"), "LlamaForCausalLM"),
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "bert": "BertModel",
    "mixtral": "MixtralForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "falcon": "FalconForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
}


def read_manifest(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def options_of(words: list[str]) -> tuple[TypeOptions, str | None]:
    """Read llama-quantize's options; the imatrix file's name comes second."""
    options = TypeOptions()
    imatrix = None
    for word, value in zip(words, [*words[1:], ""], strict=False):
        field = word.removeprefix("--").replace("-", "_")
        if word == "--imatrix":
            imatrix = value
        elif word == "--tensor-type":
            pattern, name = value.split("=")
            rule = (pattern, TensorType[name.upper()])
            options = replace(options, tensor_type=(*options.tensor_type, rule))
        elif word in ("--output-tensor-type", "--token-embedding-type"):
            options = replace(options, **{field: TensorType[value.upper()]})
        elif word in ("--pure", "--leave-output-tensor"):
            options = replace(options, **{field: True})
    return options, imatrix


def describe_difference(path: Path, want: dict[str, Any]) -> str:
    """Say what differs first: keys, values, tensors, or bytes."""
    with GGUFFile.open(path) as file:
        got_keys = list(file.metadata)
        want_keys = [kv["key"] for kv in want["kv"]]
        if got_keys != want_keys:
            return f"keys: {got_keys} instead of {want_keys}"
        for kv in want["kv"]:
            got = file.metadata[kv["key"]]
            if "value" in kv and got != kv["value"]:
                return f"{kv['key']} is {got!r} instead of {kv['value']!r}"
            if "first" in kv and list(got)[:8] != kv["first"]:  # type: ignore[arg-type]
                return f"{kv['key']} starts with {list(got)[:8]} instead of {kv['first']}"  # type: ignore[arg-type]
            if file.metadata.type_of(kv["key"]) is ValueType.ARRAY:
                text = json.dumps(got, ensure_ascii=True, separators=(",", ":"))
                if hashlib.sha256(text.encode()).hexdigest() != kv["sha256"]:
                    return f"{kv['key']} differs behind its first items"
        for got_name, tensor in zip(file.tensors, want["tensors"], strict=False):
            info = file.tensors[got_name]
            wanted = (tensor["name"], tensor["shape"][::-1], tensor["type"], tensor["offset"])
            if (info.name, list(info.shape), info.type.name, info.offset) != wanted:
                return f"tensor {info} instead of {wanted}"
            if hashlib.sha256(file.read_bytes(info)).hexdigest() != tensor["sha256"]:
                return f"bytes of {info.name} ({info.type.name})"
    return "bytes outside of keys and tensors"
