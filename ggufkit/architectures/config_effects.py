"""What of a config has no place in a GGUF file although it changes what a model computes.

llama.cpp computes every architecture in one way. A config that asks for another is refused where
llama.cpp is known to compute something else for every token, and named where it matters for long
texts only, or where nobody knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ggufkit.errors import ConversionError, named
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.read_keys import ReadKeys
from ggufkit.mapping.rope import LONGROPE, rope_parameters

# What llama.cpp calls with the names that transformers has for the same.
_SILU = ("silu", "swish", "swiglu")
_GELU = (
    *("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "gelu_accurate"),
    *("geglu", "gelu_pytorch"),
)
_RELU2 = ("relu2", "relu_squared", "relu2_sq")
# Of the architectures whose graph in llama.cpp has one function only.
_FUNCTIONS: Mapping[tuple[str, ...], Collection[str]] = {
    _SILU: (
        *("baichuan", "cohere2", "command-r", "deepseek", "deepseek2", "dots1", "dream", "exaone"),
        *("exaone4", "falcon-h1", "granite", "internlm2", "lfm2", "llada", "llama", "llama4"),
        *("minicpm3", "minimax-m2", "mistral3", "olmo", "olmo2", "olmoe", "orion", "phi3"),
        *("qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next"),
        *("qwen3vl", "qwen3vlmoe", "smollm3", "stablelm", "xverse", "jamba", "glm4"),
    ),
    _GELU: (
        *(
            "bert",
            "bloom",
            "falcon",
            "gemma",
            "gemma-embedding",
            "gemma2",
            "gemma3",
            "gemma4",
            "gpt2",
            "gptneox",
        ),
        *("mpt", "phi2", "starcoder", "starcoder2"),
    ),
    _RELU2: ("arcee", "nemotron"),
}
_ACTIVATION_KEYS = ("hidden_activation", "hidden_act", "activation_function")

_ROPE_KINDS = ("linear", "yarn", "llama3", *LONGROPE)
_UNSCALED = (None, "default", "none", "mrope")
_ROPE_KEYS = (
    *("alpha", "apply_yarn_scaling", "*attention_factor", "attn_factor", "beta*", "factor"),
    *("extrapolation_factor", "finetuned", "*_attention", "*_freq_factor", "llama_4_scaling_beta"),
    *("long_*", "short_*", "*max_position_embeddings", "mrope_*", "mscale*", "rope_t*", "truncate"),
    *("partial_rotary_factor", "type", "xdrope_section"),
)

# Keys of training, generation, tokens, other parts, and those that the weights' shapes repeat.
_HARMLESS = (
    *("architectures", "model_type", "auto_map", "*dtype", "transformers_version", "_*", "name"),
    *("*_token_id", "*_token_ids", "*_token_index", "*_token", "*_id", "vocab_size*", "id2label"),
    *("label2id", "problem_type", "*dropout*", "*_drop", "*_pdrop", "*init*", "*cache*", "*loss*"),
    *("use_return_dict", "return_dict*", "output_*", "gradient_*", "*jitter*", "pretraining_tp"),
    *("text_config", "llm_config", "vision*", "audio*", "image*", "video*", "mm_*", "projector*"),
    *("*_config", "quantization", "task_specific_params", "is_*", "tie_*", "torchscript", "prefix"),
    *("attn_implementation", "*flash*", "*kernel*", "use_mambapy", "use_*mambapy", "use_bfloat16"),
    *("pruned_heads", "cross_attention*", "add_cross_attention", "chunk_size_feed_forward"),
    *("finetuning_task", "architecture", "seq_aux", "*chunk_size", "*resid*fp32", "rescale_*"),
    *("temperature", "top_k", "top_p", "typical_p", "num_beams*", "*_penalty", "do_sample"),
    *("max_length", "min_length", "early_stopping", "num_return_sequences", "bad_words_ids"),
    *("suppress_tokens", "*_size_ngram*", "remove_invalid_values", "exponential_decay*"),
    *("*bias", "*qk_norm*", "qk_layernorm", "type_vocab_size", "mlp_ratio", "expansion_ratio"),
    *("embedding_size", "max_window_layers", "use_sliding_window", "sliding_window*"),
    *("_sliding*", "*sliding_window_pattern", "layer_types", "mlp_layer_types", "num_heads"),
    *("max_position_embeddings", "n_positions", "n_inner", "intermediate_size", "v_head_dim"),
    *("num_key_value_heads", "*first_k_dense_replace", "moe_layer_freq", "moe_layer_end_index"),
    *("decoder_sparse_step", "mlp_only_layers", "first_last_k_dense_replace", "topk_method"),
    *("moe_capacity", "moe_use_aux_free", "num_limited_groups", "num_*expert*", "use_grouped_mm"),
    *("model_max_length", "max_tokenizer_truncation", "rope_theta", "rope_scaling", "rope_*"),
    *("mamba_*", "use_mamba*", "laurel_rank", "*scale_factor", "spatial_merge_size", "*_grid_*"),
    *("attn_layer_indices", "projectors_*", "dim_head", "multi_query", "*pooling", "emb_pooler"),
    *("downsample_ratio", "*dynamic_patch", "use_thumbnail", "enable_moe_fp32_combine", "causal"),
    *("pad_vocab_size_multiple", "rotary_*", "prenorm", "query_pre_attn_scalar", "use_mrope"),
    *("use_bidirectional_attention", "router_*", "norm_topk_prob", "position_embedding_type"),
    *("hidden_act*", "activation_*", "feed_forward_*", "normalization_function", "no_rope_*"),
    *("routed_scaling_factor", "mup_enabled", "global_attn_*", "layer_rope_theta", "bos", "eos"),
)
# Keys of one family, whose values llama.cpp has itself.
_HARMLESS_OF: Mapping[str, tuple[str, ...]] = {
    "falcon": ("alibi", "parallel_attn", "new_decoder_architecture"),
    "falcon-h1": ("*_multiplier",),
    "granite": ("*",),
    "laguna": ("gating", "gating_types"),  # the gates' shapes tell
    "llada": ("*",),
    "muse-glimmer": ("post_norm_eps", "out_hidden_size"),
    "minicpm3": ("scale_emb", "scale_depth", "dim_model_base"),
}
# Values that change nothing.
_NEUTRAL: tuple[Any, ...] = (None, False, 0, 0.0, "", [], {}, 1, 1.0)


def refuse_other_function(architecture: str, config: Mapping[str, Any]) -> None:
    """Check that llama.cpp computes the activation function that a config names.

    Raises
    ------
    ConversionError
        It has another for this architecture.
    """
    known = next((names for names, of in _FUNCTIONS.items() if architecture in of), None)
    key = next((key for key in _ACTIVATION_KEYS if isinstance(config.get(key), str)), None)
    if known is None or key is None or config[key].lower() in known:
        return
    raise ConversionError(
        f"config.json: {key} is {config[key][:40]!r}, but llama.cpp computes {known[0]} in every "
        f"{architecture} model: the file would not be this model. Is it the right config.json?"
    )


def config_notes(
    config: Mapping[str, Any], metadata: Metadata, tensors: Collection[str]
) -> list[str]:
    """Return what a config says that the file has no place for.

    Parameters
    ----------
    config : mapping
        As the architecture has read it.
    metadata : Metadata
        Of the file.
    tensors : collection of str
        Its tensors' names.

    Raises
    ------
    ConversionError
        Two settings of RoPE contradict each other, or the format has no word for its scaling.
    """
    name = str(metadata["general.architecture"])
    _refuse_contradictions(config)
    return [
        *_lost_scaling(name, config, metadata, tensors),
        *_lost_share(name, config, metadata),
        *_lost_window(name, config, metadata),
        *_wrong_biases(config, tensors),
        *_unread(name, config),
    ]


def _refuse_contradictions(config: Mapping[str, Any]) -> None:
    both = [config.get(key) for key in ("rope_parameters", "rope_scaling")]
    given = [each for each in both if isinstance(each, Mapping)]
    kinds = [_kinds(each) for each in given]
    found = {kind for each in kinds for kind in each if kind not in _UNSCALED}
    if len(found) > 1 and not found <= set(LONGROPE):
        raise ConversionError(
            f"config.json: its RoPE settings contradict each other, {' and '.join(sorted(found))}: "
            "leave one of them (rope_parameters, rope_scaling, rope_type, type)"
        )
    if len(given) < 2:
        return
    for key in given[0].keys() & given[1].keys():
        one, other = given[0][key], given[1][key]
        if key not in ("rope_type", "type") and one != other:
            raise ConversionError(
                f"config.json: rope_parameters and rope_scaling contradict each other, {key} is "
                f"{str(one)[:40]} and {str(other)[:40]}: leave one of them"
            )


def _kinds(params: Mapping[str, Any]) -> list[Any]:
    return [params.get("rope_type"), params.get("type")]


def _lost_scaling(
    name: str, config: Mapping[str, Any], metadata: Metadata, tensors: Collection[str]
) -> Iterator[str]:
    both = rope_parameters(config)
    params, kind = both["full_attention"], both["full_attention"].get("rope_type")
    written = metadata.get(f"{name}.rope.scaling.type") not in (None, "none")
    sliding = both["sliding_attention"].get("rope_type")
    if sliding not in _UNSCALED:
        yield (
            f"the RoPE scaling {str(sliding)[:40]!r} of layers with sliding windows is lost: GGUF "
            "has no place for it"
        )
    if kind is None and params.get("factor") not in (None, 1):
        yield "the RoPE settings of config.json have a factor, but no rope_type: nothing is scaled"
    unknown = [key for key in params if not any(fnmatchcase(key, p) for p in _ROPE_KEYS)]
    if unknown:
        yield f"the RoPE settings {', '.join(unknown)[:200]} of config.json have no effect"
    if kind in _UNSCALED or written or any(t.startswith("rope_f") for t in tensors):
        return
    if kind not in (*_ROPE_KINDS, "dynamic"):
        raise ConversionError(
            f"config.json: RoPE is scaled by {str(kind)[:40]!r}, for which GGUF has no word "
            "(it has linear, yarn, llama3 and longrope): the model would compute something else. "
            "If it works without, remove it from config.json"
        )
    why = " (it has no factor)" if kind in ("linear", "yarn") and not params.get("factor") else ""
    where = "beyond the context it was trained on, " if kind == "dynamic" else ""
    yield (
        f"the RoPE scaling {kind!r} of config.json is lost{why}: a file of {name} has no place for "
        f"it; {where}llama.cpp computes something else than the model"
    )


def _lost_share(name: str, config: Mapping[str, Any], metadata: Metadata) -> Iterator[str]:
    share = rope_parameters(config)["full_attention"].get("partial_rotary_factor")
    if share in (None, 1) or not config.get("num_attention_heads"):
        return
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if metadata.get(f"{name}.rope.dimension_count", head_dim) == head_dim:
        yield (
            f"config.json has RoPE rotate a part of {share} of each head, but llama.cpp rotates "
            f"all of it in every {name} model: it computes something else than the model"
        )


def _lost_window(name: str, config: Mapping[str, Any], metadata: Metadata) -> Iterator[str]:
    window = config.get("sliding_window")
    switch = config.get("use_sliding_window")
    off = switch is False or (switch is None and str(config.get("model_type")).startswith("qwen"))
    types = config.get("layer_types")
    full = isinstance(types, list) and "sliding_attention" not in types
    length = config.get("max_position_embeddings")
    if type(window) is not int or off or full or (type(length) is int and window >= length):
        return
    if f"{name}.attention.sliding_window" not in metadata:
        yield (
            f"the sliding window of {window} tokens is lost: llama.cpp's {name} attends to all "
            "tokens, which differs in longer texts"
        )


def _wrong_biases(config: Mapping[str, Any], tensors: Collection[str]) -> Iterator[str]:
    for key, parts in (
        ("attention_bias", ("q", "k", "v", "qkv", "output", "q_a", "kv_a_mqa")),
        ("mlp_bias", ("gate", "up", "down")),
    ):
        stem = "attn" if key == "attention_bias" else "ffn"
        present = any(t.endswith(tuple(f".{stem}_{part}.bias" for part in parts)) for t in tensors)
        if isinstance(given := config.get(key), bool) and given != present:
            has = "has such biases: they are written" if present else "has no such biases"
            yield f"config.json: {key} is {str(given).lower()}, but the checkpoint {has}"


def _unread(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    seen = config.seen if isinstance(config, ReadKeys) else set(config)
    harmless = (*_HARMLESS, *_HARMLESS_OF.get(name, ()))
    found = [
        str(key)[:60]
        for key, value in config.items()
        if key not in seen
        and (value is True or value not in _NEUTRAL)
        and not any(fnmatchcase(key, pattern) for pattern in harmless)
    ]
    if found:
        yield f"config.json has settings that nothing reads: {named(found, 12)}"
