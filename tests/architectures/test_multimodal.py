"""Which language model a multimodal checkpoint holds; files are compared in test_converted."""

from __future__ import annotations

import pytest

from ggufkit.architectures.registry import find_architecture
from ggufkit.errors import UnknownArchitectureError
from ggufkit.mapping.spec import complete_config


def test_a_text_config_that_leaves_out_nearly_all_has_the_defaults() -> None:
    # LLaVA 1.5 7B as published
    text = {
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
    }
    config = {"architectures": ["LlavaForConditionalGeneration"], "text_config": text}
    architecture = find_architecture(config)
    full = complete_config(architecture, config)
    assert architecture.name == "llama"
    assert full["hidden_size"] == 4096
    assert full["num_key_value_heads"] == full["num_attention_heads"] == 32
    assert (full["intermediate_size"], full["vocab_size"]) == (11008, 32064)


def test_a_class_that_is_named_goes_before_the_type() -> None:
    text = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen2"}
    config = {"architectures": ["InternVLChatModel"], "llm_config": text}
    assert find_architecture(config).name == "qwen3"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MllamaForConditionalGeneration", {"model_type": "mllama_text_model"}),
        ("LlavaForConditionalGeneration", {"model_type": "phi-mystery"}),
        ("LlavaForConditionalGeneration", None),
        ("InternVLChatModel", {"architectures": [["x"]], "model_type": {"x": 1}}),
    ],
)
def test_other_models_are_refused_by_name(name: str, text: object) -> None:
    with pytest.raises(UnknownArchitectureError, match=name):
        find_architecture({"architectures": [name], "text_config": text})
