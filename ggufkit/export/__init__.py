"""Rebuild a checkpoint from a GGUF file."""
