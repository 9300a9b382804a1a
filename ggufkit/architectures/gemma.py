"""Gemma 1, 2 and 3: norms stored as their difference from one, tied embeddings."""

from dataclasses import replace

from ggufkit.mapping.blocks import BARE, HPARAMS, POOLING, WRAPPED, decoder, plus_one
from ggufkit.mapping.row_transforms import TruncateRows
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, Context, Hparam, Weight


def known_tokens(context: Context) -> TruncateRows:
    """Return the transform that drops embeddings beyond the vocabulary."""
    return TruncateRows(context.n_tokens)


def sliding_window(config: Config) -> int | None:
    """Return the window, unless every layer attends to everything."""
    return None if config.get("sliding_window_pattern") == 1 else int(config["sliding_window"])


def final_softcap(config: Config) -> float | None:
    """Return the cap on logits, if there is one."""
    return config.get("final_logit_softcapping") or None


# Multimodal checkpoints put the language model into one or two others.
RENAME = (*WRAPPED, (r"^model\.(?=model\.)", ""))
_LAYER = "model.layers.{i}"
_DECODER = {weight.source: weight for weight in decoder(norm=plus_one)}

GEMMA = Architecture(
    name="gemma",
    hf_classes=("GemmaForCausalLM",),
    tokenizer="gemma",
    defaults={
        "max_position_embeddings": 8192,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
    },
    hparams=(
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        Hparam("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        Hparam("attention.key_length", "head_dim"),
        Hparam("attention.value_length", "head_dim"),
        FILE_TYPE,
    ),
    weights=tuple(w for w in _DECODER.values() if w.name != "output"),
    # tied; some tools save it all the same
    ignore=("lm_head.weight",),
)

_FOUR_NORMS = (
    *(w for w in GEMMA.weights if w.name != "blk.{i}.ffn_norm"),
    Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm", plus_one),
    Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_feedforward_layernorm", plus_one),
    Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm", plus_one),
)

GEMMA2 = replace(
    GEMMA,
    name="gemma2",
    hf_classes=("Gemma2ForCausalLM",),
    tokenizer="gemma2",
    defaults={
        **GEMMA.defaults,
        "num_key_value_heads": 4,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
    },
    hparams=(
        *GEMMA.hparams,
        Hparam("attn_logit_softcapping", "attn_logit_softcapping"),
        Hparam("final_logit_softcapping", "final_logit_softcapping"),
        Hparam("attention.sliding_window", "sliding_window"),
    ),
    weights=_FOUR_NORMS,
)

GEMMA3 = Architecture(
    name="gemma3",
    hf_classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
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
        *(replace(w, transform=known_tokens) if w.name == "token_embd" else w for w in _FOUR_NORMS),
        Weight("blk.{i}.attn_q_norm", f"{_LAYER}.self_attn.q_norm", plus_one),
        Weight("blk.{i}.attn_k_norm", f"{_LAYER}.self_attn.k_norm", plus_one),
    ),
    rename=RENAME,
    # output weights are the embeddings; a multimodal checkpoint's vision part is another file's
    ignore=("*lm_head.weight", "*vision_tower.*", "*multi_modal_projector.*"),
)

GEMMA_EMBEDDING = replace(
    GEMMA3,
    name="gemma-embedding",
    hf_classes=("Gemma3TextModel",),
    hparams=(
        *HPARAMS,
        Hparam("final_logit_softcapping", final_softcap),
        Hparam("attention.sliding_window", "sliding_window"),
        *POOLING,
    ),
    rename=(*WRAPPED, *BARE),
)
