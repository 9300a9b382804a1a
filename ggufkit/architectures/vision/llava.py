"""The vision encoder of LLaVA 1.5: CLIP, and two layers that project its output.

llama.cpp's converter has no class for it, and its loader still runs it: all blocks but the last,
as LLaVA does, and without the norm that CLIP has after them.
"""

from __future__ import annotations

from ggufkit.architectures.vision.base import RENAME, Key, VisionFamily, encoder, epsilon, projector
from ggufkit.errors import ConversionError
from ggufkit.mapping.spec import Config, Weight
from ggufkit.types import TensorType, ValueType


def _use_gelu(config: Config) -> bool:
    """Return whether the activation is GELU; llama.cpp's other one is the quick GELU.

    Raises
    ------
    ConversionError
        The model looks at other layers, or activates otherwise, than llama.cpp can.
    """
    model = config["model"]
    for key, only in (("vision_feature_layer", -2), ("vision_feature_select_strategy", "default")):
        if model.get(key, only) != only:
            raise ConversionError(
                f"config.json: {key} is {model[key]!r}; of LLaVA, llama.cpp can have {only!r} alone"
            )
    if config["hidden_act"] not in ("gelu", "quick_gelu"):
        raise ConversionError(f"no vision encoder can have hidden_act {config['hidden_act']!r}")
    return bool(config["hidden_act"] == "gelu")


_CLIP = "vision_tower.vision_model"
_PROJECTOR = "multi_modal_projector"

LLAVA = VisionFamily(
    hf_classes=("LlavaForConditionalGeneration",),
    kind="clip_vision_model",
    keys=(projector("mlp"), epsilon(1e-5), Key("use_gelu", ValueType.BOOL, _use_gelu)),
    weights=(
        Weight("v.class_embd", f"{_CLIP}.embeddings.class_embedding", full_name=True),
        Weight("v.patch_embd", f"{_CLIP}.embeddings.patch_embedding"),
        Weight("v.position_embd", f"{_CLIP}.embeddings.position_embedding"),
        Weight("v.pre_ln", f"{_CLIP}.pre_layrnorm"),
        *encoder(f"{_CLIP}.encoder.layers.{{i}}"),
        Weight("mm.0", f"{_PROJECTOR}.linear_1"),
        Weight("mm.2", f"{_PROJECTOR}.linear_2"),
    ),
    prefixes=("vision_tower.", f"{_PROJECTOR}."),
    rename=(
        *RENAME,
        (r"^vision_tower\.(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)", f"{_CLIP}."),
    ),
    # the output of a layer before the last is taken, without this norm; positions are counted
    ignore=("*.post_layernorm.*", "*.position_ids"),
    types={"v.position_embd.": TensorType.F32},
    defaults={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
    },
)
