"""Block formats: one file per tensor type."""
