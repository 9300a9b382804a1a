"""Checkpoint to ladder: plan first (no tensor data is read), then execute."""
