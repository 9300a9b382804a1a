"""Gemma 3: norms stored as their difference from one, sliding windows, tied embeddings."""

from dataclasses import replace

from ggufkit.models.base import Architecture, Config, Context, Hparam, Weight
from ggufkit.models.common import HPARAMS, WRAPPED, decoder
from ggufkit.models.transforms import AddOne, KeepRows


def plus_one(_: Context) -> AddOne:
    """Return the transform of Gemma's norms."""
    return AddOne()


def known_tokens(context: Context) -> KeepRows:
    """Return the transform that drops embeddings beyond the vocabulary."""
    return KeepRows(context.n_tokens)


def sliding_window(config: Config) -> int | None:
    """Return the window, unless every layer attends to everything."""
    return None if config.get("sliding_window_pattern") == 1 else int(config["sliding_window"])


def final_softcap(config: Config) -> float | None:
    """Return the cap on logits, if there is one."""
    return config.get("final_logit_softcapping") or None


_LAYER = "model.layers.{i}"
_DECODER = {weight.source: weight for weight in decoder(norm=plus_one)}

GEMMA3 = Architecture(
    name="gemma3",
    hf_classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma3TextModel"),
    tokenizer="gemma3",
    defaults={
        "max_position_embeddings": 131072,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10000.0,
        "sliding_window": 4096,
        "vocab_size": 262208,
    },
    hparams=(
        *HPARAMS,
        Hparam("final_logit_softcapping", final_softcap),
        Hparam("attention.sliding_window", sliding_window),
    ),
    weights=(
        replace(_DECODER.pop("model.embed_tokens"), transform=known_tokens),
        *(w for w in _DECODER.values() if w.name not in ("output", "blk.{i}.ffn_norm")),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm", plus_one),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_feedforward_layernorm", plus_one),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm", plus_one),
        Weight("blk.{i}.attn_q_norm", f"{_LAYER}.self_attn.q_norm", plus_one),
        Weight("blk.{i}.attn_k_norm", f"{_LAYER}.self_attn.k_norm", plus_one),
    ),
    rename=(*WRAPPED, (r"^model\.(?=model\.)", "")),
    # output weights are the embeddings; a multimodal checkpoint's vision part is another file's
    ignore=("*lm_head.weight", "*vision_tower.*", "*multi_modal_projector.*"),
)
