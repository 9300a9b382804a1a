"""LLaDA with experts: an OLMoE that fills in masked tokens, so that attention looks both ways.

Source: llama.cpp conversion/llada.py LLaDAMoEModel; the modeling code in the models' repositories.
"""

from dataclasses import replace

from ggufkit.architectures.olmoe import OLMOE
from ggufkit.mapping.blocks import HPARAMS, n_heads
from ggufkit.mapping.spec import Always, ExportSpec, Hparam

LLADA_MOE = replace(
    OLMOE,
    name="llada-moe",
    title="LLaDA with experts",
    hf_classes=("LLaDAMoEModel", "LLaDAMoEModelLM"),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "num_experts": 64,
        "num_experts_per_tok": 8,
    },
    hparams=(
        *HPARAMS,
        Hparam("expert_feed_forward_length", "expert_intermediate_size"),
        Hparam("tokenizer.ggml.mask_token_id", Always(156895)),
        Hparam("attention.causal", Always(False)),
        Hparam("diffusion.shift_logits", Always(False)),
    ),
    export=ExportSpec("llada"),
)
