"""Sources of GGUF files: checkpoints, GGUF files, and the parts of a model."""
