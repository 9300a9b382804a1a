"""Sound model files by `tests.build` alone, and the list of faults: one a file, and its rule.

The faults are in the modules next to this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests import build
from tests.build import ARR, F32, I32, STR, U32

EMBEDDING, FFN, VOCAB, BLOCKS = 64, 96, 300, 2
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
F32_TYPE, F16_TYPE, Q8_0_TYPE = 0, 1, 8


@dataclass
class Model:
    """A file in the making: pairs and tensors by name, in order."""

    pairs: dict[str, tuple[int, Any]] = field(default_factory=dict)
    tensors: dict[str, tuple[list[int], int, bytes]] = field(default_factory=dict)
    name: str = "Tiny-74K-Instruct-v1.0-F32.gguf"
    version: int = 3
    order: str = "<"
    alignment: int = 32
    #: What is put in front of an offset, by the tensor's name.
    moved: dict[str, int] = field(default_factory=dict)

    def array(self, key: str, item_type: int, items: list[Any]) -> None:
        self.pairs[key] = (ARR, build.array(item_type, items, self.order))

    def build(self) -> bytes:
        infos, data, offset = [], b"", 0
        for name, (ne, type_id, raw) in self.tensors.items():
            at = offset + self.moved.get(name, 0)
            infos.append(build.tensor(name, ne, type_id, at, self.order))
            data += raw + bytes(-len(raw) % self.alignment)
            offset = len(data)
        pairs = [build.pair(k, t, value, self.order) for k, (t, value) in self.pairs.items()]
        return build.file(
            pairs, infos, data,
            version=self.version, alignment=self.alignment, order=self.order,
        )  # fmt: skip


def weights(*ne: int, seed: int = 0) -> tuple[list[int], int, bytes]:
    """Return a float32 tensor of random weights; `ne` in ggml's order."""
    rng = np.random.default_rng([seed, *ne])
    values = rng.standard_normal(int(np.prod(ne)), np.float32)
    return list(ne), F32_TYPE, values.tobytes()


def sound(tokenizer: str = "llama") -> Model:
    """Return a llama in float32 in which nothing is to be found."""
    model = Model()
    model.pairs = {
        "general.architecture": (STR, "llama"),
        "general.type": (STR, "model"),
        "general.name": (STR, "Tiny Instruct"),
        "general.size_label": (STR, "74K"),
        "general.file_type": (U32, 0),
        "llama.block_count": (U32, BLOCKS),
        "llama.context_length": (U32, 2048),
        "llama.embedding_length": (U32, EMBEDDING),
        "llama.feed_forward_length": (U32, FFN),
        "llama.attention.head_count": (U32, 4),
        "llama.attention.head_count_kv": (U32, 2),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "llama.rope.dimension_count": (U32, 16),
        "llama.rope.freq_base": (F32, 10000.0),
        "llama.vocab_size": (U32, VOCAB),
    }
    (_spm if tokenizer == "llama" else _bpe)(model)
    model.pairs["tokenizer.chat_template"] = (STR, CHATML)
    model.tensors["token_embd.weight"] = weights(EMBEDDING, VOCAB)
    for i in range(BLOCKS):
        shapes = {
            "attn_norm": (EMBEDDING,),
            "attn_q": (EMBEDDING, EMBEDDING),
            "attn_k": (EMBEDDING, EMBEDDING // 2),
            "attn_v": (EMBEDDING, EMBEDDING // 2),
            "attn_output": (EMBEDDING, EMBEDDING),
            "ffn_norm": (EMBEDDING,),
            "ffn_gate": (EMBEDDING, FFN),
            "ffn_up": (EMBEDDING, FFN),
            "ffn_down": (FFN, EMBEDDING),
        }
        for name, ne in shapes.items():
            model.tensors[f"blk.{i}.{name}.weight"] = weights(*ne, seed=i)
    model.tensors["output_norm.weight"] = weights(EMBEDDING, seed=7)
    return model


def quantize(model: Model, name: str) -> None:
    """Store a matrix in Q8_0, and make the file one of that type."""
    ne = model.tensors[name][0]
    rng = np.random.default_rng(3)
    scale = np.float16(0.01).tobytes()
    n_blocks = int(np.prod(ne)) // 32
    raw = b"".join(scale + rng.integers(-90, 90, 32, np.int8).tobytes() for _ in range(n_blocks))
    model.tensors[name] = (ne, Q8_0_TYPE, raw)
    model.pairs["general.file_type"] = (U32, 7)
    model.pairs["general.quantization_version"] = (U32, 2)
    model.name = model.name.replace("F32", "Q8_0")


def tokens_of(tokenizer: str) -> list[str]:
    if tokenizer == "llama":
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        tokens += ["<|im_start|>", "<|im_end|>"]
    else:
        tokens = [chr(0x100 + byte) for byte in range(256)] + ["ĀĀ", "ĀĀĀ"]
        tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return tokens + [f"▁word{i}" for i in range(VOCAB - len(tokens))]


def types_of(tokenizer: str) -> list[int]:
    types = [2, 3, 3, *[6] * 256, 3, 3] if tokenizer == "llama" else [*[1] * 258, 3, 3, 3]
    return types + [1] * (VOCAB - len(types))


def _spm(model: Model) -> None:
    model.pairs["tokenizer.ggml.model"] = (STR, "llama")
    model.pairs["tokenizer.ggml.pre"] = (STR, "default")
    model.array("tokenizer.ggml.tokens", STR, tokens_of("llama"))
    model.array("tokenizer.ggml.scores", F32, [-float(i) for i in range(VOCAB)])
    model.array("tokenizer.ggml.token_type", I32, types_of("llama"))
    _ids(model, bos=1, eos=2, unknown=0)


def _bpe(model: Model) -> None:
    model.pairs["tokenizer.ggml.model"] = (STR, "gpt2")
    model.pairs["tokenizer.ggml.pre"] = (STR, "qwen2")
    model.array("tokenizer.ggml.tokens", STR, tokens_of("gpt2"))
    model.array("tokenizer.ggml.token_type", I32, types_of("gpt2"))
    model.array("tokenizer.ggml.merges", STR, ["Ā Ā", "ĀĀ Ā"])
    _ids(model, eos=260, padding=258)


def _ids(model: Model, **ids: int) -> None:
    for name, number in ids.items():
        model.pairs[f"tokenizer.ggml.{name}_token_id"] = (U32, number)


@dataclass(frozen=True)
class Fault:
    """A fault file: what makes it, the rule that has to find it, and rules that it can't avoid."""

    name: str
    rule: str
    make: Callable[[], dict[str, bytes]]
    also: frozenset[str] = frozenset()


FAULTS: list[Fault] = []
Change = Callable[[Model], "bytes | dict[str, bytes] | None"]


def fault(rule: str, *, tokenizer: str = "llama", also: tuple[str, ...] = ()):
    """Register a function that changes a sound model, or returns the file or files itself."""

    def register(change: Change) -> Change:
        def make() -> dict[str, bytes]:
            model = sound(tokenizer)
            made = change(model)
            if isinstance(made, dict):
                return made
            return {model.name: model.build() if made is None else made}

        FAULTS.append(Fault(change.__name__, rule, make, frozenset(also)))
        return change

    return register


def sets(rule: str, key: str, type_id: int, value: Any, *, name: str, **options: Any) -> None:
    """Register a fault that one key makes."""

    def change(model: Model) -> None:
        model.pairs[key] = (type_id, value)

    change.__name__ = name
    fault(rule, **options)(change)


def drops(rule: str, key: str, *, name: str, **options: Any) -> None:
    """Register a fault that a missing key makes."""

    def change(model: Model) -> None:
        del model.pairs[key]

    change.__name__ = name
    fault(rule, **options)(change)
