"""Checkpoints with the vocabularies of published models.

Built from the reference files of llama.cpp, which hold vocabularies and merges; what else a
tokenizer's files say is written here as the published ones have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ggufkit.gguf.reader import GGUFFile
from tests.tokenizers.build import (
    LLAMA3_REGEX,
    QWEN2_REGEX,
    added,
    message,
    piece,
    split,
    template,
    varint,
)

NAMES = ("bert-bge", "gpt-2", "llama-bpe", "llama-spm", "qwen2")
SEPARATOR = "\n__ggml_vocab_test__\n"

CONFIGS: dict[str, dict[str, Any]] = {
    "bert-bge": {"architectures": ["BertModel"], "model_type": "bert", "pad_token_id": 0},
    "gpt-2": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
        "bos_token_id": 50256, "eos_token_id": 50256,
    },
    "llama-bpe": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "bos_token_id": 128000, "eos_token_id": 128001,
    },
    "llama-spm": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "bos_token_id": 1, "eos_token_id": 2,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "bos_token_id": 151643, "eos_token_id": 151643,
    },
}  # fmt: skip

TOKENIZER_CONFIGS: dict[str, dict[str, Any]] = {
    "bert-bge": {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "cls_token": "[CLS]",
        "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]",
    },
    "gpt-2": {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024},
    "llama-bpe": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
    },
    "llama-spm": {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False,
    },
    "qwen2": {
        "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "unk_token": None, "add_prefix_space": False,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
    },
}  # fmt: skip

BERT_NORMALIZER = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
    "strip_accents": None, "lowercase": True,
}  # fmt: skip
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
BYTE_LEVEL = {**BYTES, "use_regex": True}


def pre_tokenizer(regex: str) -> dict[str, Any]:
    """One expression, then bytes."""
    first, _ = split(regex)["pretokenizers"]
    return {"type": "Sequence", "pretokenizers": [first, BYTES]}


def processor(single: str, pair: str, **ids: int) -> dict[str, Any]:
    """A post-processor as the tokenizers library wants it, with the ids of special tokens."""
    found = template(single, pair)
    for step in (*found["single"], *found["pair"]):
        next(iter(step.values()))["type_id"] = 0
    names = {name for name in (*single.split(), *pair.split()) if name not in "AB"}
    by_text = {text: ids[text.strip("<|>[]")] for text in names}
    found["special_tokens"] = {
        text: {"id": text, "ids": [token_id], "tokens": [text]}
        for text, token_id in by_text.items()
    }
    return found


PARTS: dict[str, dict[str, Any]] = {
    "bert-bge": {
        "normalizer": BERT_NORMALIZER,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]", CLS=101, SEP=102),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    },
    "gpt-2": {
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
    },
    "llama-bpe": {
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer(LLAMA3_REGEX),
        "post_processor": processor(
            "<|begin_of_text|> A", "<|begin_of_text|> A B", begin_of_text=128000
        ),
        "decoder": BYTE_LEVEL,
    },
    "qwen2": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": pre_tokenizer(QWEN2_REGEX),
        "post_processor": BYTES,
        "decoder": BYTES,
    },
    "llama-spm": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": processor("<s> A", "<s> A <s> B", s=1),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
    },
}


def reference(oracle: Path, name: str) -> Path:
    """The vocabulary as llama.cpp has it."""
    return oracle / "tokenizers" / f"ggml-vocab-{name}.gguf"


def cases(oracle: Path, name: str) -> list[tuple[str, list[int]]]:
    """Texts, and the ids of each."""
    path = reference(oracle, name)
    texts = Path(f"{path}.inp").read_bytes().decode().split(SEPARATOR)[:-1]
    ids = [[int(i) for i in line.split()] for line in Path(f"{path}.out").read_text().splitlines()]
    return list(zip(texts, ids, strict=True))


def rebuild(oracle: Path, name: str, folder: Path) -> Path:
    """Write config and tokenizer files of a published model."""
    folder.mkdir(parents=True)
    with GGUFFile.open(reference(oracle, name)) as file:
        metadata = dict(file.metadata)
    tokenizer_config = dict(TOKENIZER_CONFIGS[name])
    if "tokenizer.chat_template" in metadata:
        tokenizer_config["chat_template"] = metadata["tokenizer.chat_template"]
    write_json(folder / "config.json", {**_sizes(metadata), **CONFIGS[name]})
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    for file in VOCABULARIES.get(name, ("tokenizer.json",)):
        (folder / file).write_bytes(WRITERS[file](name, metadata))
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _sizes(metadata: dict[str, Any]) -> dict[str, Any]:
    """The config's sizes, in each family's words."""
    prefix = metadata["general.architecture"]

    def of(key: str) -> Any:
        return metadata[f"{prefix}.{key}"]

    size = {"vocab_size": len(metadata["tokenizer.ggml.tokens"])}
    if prefix == "gpt2":
        return size | {
            "n_layer": of("block_count"), "n_head": of("attention.head_count"),
            "n_embd": of("embedding_length"), "n_ctx": of("context_length"),
            "n_positions": of("context_length"), "layer_norm_epsilon": 1e-5,
        }  # fmt: skip
    size |= {
        "num_hidden_layers": of("block_count"),
        "num_attention_heads": of("attention.head_count"),
        "hidden_size": of("embedding_length"),
        "intermediate_size": of("feed_forward_length"),
        "max_position_embeddings": of("context_length"),
    }
    if prefix == "bert":
        return size | {"layer_norm_eps": 1e-12, "type_vocab_size": 2}
    return size | {
        "num_key_value_heads": of("attention.head_count_kv"),
        "rms_norm_eps": 1e-6 if prefix == "qwen2" else 1e-5,
        "rope_theta": metadata.get(f"{prefix}.rope.freq_base", 10000.0),
    }


def tokenizer_json(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer.json of a published model."""
    texts, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    model: dict[str, Any]
    if name == "bert-bge":
        pieces = word_pieces(metadata)
        model = {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {text: i for i, text in enumerate(pieces)},
        }  # fmt: skip
        texts = pieces
    else:
        # GPT-2's one special token and SentencePiece's are tokens of the model too.
        ids = [i for i, kind in enumerate(types) if kind in (1, 6) or name in WITH_SPECIAL]
        merges = metadata.get("tokenizer.ggml.merges") or scored_merges(metadata)
        is_spm = name == "llama-spm"
        model = {
            "type": "BPE", "dropout": None, "unk_token": "<unk>" if is_spm else None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": is_spm,
            "byte_fallback": is_spm, "ignore_merges": name == "llama-bpe",
            "vocab": {texts[i]: i for i in ids}, "merges": merges,
        }  # fmt: skip
    special = [i for i, kind in enumerate(types) if kind in (2, 3)]
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(i, texts[i], **flags) for i in special],
        **PARTS[name],
        "model": model,
    }


WITH_SPECIAL = ("gpt-2", "llama-spm")


def word_pieces(metadata: dict[str, Any]) -> list[str]:
    """BERT's tokens, marked inside words and not at their start."""
    types = metadata["tokenizer.ggml.token_type"]
    return [
        text if kind == 3 else text[1:] if text.startswith("▁") else f"##{text}"
        for text, kind in zip(metadata["tokenizer.ggml.tokens"], types, strict=True)
    ]


def scored_merges(metadata: dict[str, Any]) -> list[str]:
    """The merges that make a SentencePiece model's pieces, the best score first."""
    texts, scores = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"]
    ids = {text: i for i, text in enumerate(texts)}
    found = [
        (-scores[i], ids[text[:at]], ids[text[at:]])
        for text, i in ids.items()
        for at in range(1, len(text))
        if text[:at] in ids and text[at:] in ids
    ]
    return [f"{texts[left]} {texts[right]}" for _, left, right in sorted(found)]


def sentencepiece_model(metadata: dict[str, Any]) -> bytes:
    """The tokenizer.model of Llama: byte-pair, with bytes for unknown characters."""
    columns: Sequence[Any] = [
        metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")
    ]
    pieces = b"".join(piece(*column) for column in zip(*columns, strict=True))
    byte_fallback = varint(35 << 3) + b"\x01"
    trainer = message(2, b"\x18\x02" + byte_fallback)
    identity = message(1, b"identity")
    keep_spaces = b"\x18\x01\x20\x00\x28\x01"  # a space before a text, all spaces kept, escaped
    return pieces + trainer + message(3, identity + keep_spaces)


VOCABULARIES = {"llama-spm": ("tokenizer.model", "tokenizer.json")}
WRITERS: dict[str, Callable[[str, dict[str, Any]], bytes]] = {
    "tokenizer.json": lambda name, metadata: json.dumps(tokenizer_json(name, metadata)).encode(),
    "tokenizer.model": lambda _, metadata: sentencepiece_model(metadata),
}
