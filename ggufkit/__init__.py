"""ggufkit: GGUF files from Hugging Face checkpoints, and everything around them."""

from ggufkit.version import __version__

__all__ = ["__version__"]
