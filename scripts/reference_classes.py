"""Models whose class is not in transformers, as others that compute the same.

Each function of `EQUIVALENTS` takes a config and the checkpoint's tensors and returns those of the
class that ``architectures`` then names; it may start patches, which the caller stops. The
publishers' own code is on the Hub and was not run: the functions were written from knowledge of the
models, and what llama.cpp computes agrees with them (tests/real/test_references.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

Config = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Equivalent = Callable[[Config, Tensors], tuple[Config, Tensors]]


def _named(config: Config, name: str, model_type: str, **keys: Any) -> Config:
    return {**config, "architectures": [name], "model_type": model_type, **keys}


def _renamed(tensors: Tensors, *patterns: tuple[str, str]) -> Tensors:
    result = {}
    for name, tensor in tensors.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def _llama(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    kept = {name: t for name, t in tensors.items() if not name.endswith("inv_freq")}
    return _named(config, "LlamaForCausalLM", "llama"), kept


def _internlm3(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    config, tensors = _llama(config, tensors)
    return {**config, "rope_scaling": None}, tensors  # dynamic: as it is, up to the context


def _baichuan(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    config, tensors = _llama(config, tensors)
    for name in [name for name in tensors if "W_pack" in name]:
        parts = tensors.pop(name).chunk(3)
        for letter, part in zip("qkv", parts, strict=True):
            tensors[name.replace("W_pack", f"{letter}_proj")] = part.clone()
    return config, tensors


def _baichuan_13b(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    """Rotate nothing; `attention_mask` adds what is near more of."""
    from transformers.models.llama import modeling_llama

    def keep(queries: torch.Tensor, keys: torch.Tensor, *_: Any) -> tuple[Any, Any]:
        return queries, keys

    mock.patch.object(modeling_llama, "apply_rotary_pos_emb", keep).start()
    config, tensors = _baichuan(config, tensors)
    return {**config, "alibi_bias_max": 8}, tensors


def attention_mask(config: Config, causal: bool, n: int) -> torch.Tensor | None:
    """Return what is added to scores, of a decoder that is not like a llama in this.

    Parameters
    ----------
    config : dict
        Where it has ``alibi_bias_max``, a score is the less the farther away a token is.
    causal : bool
        Whether later tokens are hidden.
    n : int
        The number of tokens.
    """
    if not causal:
        return torch.zeros(1, 1, n, n)
    if "alibi_bias_max" not in config:
        return None
    heads = torch.arange(1, config["num_attention_heads"] + 1)
    slopes = 2.0 ** (-config["alibi_bias_max"] * heads / heads.numel())
    distance = torch.arange(n)[:, None] - torch.arange(n)
    bias = -slopes[:, None, None] * distance
    return bias.masked_fill(distance < 0, torch.finfo(torch.float32).min)[None]


def _internlm2(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    config, tensors = _llama(config, tensors)
    n_kv = config["num_key_value_heads"]
    n_q = config["num_attention_heads"] // n_kv  # of each group: queries, a key, a value
    for name in [name for name in tensors if "wqkv" in name]:
        groups = tensors.pop(name).reshape(n_kv, n_q + 2, -1, config["hidden_size"])
        parts = {"q": groups[:, :n_q], "k": groups[:, n_q : n_q + 1], "v": groups[:, n_q + 1 :]}
        for letter, part in parts.items():
            new = name.replace("attention.wqkv", f"self_attn.{letter}_proj")
            tensors[new] = part.reshape(-1, config["hidden_size"]).clone()
    tensors = _renamed(
        tensors,
        (r"\.attention\.wo\.", ".self_attn.o_proj."),
        (r"attention_norm", "input_layernorm"),
        (r"ffn_norm", "post_attention_layernorm"),
        (r"feed_forward\.w1", "mlp.gate_proj"),
        (r"feed_forward\.w3", "mlp.up_proj"),
        (r"feed_forward\.w2", "mlp.down_proj"),
        (r"tok_embeddings", "embed_tokens"),
        (r"^output", "lm_head"),
    )
    return {**config, "rope_scaling": None}, tensors


def _exaone(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    config, tensors = _llama(config, tensors)
    tensors = _renamed(
        tensors,
        (r"^transformer\.h", "model.layers"),
        (r"^transformer\.wte", "model.embed_tokens"),
        (r"^transformer\.ln_f", "model.norm"),
        (r"attn\.attention\.out_proj", "self_attn.o_proj"),
        (r"attn\.attention", "self_attn"),
        (r"ln_1", "input_layernorm"),
        (r"ln_2", "post_attention_layernorm"),
        (r"c_fc_0", "gate_proj"),
        (r"c_fc_1", "up_proj"),
        (r"c_proj", "down_proj"),
    )
    keys = {"rms_norm_eps": config["layer_norm_epsilon"], "hidden_act": "silu"}
    return {**config, **keys, "num_hidden_layers": config["num_layers"]}, tensors


def _minicpm(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    keys = {
        "embedding_multiplier": config["scale_emb"],
        "residual_multiplier": config["scale_depth"] / math.sqrt(config["num_hidden_layers"]),
        "logits_scaling": config["hidden_size"] / config["dim_model_base"],
        "attention_multiplier": head_dim**-0.5,
        "tie_word_embeddings": "lm_head.weight" not in tensors,
    }
    return _named(config, "GraniteForCausalLM", "granite", **keys), tensors


def _orion(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    keys = {
        "layer_norm_eps": config["rms_norm_eps"],
        "partial_rotary_factor": 1.0,
        "use_qkv_bias": False,
        "rope_scaling": {"rope_type": "default", "rope_theta": 10000.0},
    }
    return _named(config, "StableLmForCausalLM", "stablelm", **keys), tensors


def _mpt(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    attention = dict(config["attn_config"])
    if attention.get("clip_qkv"):
        attention["clip_qkv"] = float(attention["clip_qkv"])
    return _named(config, "MptForCausalLM", "mpt", attn_config=attention), tensors


def _deepseek(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    n_dense, n_layers = config["first_k_dense_replace"], config["num_hidden_layers"]
    width = config["n_shared_experts"] * config["moe_intermediate_size"]
    keys = {
        "num_experts": config["n_routed_experts"],
        "shared_expert_intermediate_size": width,
        "mlp_only_layers": list(range(n_dense)),
        "decoder_sparse_step": 1,
        "qkv_bias": False,
    }
    tensors = _renamed(tensors, (r"shared_experts", "shared_expert"))
    for i in range(n_dense, n_layers):
        mlp = f"model.layers.{i}.mlp"
        # a gate of 1/2 on twice the output
        tensors[f"{mlp}.shared_expert_gate.weight"] = torch.zeros(1, config["hidden_size"])
        tensors[f"{mlp}.shared_expert.down_proj.weight"] *= 2
    return _named(config, "Qwen2MoeForCausalLM", "qwen2_moe", **keys), tensors


def _nomic(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    keys = {
        "hidden_size": config["n_embd"],
        "num_hidden_layers": config["n_layer"],
        "num_attention_heads": config["n_head"],
        "intermediate_size": config["n_inner"],
        "max_position_embeddings": config["max_trained_positions"],
        "layer_norm_eps": config["layer_norm_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": config["rotary_emb_base"]},
    }
    return {**config, **keys}, tensors


def _without_nextn(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    """Leave out the blocks that predict further tokens, as the class does."""
    text = config.get("text_config", config)
    n, n_nextn = text["num_hidden_layers"], text["num_nextn_predict_layers"]
    further = [f".layers.{n + i}." for i in range(n_nextn)]
    kept = {name: t for name, t in tensors.items() if not any(part in name for part in further)}
    return config, kept


def _llada(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    tensors = _renamed(
        tensors,
        (r"^model\.transformer\.blocks", "model.layers"),
        (r"^model\.transformer\.wte", "model.embed_tokens"),
        (r"^model\.transformer\.ln_f", "model.norm"),
        (r"^model\.transformer\.ff_out", "lm_head"),
        (r"\.attn_out\.", ".self_attn.o_proj."),
        (r"\.([qkv]_proj)\.", r".self_attn.\1."),
        (r"\.attn_norm", ".input_layernorm"),
        (r"\.ff_norm", ".post_attention_layernorm"),
        (r"\.ff_proj", ".mlp.gate_proj"),
        (r"\.up_proj", ".mlp.up_proj"),
        (r"\.ff_out", ".mlp.down_proj"),
    )
    keys = {
        "hidden_size": config["d_model"],
        "intermediate_size": config["mlp_hidden_size"],
        "num_hidden_layers": config["n_layers"],
        "num_attention_heads": config["n_heads"],
        "num_key_value_heads": config["n_kv_heads"],
        "tie_word_embeddings": config["weight_tying"],
    }
    return _named(config, "LlamaForCausalLM", "llama", **keys), tensors


def _dream(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    return _named(config, "Qwen2ForCausalLM", "qwen2"), tensors


def _phimoe(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    """Route and norm as llama.cpp does, not as Phi does: docs/architectures.md says so."""
    from transformers.models.phimoe import modeling_phimoe

    def softmax_routing(scores: torch.Tensor, *, top_k: int, **_: Any) -> tuple[Any, Any]:
        found = scores.topk(top_k)
        return found.values.softmax(-1), found.indices

    def rms_norm(self: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.eps) + self.bias

    norm = type("Norm", (torch.nn.LayerNorm,), {"forward": rms_norm})
    nn = SimpleNamespace(**vars(torch.nn) | {"LayerNorm": norm})
    mock.patch.multiple(modeling_phimoe, sparsemixer=softmax_routing, nn=nn).start()
    return config, tensors


_OTHER_PARTS = re.compile(
    r"vit_large_projector|vision|audio|^(model\.)?(multi_modal_projector|mlp1)\."
)


def _text_of(name: str) -> Equivalent:
    """Return the equivalent of a model that sees: its language model, of class `name`."""

    def text(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
        inner = config.get("text_config") or config["llm_config"]
        kept = {n: t for n, t in tensors.items() if not _OTHER_PARTS.search(n)}
        kept = _renamed(kept, (r"^(model\.)?language_model\.(model\.)?", "model."))
        kept = _renamed(kept, (r"^model\.lm_head", "lm_head"))
        return {**inner, "architectures": [name]}, kept

    return text


def _same_as(name: str, model_type: str, *renames: tuple[str, str]) -> Equivalent:
    """Return the equivalent of a model that another class computes, but for names."""

    def same(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
        kept = {n: t for n, t in tensors.items() if not _OTHER_PARTS.search(n)}
        return _named(config, name, model_type), _renamed(kept, *renames)

    return same


def _without_mtp(config: Config, tensors: Tensors) -> tuple[Config, Tensors]:
    """Leave out what predicts further tokens, which has a name of its own."""
    kept = {name: t for name, t in tensors.items() if not name.startswith("mtp.")}
    return _named(config, "ExaoneMoeForCausalLM", "exaone_moe"), kept


#: By the name of the case.
EQUIVALENTS: dict[str, Equivalent] = {
    "baichuan": _baichuan,
    "baichuan-13b": _baichuan_13b,
    "cohere2_moe-mtp": _without_nextn,
    "deepseek": _deepseek,
    "deepseek-yarn": _deepseek,
    "dots_ocr": _same_as("Qwen2ForCausalLM", "qwen2"),
    "dream": _dream,
    "exaone": _exaone,
    "exaone-plain": _exaone,
    "exaone_moe-mtp": _without_mtp,
    "gemma3n": _text_of("Gemma3nForCausalLM"),
    "glm4_moe_lite-nextn": _without_nextn,
    "glm_ocr": _without_nextn,
    "hy_v3-mtp": _without_nextn,
    "internlm2": _internlm2,
    "internlm3": _internlm3,
    "internvl": _text_of("Qwen2ForCausalLM"),
    "iquestcoder": _same_as("LlamaForCausalLM", "llama"),
    "jina_v5": _same_as("EuroBertModel", "eurobert", (r"^model\.", "")),
    "kormo": _same_as(
        "LlamaForCausalLM",
        "llama",
        (r"pre_attention_layernorm", "input_layernorm"),
        (r"pre_mlp_layernorm", "post_attention_layernorm"),
    ),
    "llama4": _text_of("Llama4ForCausalLM"),
    "llada": _llada,
    "minicpm": _minicpm,
    "minicpm-longrope": _minicpm,
    "ministral3-vision": _text_of("Ministral3ForCausalLM"),
    "mistral3": _text_of("MistralForCausalLM"),
    "mistral3-renamed": _text_of("MistralForCausalLM"),
    "mpt": _mpt,
    "mpt-clipped": _mpt,
    "nomic_bert": _nomic,
    "orion": _orion,
    "phimoe": _phimoe,
    "step3_vl": _text_of("Qwen3ForCausalLM"),
    "xverse": _llama,
}
