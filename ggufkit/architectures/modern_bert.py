"""ModernBERT: fused projections, local attention in two of three layers, two RoPE bases.

Source: llama.cpp conversion/bert.py ModernBertModel; transformers modernbert.
"""

from ggufkit.architectures.bert import labels
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, POOLING
from ggufkit.mapping.model_header import HparamValue
from ggufkit.mapping.spec import Always, Architecture, Config, ExportSpec, Hparam, Weight


def normed_blocks(config: Config) -> range:
    """Return the blocks with a norm before attention: all but the first."""
    return range(1, config["num_hidden_layers"])


def predictions(config: Config) -> tuple[str, ...]:
    """Return the part that fills in masked tokens, which is no embedding's."""
    masked = "ModernBertForMaskedLM" in (config.get("architectures") or ())
    return ("head.*", "decoder.*") if masked else ()


_LAYER = "layers.{i}"

MODERNBERT = Architecture(
    name="modern-bert",
    title="ModernBERT",
    hf_classes=("ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"),
    tokenizer="modernbert",
    defaults={
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "local_attention": 128,
        "hidden_activation": "gelu",
        "classifier_pooling": "cls",
    },
    hparams=(
        *HPARAMS,
        Hparam("attention.causal", Always(False)),
        *POOLING,
        Hparam("classifier.output_labels", labels),
        Hparam("attention.sliding_window", "local_attention"),
        Hparam("attention.sliding_window_pattern", "global_attn_every_n_layers"),
        Hparam("rope.scaling.type", rope.unscaled),
        Hparam("vocab_size", "vocab_size"),
        Hparam("hidden_activation", "hidden_activation"),
    ),
    weights=(
        Weight("token_embd", "embeddings.tok_embeddings"),
        Weight("token_embd_norm", "embeddings.norm"),
        Weight("output_norm", "final_norm"),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.attn_norm", in_layers=normed_blocks),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.attn.Wqkv"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.attn.Wo"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.mlp_norm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.Wi"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.Wo"),
        Weight("cls", "head.dense", optional=True),
        Weight("cls.norm", "head.norm", optional=True),
        Weight("cls.output", "classifier", optional=True),
    ),
    ignore=predictions,
    rename=((r"^model\.", ""),),
    export=ExportSpec(
        "modernbert",
        task_heads=(("cls.output.weight", "ModernBertForSequenceClassification", "model."),),
        config={
            "global_rope_theta": HparamValue("rope.freq_base"),
            "local_rope_theta": HparamValue("rope.freq_base_swa"),
        },
    ),
)
