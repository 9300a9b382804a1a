"""StarCoder and SantaCoder: multi-query attention, learned positions.

Source: llama.cpp conversion/starcoder.py StarCoderModel; transformers gpt_bigcode.
"""

from dataclasses import replace

from ggufkit.architectures.gpt2 import GPT2
from ggufkit.mapping.spec import FILE_TYPE, Always, ExportSpec, Hparam, Weight

STARCODER = replace(
    GPT2,
    name="starcoder",
    title="StarCoder, SantaCoder",
    hf_classes=("GPTBigCodeForCausalLM",),
    hparams=(
        Hparam("context_length", "n_positions"),
        Hparam("embedding_length", "n_embd"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["n_embd"])),
        Hparam("block_count", "n_layer"),
        Hparam("attention.head_count", "n_head"),
        Hparam("attention.head_count_kv", Always(1)),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        FILE_TYPE,
    ),
    # stored the usual way, unlike GPT-2's
    weights=tuple(Weight(w.name, w.source, optional=w.optional) for w in GPT2.weights),
    export=ExportSpec("gpt_bigcode", rename=((r"^(?!lm_head)", "transformer."),)),
)
