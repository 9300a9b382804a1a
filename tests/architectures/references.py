"""The checkpoints that llama.cpp and transformers are compared on, the same for both.

They are those of ``converted``, but for two things without which a wrong file could compute what
the right one does: norms are large enough for attention to prefer some tokens, and windows are
shorter than the prompt. What llama.cpp knows of published models by their size, and no file says,
is `CHANGES`. ``references.json`` has what transformers' class computes, see
``scripts/make_references.py``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.architectures.checkpoints import write_checkpoint

FOLDER = Path(__file__).parent
REFERENCES = FOLDER / "references.json"

#: Tokens that the models read; none is special in any of them.
PROMPT = [10 + 37 * i % 280 for i in range(24)]

WINDOW = 8
_WINDOWS = ("sliding_window", "local_attention", "attention_chunk_size")
#: Keys of the config in which a tiny model has to be like those that llama.cpp runs as published.
#: What is a fault of llama.cpp's is said in docs/architectures.md.
CHANGES: dict[str, dict[str, Any]] = {
    # models of 32 blocks rotate, those of 40 have ALiBi, others neither
    "baichuan": {"num_hidden_layers": 32},
    "baichuan-13b": {"num_hidden_layers": 40},
    # models of 64 blocks have norms of queries and keys
    "cohere-qknorm": {"num_hidden_layers": 64},
    # rope is never scaled
    "deepseek-yarn": {"rope_scaling": None},
    # the norms inside of a block have the epsilon of the others
    "falcon_mamba": {"mixer_rms_eps": 1e-5},
    # only the model of 64 blocks has windows
    "exaone4": {"sliding_window": None, "layer_types": ["full_attention"] * 4},
    "exaone4_5": {"sliding_window": None, "layer_types": ["full_attention"] * 4},
    "exaone4_5-mtp": {"sliding_window": None, "layer_types": ["full_attention"] * 4},
    # all but the largest divide by the root of head_dim
    "gemma3-vision": {"query_pre_attn_scalar": 16},
    # the first ten blocks are sparse
    "gemma3n-text": {"activation_sparsity_pattern": [0.95] * 5},
    # without this key only the model of 47 blocks routes by sigmoids
    "glm4_moe_lite": {"scoring_func": "sigmoid"},
    "glm4_moe_lite-nextn": {"scoring_func": "sigmoid"},
    # YaRN's bounds are rounded
    "gpt_oss": {"rope_scaling": {"truncate": True}},
    # llama.cpp multiplies YaRN's usual factor of attention by the one that is given
    "laguna-xs": {
        "rope_parameters": {
            "full_attention": {
                "rope_type": "yarn",
                "rope_theta": 500000.0,
                "partial_rotary_factor": 0.5,
                "factor": 32.0,
                "original_max_position_embeddings": 4096,
                "beta_slow": 1.0,
                "beta_fast": 64.0,
            }
        }
    },
    # attention is not scaled for long contexts
    "minicpm-longrope": {"rope_scaling": {"attention_factor": 1.0}},
    # attention is scaled as longrope says, whatever the config says
    "phimoe": {
        "rope_scaling": {"short_mscale": 1.1902380714238083},
        "sliding_window": None,
    },
    # windows are not read
    "phi3": {"sliding_window": None},
    "starcoder2": {"sliding_window": None},
    # epsilon is not read
    "qwen2_5_vl": {"rms_norm_eps": 0.0},
    "qwen2_vl": {"rms_norm_eps": 0.0},
    "qwen2_vl-published": {"rms_norm_eps": 0.0},
}

#: Cases of ``converted`` without a reference, and why.
NOT_COMPARED = {
    "gemma3n": "llama.cpp shares keys and values from block 20 on, whatever the file says",
    "gemma4-wrapped": "its encoders are a tensor each; the text model is gemma4-e2b's",
    "gpt_oss-mxfp4": "llama.cpp rounds what it multiplies with MXFP4 blocks to 8 bits",
    "granite_swa-nope": "transformers reads no_rope_layers nowhere",
    "jina_bert_v2": "transformers has no class for it, nor one that computes the same",
    "jina_bert_v2-code": "transformers has no class for it, nor one that computes the same",
    "llada_moe": "transformers has no class for it, nor one that computes the same",
    "llama4-full": "llama.cpp ends the process: no published model is without chunks",
    "mpt-clipped": "transformers' class has no norms of queries and keys",
    "neobert": "transformers has no class for it, nor one that computes the same",
    "neobert-classifier": "transformers has no class for it, nor one that computes the same",
    "nomic_bert-moe": "transformers has no class for it, nor one that computes the same",
}

#: Classifiers that are compared by their embeddings: before scores they have ReLU, llama.cpp tanh.
UNSCORED = {"distilbert-classifier"}

#: The same table of embeddings under other names.
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")

_NORM = re.compile(r"norm|\.ln_|ln_f|layernorm|LayerNorm")


def read_case(name: str) -> dict[str, Any]:
    """Return a case of ``converted``, its windows narrowed and its `CHANGES` made."""
    case = json.loads((FOLDER / "converted" / f"{name}.json").read_text())
    configs = [case["config"], *(c for c in case["config"].values() if isinstance(c, dict))]
    for config in configs:
        for key in _WINDOWS:
            if config.get(key):
                config[key] = WINDOW
    text = case["config"].get("text_config", case["config"])
    for key, value in CHANGES.get(name, {}).items():
        text[key] = {**text[key], **value} if isinstance(value, dict) else value
    if "shared.weight" in case["checkpoint"]:
        for copy in _COPIES:
            case["checkpoint"].pop(copy, None)
    if "num_hidden_layers" in CHANGES.get(name, {}):
        case["checkpoint"] = _repeated(case["checkpoint"], text["num_hidden_layers"])
    return case


def _repeated(shapes: dict[str, Any], n_blocks: int) -> dict[str, Any]:
    """Return the shapes of a model of `n_blocks` that are all like the first."""
    first = {name: shape for name, shape in shapes.items() if ".layers.0." in name}
    blocks = {
        name.replace(".0.", f".{i}.", 1): shape
        for i in range(n_blocks)
        for name, shape in first.items()
    }
    return {name: shape for name, shape in shapes.items() if ".layers." not in name} | blocks


def write_case(name: str, folder: Path) -> Path:
    """Write a case's checkpoint into a folder of its name, and return that."""
    case = read_case(name)
    path = folder / name
    write_checkpoint(path, case["config"], case["checkpoint"], raised)
    for file, content in case["files"].items():
        (path / file).parent.mkdir(exist_ok=True)
        (path / file).write_text(json.dumps(content))
    return path


def raised(name: str) -> int:
    """Return what is added to the exponents of a tensor's values: norms are 8 times as large."""
    return 3 if _NORM.search(name) else 0
