"""Small files for edits, made by hand."""

from tests import build

DATA = [bytes([n + 1]) * 64 for n in range(4)]


def tensors(*names, alignment=64):
    return [build.tensor(name, [16], 0, alignment * n) for n, name in enumerate(names)]


def file_bytes(*pairs, names=("a", "b", "c", "d"), version=3):
    return build.file(pairs, tensors(*names), b"".join(DATA[: len(names)]), version=version)


NAME = build.pair("general.name", build.STR, "old name")
NOTE = build.pair("x.note", build.U16, 7)
TOKENS = build.pair("tokenizer.ggml.tokens", build.ARR, build.array(build.STR, ["<s>", "é"]))
