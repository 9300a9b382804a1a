"""OLMo 1: norms without weights.

Source: llama.cpp conversion/olmo.py OlmoModel; transformers olmo.
"""

from ggufkit.mapping.blocks import HPARAMS, decoder, n_heads, permute, without
from ggufkit.mapping.spec import Always, Architecture, ExportSpec, Hparam

DEFAULTS = {"max_position_embeddings": 2048, "rope_theta": 10000.0, "num_key_value_heads": n_heads}

OLMO = Architecture(
    name="olmo",
    title="OLMo 1",
    hf_classes=("OlmoForCausalLM", "OLMoForCausalLM"),
    tokenizer="gpt2",
    defaults=DEFAULTS,
    hparams=(
        *HPARAMS,
        Hparam("attention.layer_norm_epsilon", Always(1e-5)),
        Hparam("attention.clamp_kqv", "clip_qkv"),
    ),
    weights=without(decoder(q=permute, k=permute), "output_norm", "attn_norm", "ffn_norm"),
    export=ExportSpec("olmo"),
)
