"""Importance matrices: how much each column of a weight matters to the model's output."""

from __future__ import annotations
