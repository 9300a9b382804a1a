"""Tokenizer files from before tokenizer.json: vocab.txt, and vocab.json with merges.txt.

They hold the vocabulary and the merges; how text is split follows from the tokenizer's class. The
three classes that are published without a tokenizer.json are supported. The result is the
tokenizer.json that transformers would write for the class.
"""

from __future__ import annotations

from typing import Any, Protocol

from ggufkit.errors import CheckpointError
from ggufkit.io.guarded_files import MAX_TOKENIZER_BYTES
from ggufkit.tokenizers.pre_table import steps_of

# The class by model_type, if tokenizer_config.json does not name it.
CLASS_OF = {"bert": "BertTokenizer", "gpt2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer"}

# Special tokens that a class has even if no file names them.
BERT_SPECIAL = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}  # fmt: skip
BYTE_LEVEL_SPECIAL = {"unk_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
PRE_OF = {"GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2"}


class _Files(Protocol):
    """The parts of `ggufkit.tokenizers.files.TokenizerFiles` (which imports this module) in use."""

    @property
    def config(self) -> dict[str, Any] | None: ...
    @property
    def model_config(self) -> dict[str, Any] | None: ...
    def has(self, name: str) -> bool: ...
    def json(self, name: str, limit: int = ...) -> dict[str, Any] | None: ...
    def text(self, name: str, limit: int = ...) -> str | None: ...
    def malformed(self, name: str, what: str) -> CheckpointError: ...


def read_legacy(files: _Files) -> dict[str, Any] | None:
    """Return older files in the form of a tokenizer.json; None if they are missing or unknown.

    Raises
    ------
    CheckpointError
        A file is malformed.
    """
    config = files.config or {}
    model_type = (files.model_config or {}).get("model_type")
    name = str(config.get("tokenizer_class") or CLASS_OF.get(str(model_type), ""))
    name = name.removesuffix("Fast")
    if name == "BertTokenizer" and files.has("vocab.txt"):
        return _bert(files, config)
    if name in PRE_OF and files.has("vocab.json") and files.has("merges.txt"):
        return _byte_level(files, config, PRE_OF[name])
    return None


def _special(config: dict[str, Any], defaults: dict[str, str]) -> list[dict[str, Any]]:
    texts = {text for key, text in defaults.items() if key not in config}
    return [{"content": text, "special": True} for text in sorted(texts)]


def _bert(files: _Files, config: dict[str, Any]) -> dict[str, Any]:
    lines = (files.text("vocab.txt", MAX_TOKENIZER_BYTES) or "").split("\n")
    if lines[-1] == "":
        lines.pop()
    vocab = {text: i for i, text in enumerate(lines)}
    if len(vocab) != len(lines):
        raise files.malformed("vocab.txt", "two lines are equal")
    return {
        "added_tokens": _special(config, BERT_SPECIAL),
        "normalizer": {
            "type": "BertNormalizer",
            "lowercase": config.get("do_lower_case", True),
            "strip_accents": config.get("strip_accents"),
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]"}},
                {"Sequence": {"id": "A"}},
                {"SpecialToken": {"id": "[SEP]"}},
            ],
        },
    }


def _byte_level(files: _Files, config: dict[str, Any], pre: str) -> dict[str, Any]:
    *regexes, last = steps_of(pre) or ()
    cuts: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"} for regex in regexes
    ]
    level = {"type": "ByteLevel", "use_regex": last == "words"}
    prefix = bool(config.get("add_prefix_space"))
    return {
        "added_tokens": _special(config, BYTE_LEVEL_SPECIAL),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*cuts, {**level, "add_prefix_space": prefix}],
        },
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": files.json("vocab.json", MAX_TOKENIZER_BYTES)},
    }
