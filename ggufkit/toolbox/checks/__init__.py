"""A lint for faults that GGUF files really have: `engine.check` runs the rules of `rules.RULES`.

A module holds the rules about one side of a file. A rule is a function from a `Subject`, the file
or split set as far as it can be read, to what it found; it reads what is there, and is silent
about what it can't judge.
"""
