"""EuroBERT and Jina embeddings v5: a llama that attends both ways.

Source: llama.cpp conversion/bert.py EuroBertModel; transformers eurobert.
"""

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    BARE,
    HPARAMS,
    POOLING,
    decoder,
    default_head_dim,
    n_heads,
    without,
)
from ggufkit.mapping.model_header import BIASES
from ggufkit.mapping.spec import Always, Architecture, ExportSpec, Hparam

EUROBERT = Architecture(
    name="eurobert",
    title="EuroBERT, Jina embeddings v5",
    hf_classes=("EuroBertModel", "JinaEmbeddingsV5Model"),
    tokenizer="eurobert",
    defaults={
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 250000.0,
        "num_key_value_heads": n_heads,
        "head_dim": default_head_dim,
    },
    hparams=(
        *HPARAMS,
        Hparam("attention.causal", Always(False)),
        Hparam("rope.scaling.type", rope.unscaled),
        *POOLING,
    ),
    weights=without(decoder(), "output"),
    rename=BARE,
    export=ExportSpec("eurobert", config=BIASES),
)
