"""The engine between checkpoints and GGUF files: it reads architectures, in both directions."""
