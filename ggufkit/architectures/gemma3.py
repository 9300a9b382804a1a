"""Gemma 3, its text model: QK-norm and two RoPE bases.

Source: llama.cpp conversion/gemma.py Gemma3Model; transformers gemma3.
"""

from ggufkit.architectures.gemma2 import FOUR_NORM_WEIGHTS
from ggufkit.mapping.blocks import HPARAMS, WRAPPED, changed
from ggufkit.mapping.model_header import inverse_of
from ggufkit.mapping.row_transforms import TruncateRows
from ggufkit.mapping.spec import Architecture, Config, Context, ExportSpec, Hparam, NonZero, Weight
from ggufkit.mapping.transforms import AddOne


def known_tokens(context: Context) -> TruncateRows:
    """Return the transform that drops embeddings beyond the vocabulary."""
    return TruncateRows(context.n_tokens)


@inverse_of("sliding_window")
def sliding_window(config: Config) -> int | None:
    """Return the window, unless every layer attends to everything."""
    return None if config.get("sliding_window_pattern") == 1 else int(config["sliding_window"])


# Multimodal checkpoints put the language model into one or two others.
RENAME = (*WRAPPED, (r"^model\.(?=model\.)", ""))

_LAYER = "model.layers.{i}"

GEMMA3 = Architecture(
    name="gemma3",
    title="Gemma 3, its text part",
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
        Hparam("final_logit_softcapping", NonZero("final_logit_softcapping")),
        Hparam("attention.sliding_window", sliding_window),
    ),
    weights=(
        *changed(FOUR_NORM_WEIGHTS, "token_embd", transform=known_tokens),
        Weight("output", "lm_head", known_tokens, optional=True),
        Weight("blk.{i}.attn_q_norm", f"{_LAYER}.self_attn.q_norm", AddOne()),
        Weight("blk.{i}.attn_k_norm", f"{_LAYER}.self_attn.k_norm", AddOne()),
    ),
    rename=RENAME,
    tied_output=True,
    # a multimodal checkpoint's vision encoder is another file's
    ignore=("*vision_tower.*", "*multi_modal_projector.*"),
    export=ExportSpec("gemma3_text"),
)
