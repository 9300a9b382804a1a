"""The GGUF file: metadata, layout, reading, writing, splitting, naming.

Knows bytes; knows neither models nor what the bits of a tensor mean.
"""
