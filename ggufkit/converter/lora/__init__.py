"""LoRA adapters of PEFT: as GGUF files of their own, and merged into a checkpoint."""
