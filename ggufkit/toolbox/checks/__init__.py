"""A linter for faults that GGUF files really have: `engine.check` runs the rules of `rules.RULES`.

Each module holds the rules about one aspect of a file. A rule is a function from a `CheckedModel`,
which is as much of the model as is readable, to its findings; it is silent about what it can't
judge.
"""
