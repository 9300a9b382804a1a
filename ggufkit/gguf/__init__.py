"""The GGUF file: metadata, layout, reading, writing, splitting, naming.

It knows bytes, but neither models nor the meaning of a tensor's bits.
"""
