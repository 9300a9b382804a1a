"""Torch's checkpoint files, read without running their pickles."""
