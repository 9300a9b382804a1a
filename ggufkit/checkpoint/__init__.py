"""Hugging Face checkpoints: the folder or Hub repository that a conversion starts from."""

from __future__ import annotations

from ggufkit.checkpoint.checkpoint import Checkpoint
from ggufkit.checkpoint.safetensors import CheckpointTensor

__all__ = ["Checkpoint", "CheckpointTensor"]
