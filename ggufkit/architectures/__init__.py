"""Architectures: one file of data per ``general.architecture``."""
