"""OLMo 2 and 3: norms after each part, QK-norm; 3 has sliding-window attention.

Source: llama.cpp conversion/olmo.py Olmo2Model; transformers olmo2, olmo3.
"""

from dataclasses import replace

from ggufkit.architectures.olmo import DEFAULTS, OLMO
from ggufkit.mapping.blocks import HPARAMS, QK_NORMS, decoder, sliding_layers, without
from ggufkit.mapping.config_inverse import LayerTypes
from ggufkit.mapping.model_header import HasHparam, Not, inverse_of
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import Config, ExportSpec, Hparam, Weight


@inverse_of(LayerTypes("sliding_attention", "full_attention"))
def windowed(config: Config) -> list[bool] | None:
    """Return which layers attend to a window only: all but every fourth."""
    if config.get("sliding_window") is None:
        return None
    listed = sliding_layers(config)
    return listed or [bool((i + 1) % 4) for i in range(config["num_hidden_layers"])]


_LAYER = "model.layers.{i}"

OLMO2 = replace(
    OLMO,
    name="olmo2",
    title="OLMo 2",
    hf_classes=("Olmo2ForCausalLM",),
    defaults={**DEFAULTS, "rms_norm_eps": 1e-5},
    hparams=(
        *HPARAMS,
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", windowed),
    ),
    weights=(
        *without(decoder(), "attn_norm", "ffn_norm"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm"),
        *QK_NORMS,
    ),
    export=ExportSpec("olmo2", matches=Not(HasHparam("attention.sliding_window"))),
)

OLMO3 = replace(
    OLMO2,
    title="OLMo 3",
    hf_classes=("Olmo3ForCausalLM",),
    defaults={
        **OLMO2.defaults,
        "rope_theta": 500000.0,
        "sliding_window": 4096,
        # layers with a window use the same base, without the scaling of the others
        "rope_local_base_freq": lambda config: full(config)["rope_theta"],
    },
    export=ExportSpec("olmo3", matches=HasHparam("attention.sliding_window")),
)
