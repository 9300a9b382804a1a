"""Tiny models of many architectures as files that llama.cpp loads."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np

from ggufkit.api import save
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.metadata import Metadata
from ggufkit.types import TensorType
from tests.architectures.checkpoints import write_checkpoint

CONVERTED = Path(__file__).parents[1] / "architectures" / "converted"

#: Added to those of ``converted``: the smallest models with an even sliding window.
GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "torch_dtype": "bfloat16",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "sliding_window": 300,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "query_pre_attn_scalar": 32,
}


def byte_vocabulary(n: int) -> Metadata:
    """A SentencePiece vocabulary of single bytes and words that nothing has."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    tokens += [f"word{i}" for i in range(n - len(tokens))]
    types = [2, 3, 3] + [6] * 256 + [1] * n
    metadata = Metadata({"tokenizer.ggml.model": "llama"})
    metadata["tokenizer.ggml.tokens"] = tokens[:n]
    metadata["tokenizer.ggml.scores"] = [0.0] * n
    metadata["tokenizer.ggml.token_type"] = types[:n]
    return metadata


def make(name: str, folder: Path) -> Path:
    """Convert the case `name` to BF16 and return the file."""
    case = _gemma2() if name == "gemma2" else json.loads((CONVERTED / f"{name}.json").read_text())
    write_checkpoint(folder / name, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (folder / name / path).parent.mkdir(exist_ok=True)
        (folder / name / path).write_text(json.dumps(content))
    vocabulary = byte_vocabulary(case["n_tokens"])
    with mock.patch.object(checkpoint_source, "tokenizer_metadata", return_value=vocabulary):
        convert(folder / name, folder / f"{name}.gguf", ladder="BF16")
    return folder / f"{name}.gguf"


def make_falcon_h1(folder: Path) -> Path:
    """Write a model whose every layer has both a state and a KV cache."""
    hidden, ffn, inner, state, ssm_heads, kv = 64, 128, 128, 16, 4, 32
    conv = inner + 2 * state
    shapes = {"token_embd.weight": (300, hidden), "output_norm.weight": (hidden,)}
    for i in range(3):
        parts = {
            "ssm_in.weight": (inner + conv + ssm_heads, hidden),
            "ssm_conv1d.weight": (conv, 4),
            "ssm_conv1d.bias": (conv,),
            "ssm_dt.bias": (ssm_heads,),
            "ssm_a": (ssm_heads, 1),
            "ssm_d": (ssm_heads, 1),
            "ssm_norm.weight": (1, inner),
            "ssm_out.weight": (hidden, inner),
            "attn_q.weight": (hidden, hidden),
            "attn_k.weight": (kv, hidden),
            "attn_v.weight": (kv, hidden),
            "attn_output.weight": (hidden, hidden),
            "attn_norm.weight": (hidden,),
            "ffn_norm": (hidden,),
            "ffn_gate.weight": (ffn, hidden),
            "ffn_up.weight": (ffn, hidden),
            "ffn_down.weight": (hidden, ffn),
        }
        shapes |= {f"blk.{i}.{part}": shape for part, shape in parts.items()}
    hparams = {
        "block_count": 3,
        "context_length": 2048,
        "embedding_length": hidden,
        "feed_forward_length": ffn,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": ssm_heads,
        "ssm.group_count": 1,
    }
    metadata = Metadata({"general.architecture": "falcon-h1", "general.file_type": 0})
    metadata.extend(Metadata({f"falcon-h1.{key}": value for key, value in hparams.items()}))
    metadata.extend(byte_vocabulary(300))
    tensors = {name: (np.ones(s, np.float32), TensorType.F32) for name, s in shapes.items()}
    return save(folder / "falcon-h1.gguf", metadata, tensors)


def _gemma2() -> dict:
    hidden, ffn, heads, kv = 64, 128, 4 * 32, 2 * 32
    tensors = {"model.embed_tokens.weight": (512, hidden), "model.norm.weight": (hidden,)}
    for i in range(GEMMA2["num_hidden_layers"]):
        parts = {
            "self_attn.q_proj": (heads, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, heads),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "pre_feedforward_layernorm": (hidden,),
            "post_feedforward_layernorm": (hidden,),
        }
        tensors |= {f"model.layers.{i}.{part}.weight": shape for part, shape in parts.items()}
    checkpoint = {name: ("BF16", shape) for name, shape in tensors.items()}
    return {"config": GEMMA2, "checkpoint": checkpoint, "files": {}, "n_tokens": 512}
