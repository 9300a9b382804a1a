"""OLMoE: experts and QK-norm.

Source: llama.cpp conversion/olmo.py OlmoeModel; transformers olmoe.
"""

from dataclasses import replace

from ggufkit.architectures.olmo import DEFAULTS, OLMO
from ggufkit.mapping.blocks import FFN, HPARAMS, QK_NORMS, decoder, moe_feed_forward, without
from ggufkit.mapping.spec import Always, ExportSpec, Hparam

OLMOE = replace(
    OLMO,
    name="olmoe",
    title="OLMoE",
    hf_classes=("OlmoeForCausalLM",),
    defaults={
        **DEFAULTS,
        "max_position_embeddings": 4096,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "rms_norm_eps": 1e-5,
    },
    hparams=(*HPARAMS, Hparam("attention.layer_norm_rms_epsilon", Always(1e-5))),
    weights=(*without(decoder(), *FFN), *QK_NORMS, *moe_feed_forward()),
    export=ExportSpec("olmoe"),
)
