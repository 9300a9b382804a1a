"""Command R, R+ and Aya: attention and feed-forward in parallel, scaled logits, one norm.

Source: llama.cpp conversion/command_r.py CommandR2Model; transformers cohere.
"""

from dataclasses import replace

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, QK_NORMS, decoder, n_heads, replaced, without
from ggufkit.mapping.model_header import HasTensor
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

_CONTEXT = Hparam("context_length", ("model_max_length", "max_position_embeddings"))

COHERE = Architecture(
    name="command-r",
    title="Command R and R+, Aya",
    hf_classes=("CohereForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "rope_theta": 500000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(
        # max_position_embeddings of 8192 is less than what the model was trained on
        *replaced(HPARAMS, _CONTEXT),
        Hparam("logit_scale", "logit_scale"),
        Hparam("rope.scaling.type", rope.unscaled),
    ),
    weights=(
        *without(decoder(), "output", "ffn_norm"),
        *(replace(w, optional=True) for w in QK_NORMS),
    ),
    tied_output=True,
    export=ExportSpec("cohere", config={"use_qk_norm": HasTensor("attn_q_norm.weight")}),
)
