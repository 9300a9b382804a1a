"""What a checkpoint says that its GGUF file does not: one line of facts per architecture.

Found by the first class of an `Architecture`. Most only need transformers' ``model_type``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ggufkit.models import ARCHITECTURES
from ggufkit.models.base import Architecture, Renames
from ggufkit.models.known import Known

# The value of a key that is null, where transformers assumes something else.
NULL = object()


@dataclass(frozen=True)
class Facts:
    """What has to be known to make a checkpoint of an architecture's file.

    Attributes
    ----------
    model_type : str
        transformers' name of the config.
    hf_class : str
        The class, where it is not the architecture's first.
    heads : tuple of (tensor, class, prefix)
        The class of a model that has this tensor, and what the other tensors' names start with.
    config : mapping
        Config keys that hparams do not tell, whose dots are levels; a callable is given what is
        `Known`. None is no key, `NULL` is null.
    nested : str
        The ``model_type`` of the wrapper, where the language model's config lies in another.
    beside : mapping
        Sources to choose only where the file has tensors of a second name, where the architecture
        has several sources for one tensor.
    rename : tuple of (pattern, replacement) or callable
        From the names that the architecture knows to those of the checkpoint; or a function of
        what is known.
    fits : callable, optional
        Whether a file can be of this architecture, of several with one name.
    """

    model_type: str
    hf_class: str = ""
    heads: tuple[tuple[str, str, str], ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    nested: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    rename: Renames | Callable[[Known], Renames] = ()
    fits: Callable[[Known], bool] | None = None


def _has_biases(known: Known) -> bool:
    return known.has(".attn_q.bias")


def _has_mlp_biases(known: Known) -> bool:
    return known.has(".ffn_up.bias")


def _key(name: str) -> Callable[[Known], Any]:
    return lambda known: known.hparams.get(name)


def _has_key(name: str) -> Callable[[Known], bool]:
    return lambda known: name in known.hparams


def _if(ending: str, value: Any, otherwise: Any = None) -> Callable[[Known], Any]:
    """Return one of two values, by whether some tensor's name ends so."""
    return lambda known: value if known.has(ending) else otherwise


def _rows(name: str) -> Callable[[Known], int | None]:
    return lambda known: known.shapes[name][0] if name in known.shapes else None


def _lacks_key(name: str) -> Callable[[Known], bool]:
    return lambda known: name not in known.hparams


def _has(ending: str) -> Callable[[Known], bool]:
    return lambda known: known.has(ending)


def _lacks(ending: str) -> Callable[[Known], bool]:
    return lambda known: not known.has(ending)


def _ahead(known: Known) -> Renames:
    """Return the names of blocks that look ahead, which come after the others in the file."""
    n_ahead = int(known.hparams.get("nextn_predict_layers") or 1)
    n = int(known.hparams.get("block_count") or 0) - n_ahead
    return (
        (rf"^model\.layers\.{n}\.mtp\.", "mtp."),
        *((rf"^model\.layers\.{n + i}\.", f"mtp.layers.{i}.") for i in range(min(n_ahead, 64))),
    )


def _ministral(value: Any) -> Callable[[Known], Any]:
    """Return what is Ministral 3's, of files of Mistral 3 whose attention has a temperature."""
    return lambda known: value if "attention.temperature_scale" in known.hparams else None


def _tokenizer(*models: str) -> Callable[[Known], bool]:
    """Return whether the vocabulary is of this kind, or there is none."""
    return lambda known: known.tokenizer in ("", *models)


_BIASES = {"attention_bias": _has_biases, "mlp_bias": _has_mlp_biases}
_T5 = {
    "encoder.block.{i}.layer1.DenseReluDense.wi_1": "ffn_gate.weight",
    "decoder.block.{i}.layer2.DenseReluDense.wi_1": "ffn_gate.weight",
}
_T5_CONFIG = {
    "feed_forward_proj": _if("ffn_gate.weight", "gated-gelu", "relu"),
    # in fact whether its outputs are scaled: only those of the first T5 are
    "tie_word_embeddings": _if("ffn_gate.weight", False, None),
}
_TOKEN_TYPES = {"type_vocab_size": _rows("token_types.weight")}
_NORMED_PROBABILITIES = {
    "norm_topk_prob": lambda known: bool(known.hparams.get("expert_weights_norm")),
    "num_key_value_heads": _key("attention.head_count"),
}
_INTERLEAVED = {"rope_scaling.mrope_interleaved": True}
_UNDER_LANGUAGE_MODEL = ((r"^model\.", "model.language_model."),)
_LAYER_NUMBERS = ((r"\.layer(\d)\.", r".layer.\1."),)
_EXPERTS = "model.layers.{i}.mlp.experts"
_UNDER_TRANSFORMER = ((r"^(?!lm_head)", "transformer."),)
_BERT_LAYER = "encoder.layer.{i}"

FACTS: Mapping[str, Facts] = {
    "ArceeForCausalLM": Facts("arcee", config=_BIASES),
    "BaichuanForCausalLM": Facts("baichuan"),
    "BertModel": Facts(
        "bert",
        fits=_tokenizer("bert"),
        heads=(("cls.output.weight", "BertForSequenceClassification", "bert."),),
        config=_TOKEN_TYPES,
    ),
    "BloomForCausalLM": Facts("bloom", config={"seq_length": _key("context_length")}),
    "CohereForCausalLM": Facts("cohere", config={"use_qk_norm": _has("attn_q_norm.weight")}),
    "Cohere2ForCausalLM": Facts("cohere2"),
    "DeepseekForCausalLM": Facts("deepseek"),
    "DeepseekV2ForCausalLM": Facts(
        "deepseek_v2",
        config=_NORMED_PROBABILITIES,
        fits=_lacks("exp_probs_b.bias"),
    ),
    "DeepseekV3ForCausalLM": Facts(
        "deepseek_v3",
        config={**_NORMED_PROBABILITIES, "topk_method": "noaux_tc"},
        fits=_has("exp_probs_b.bias"),
    ),
    "DistilBertModel": Facts(
        "distilbert",
        heads=(("cls.output.weight", "DistilBertForSequenceClassification", "distilbert."),),
        rename=((r"^classifier\.out_proj\.", "classifier."),),
        fits=_lacks("token_types.weight"),
    ),
    "Ernie4_5_ForCausalLM": Facts("ernie4_5", hf_class="Ernie4_5ForCausalLM"),
    "ExaoneForCausalLM": Facts("exaone"),
    "Exaone4ForCausalLM": Facts("exaone4"),
    "FalconForCausalLM": Facts(
        "falcon",
        config={"new_decoder_architecture": _has("attn_norm_2.weight")},
        beside={"transformer.h.{i}.ln_mlp": "attn_norm_2.weight"},
    ),
    "GemmaForCausalLM": Facts("gemma"),
    "Gemma2ForCausalLM": Facts("gemma2"),
    "Gemma3ForCausalLM": Facts("gemma3_text"),
    "Gemma3nForCausalLM": Facts(
        "gemma3n_text",
        config={"vocab_size_per_layer_input": _rows("per_layer_token_embd.weight")},
        rename=(
            (r"altup_proj\.\{i\}\.", "altup_projections."),
            (r"altup_unembd_proj\.\{i\}\.", "altup_unembed_projections."),
        ),
    ),
    "Glm4ForCausalLM": Facts("glm4", config={"attention_bias": _has_biases}),
    "Glm4MoeForCausalLM": Facts(
        "glm4_moe",
        config={"attention_bias": _has_biases, "use_qk_norm": _has("attn_q_norm.weight")},
    ),
    "GPT2LMHeadModel": Facts("gpt2", config={"n_positions": _key("context_length")}),
    "GPTNeoXForCausalLM": Facts("gpt_neox"),
    "GptOssForCausalLM": Facts("gpt_oss", config={"rope_scaling.truncate": False}),
    "GraniteForCausalLM": Facts("granite", config=_BIASES),
    "GraniteMoeForCausalLM": Facts(
        "granitemoe",
        config={"model_type": _if("blk.0.ffn_gate_shexp.weight", "granitemoeshared")},
        heads=(("blk.0.ffn_gate_shexp.weight", "GraniteMoeSharedForCausalLM", ""),),
    ),
    "HunYuanDenseV1ForCausalLM": Facts("hunyuan_v1_dense", config={"attention_bias": _has_biases}),
    "InternLM2ForCausalLM": Facts("internlm2", config={"bias": _has_biases}),
    "InternLM3ForCausalLM": Facts("internlm3", config={"qkv_bias": _has_biases}),
    "JinaBertModel": Facts(
        "bert",
        config={
            **_TOKEN_TYPES,
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
        },
        beside={
            f"{_BERT_LAYER}.mlp.up_gated_layer": "attn_norm_2.weight",
            f"{_BERT_LAYER}.mlp.down_layer": "attn_norm_2.weight",
            f"{_BERT_LAYER}.layer_norm_2": "attn_norm_2.weight",
        },
    ),
    "Lfm2ForCausalLM": Facts("lfm2"),
    "LlamaForCausalLM": Facts("llama", config=_BIASES),
    "Llama4ForConditionalGeneration": Facts("llama4_text", hf_class="Llama4ForCausalLM"),
    "MambaForCausalLM": Facts("mamba"),
    "Mamba2ForCausalLM": Facts("mamba2"),
    "MiniCPMForCausalLM": Facts("minicpm"),
    "MiniCPM3ForCausalLM": Facts("minicpm3"),
    "Mistral3ForConditionalGeneration": Facts(
        "mistral",
        config={
            "model_type": _ministral("ministral3"),
            "architectures": _ministral(["Ministral3ForCausalLM"]),
            "sliding_window": NULL,
        },
        nested="mistral3",
    ),
    "MixtralForCausalLM": Facts("mixtral"),
    "ModernBertModel": Facts(
        "modernbert",
        config={
            "global_rope_theta": _key("rope.freq_base"),
            "local_rope_theta": _key("rope.freq_base_swa"),
        },
    ),
    "MPTForCausalLM": Facts("mpt"),
    "NemotronForCausalLM": Facts("nemotron", config=_BIASES),
    "NomicBertModel": Facts(
        "nomic_bert",
        config={
            **_TOKEN_TYPES,
            "activation_function": _if("ffn_gate.weight", "swiglu", "gelu"),
            "causal": False,
            "prenorm": False,
            "rotary_emb_base": _key("rope.freq_base"),
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "max_trained_positions": 2048,
            "qkv_proj_bias": _has("attn_qkv.bias"),
            "mlp_fc1_bias": _has("ffn_up.bias"),
            "mlp_fc2_bias": _has("ffn_down.bias"),
            "num_experts": _key("expert_count"),
            "n_embd": _key("embedding_length"),
            "n_head": _key("attention.head_count"),
            "n_layer": _key("block_count"),
            "n_inner": _key("feed_forward_length"),
        },
    ),
    "OlmoForCausalLM": Facts("olmo"),
    "Olmo2ForCausalLM": Facts("olmo2", fits=_lacks_key("attention.sliding_window")),
    "Olmo3ForCausalLM": Facts("olmo3", fits=_has_key("attention.sliding_window")),
    "OlmoeForCausalLM": Facts("olmoe"),
    "OrionForCausalLM": Facts("orion"),
    "PhiForCausalLM": Facts("phi", config={"intermediate_size": _key("feed_forward_length")}),
    "Phi3ForCausalLM": Facts("phi3"),
    "Qwen2ForCausalLM": Facts("qwen2"),
    "Qwen2MoeForCausalLM": Facts("qwen2_moe"),
    "Qwen2VLForConditionalGeneration": Facts("qwen2_vl"),
    "Qwen3ForCausalLM": Facts("qwen3", config={"attention_bias": _has_biases}),
    "Qwen3MoeForCausalLM": Facts("qwen3_moe", config={"attention_bias": _has_biases}),
    "Qwen3NextForCausalLM": Facts("qwen3_next", rename=_ahead),
    "Qwen3VLForConditionalGeneration": Facts(
        "qwen3_vl_text",
        config=_INTERLEAVED,
        nested="qwen3_vl",
        rename=_UNDER_LANGUAGE_MODEL,
    ),
    "Qwen3VLMoeForConditionalGeneration": Facts(
        "qwen3_vl_moe_text",
        config=_INTERLEAVED,
        nested="qwen3_vl_moe",
        rename=_UNDER_LANGUAGE_MODEL,
        # its checkpoints have stacks
        beside=dict.fromkeys((f"{_EXPERTS}.down_proj", f"{_EXPERTS}.gate_up_proj"), ""),
    ),
    "Qwen3_5ForCausalLM": Facts("qwen3_5_text", config=_INTERLEAVED, rename=_ahead),
    "Qwen3_5MoeForCausalLM": Facts("qwen3_5_moe_text", config=_INTERLEAVED, rename=_ahead),
    "RobertaModel": Facts(
        "roberta",
        config=_TOKEN_TYPES,
        beside={"classifier.out_proj": "cls.weight"},
        fits=_tokenizer("gpt2"),
        heads=(("cls.output.weight", "RobertaForSequenceClassification", "roberta."),),
    ),
    "SeedOssForCausalLM": Facts("seed_oss"),
    "SmolLM3ForCausalLM": Facts("smollm3", config=_BIASES),
    "StableLmForCausalLM": Facts("stablelm", config={"use_qkv_bias": _has_biases}),
    "GPTBigCodeForCausalLM": Facts("gpt_bigcode", rename=_UNDER_TRANSFORMER),
    "Starcoder2ForCausalLM": Facts("starcoder2"),
    "T5ForConditionalGeneration": Facts(
        "t5",
        heads=(("enc.blk.1.attn_rel_b.weight", "UMT5ForConditionalGeneration", ""),),
        config={**_T5_CONFIG, "model_type": _if("enc.blk.1.attn_rel_b.weight", "umt5")},
        beside=_T5,
        rename=_LAYER_NUMBERS,
    ),
    "T5EncoderModel": Facts(
        "t5",
        config=_T5_CONFIG,
        beside=_T5,
        rename=_LAYER_NUMBERS,
    ),
    "XLMRobertaModel": Facts(
        "xlm-roberta",
        config=_TOKEN_TYPES,
        beside={"classifier.out_proj": "cls.weight"},
        fits=_tokenizer("t5"),
        heads=(("cls.output.weight", "XLMRobertaForSequenceClassification", "roberta."),),
    ),
    "XverseForCausalLM": Facts("xverse"),
}

# Those that are tried after the others of their name.
_LAST = ("InternLM3ForCausalLM",)


def candidates(name: str) -> list[tuple[Architecture, Facts]]:
    """Return the architectures of a ``general.architecture``, the likelier first."""
    found = [a for a in ARCHITECTURES if a.name == name]
    found.sort(key=lambda a: a.hf_classes[0] in _LAST)
    return [(a, FACTS[a.hf_classes[0]]) for a in found if a.hf_classes[0] in FACTS]
