"""Executing a plan: tasks, workers, the journal, and the manifest of a ladder."""
