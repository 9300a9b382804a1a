"""Mixes: a tensor type for every tensor, chosen from measured errors to fit a budget."""
