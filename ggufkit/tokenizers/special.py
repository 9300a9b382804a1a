"""Special tokens: their ids, which of them are added to a text, and the chat templates.

The rules are those of gguf-py's ``SpecialVocab``. A special token's id is that of the first
entry in tokenizer.json's ``added_tokens`` with the text that tokenizer_config.json names; missing
ids are taken from config.json. Whether bos, eos and sep are added is read from tokenizer.json's
post-processor, which takes precedence over tokenizer_config.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.files import as_list, get
from ggufkit.tokenizers.templates import template_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ggufkit.tokenizers.files import TokenizerFiles

MAX_ID = 1 << 32
TYPES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

# Keys by the short names of tokens. "seperator" is the key's spelling; cls has no key, and
# gguf-py writes none for fill-in-the-middle tokens.
ID_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
    "eom": "tokenizer.ggml.eom_token_id",
}
ADD_KEYS = {
    "bos": "tokenizer.ggml.add_bos_token",
    "eos": "tokenizer.ggml.add_eos_token",
    "sep": "tokenizer.ggml.add_sep_token",
}


def special_metadata(
    files: TokenizerFiles,
    *,
    types: tuple[str, ...] = TYPES,
    n_vocab: int | None = None,
    merges: bool = False,
    ids: Mapping[str, int] | None = None,
    template: bool = True,
) -> Metadata:
    """Return the metadata of merges, special tokens, chat templates and normalizer flags.

    Parameters
    ----------
    files : TokenizerFiles
        The files of the checkpoint.
    types : tuple of str, optional
        The special tokens to look for.
    n_vocab : int, optional
        Vocabulary size: tokens with larger ids are left out.
    merges : bool, optional
        Whether to write the merges of a BPE tokenizer.
    ids : mapping of str to int, optional
        Ids to use for special tokens that the files do not name.
    template : bool, optional
        Whether to write chat templates.

    Raises
    ------
    CheckpointError
        A file is malformed.
    """
    tokens = _SpecialTokens(dict(files.config or {}), list(types))
    if files.tokenizer_json:
        tokens.read_post_processor(files.tokenizer_json.get("post_processor"))
    metadata = Metadata()
    if merges and (pairs := read_merges(files)):
        metadata.set("tokenizer.ggml.merges", pairs, ValueType.STRING)
    for name, token_id in _ids_within(n_vocab, tokens.find_ids(files, n_vocab), ids or {}).items():
        metadata.set(ID_KEYS[name], token_id, ValueType.UINT32)
    for name, value in tokens.add.items():
        if name in ADD_KEYS:
            metadata.set(ADD_KEYS[name], value, ValueType.BOOL)
    if template:
        metadata.extend(template_metadata(files))
    for name, value in _normalizer_flags((files.tokenizer_json or {}).get("normalizer")).items():
        metadata.set(f"tokenizer.ggml.normalizer.{name}", value, ValueType.BOOL)
    return metadata


def _ids_within(
    n_vocab: int | None, found: Mapping[str, int], given: Mapping[str, int]
) -> dict[str, int]:
    """Return the ids that have a key: those found, then those given for others."""
    usable = {k: i for k, i in given.items() if n_vocab is None or i < n_vocab}
    ids = {**found, **{name: i for name, i in usable.items() if name not in found}}
    return {name: i for name, i in ids.items() if name in ID_KEYS}


@dataclass
class _SpecialTokens:
    """The texts of special tokens, corrected by what the post-processor adds to a text.

    `config` starts as tokenizer_config.json; its entries are strings or ``{"content": ...}``.
    """

    config: dict[str, Any]
    types: list[str]
    add: dict[str, bool] = field(default_factory=dict)

    def read_post_processor(self, processor: Any) -> None:
        """Read which tokens tokenizer.json's post-processor adds to a text."""
        self.bos = self.config.get("bos_token") or self._take("cls", "bos")
        self.eos = self.config.get("eos_token") or self._take("sep", "eos")
        self.cls = self.config.get("cls_token")
        self.sep = self.config.get("sep_token")
        if not isinstance(processor, dict):
            return
        for step in as_list(processor.get("processors", [processor])):
            kind = get(step, "type")
            if kind == "ByteLevel":
                self.add.setdefault("bos", False)
                self.add.setdefault("eos", False)
            elif kind == "RobertaProcessing":
                self._read_roberta(step)
            elif kind == "TemplateProcessing":
                self._read_template(as_list(step.get("single")), as_list(step.get("pair")))

    def _take(self, source: str, target: str) -> Any:
        """Use cls as a missing bos, and sep as a missing eos."""
        value = self.config.get(f"{source}_token")
        if value:
            self.config[f"{target}_token"] = value
        return value or self.config.get(f"{target}_token")

    def _read_roberta(self, step: dict[str, Any]) -> None:
        self.add.update(bos=True, eos=True, sep=True)
        if not self.cls and self.config:
            self.cls = self.config["cls_token"] = (as_list(step.get("cls")) or [self.bos])[0]
        if not self.sep and self.config:
            self.sep = self.config["sep_token"] = (as_list(step.get("sep")) or [self.eos])[0]

    def _read_template(self, single: list[Any], pair: list[Any]) -> None:
        first = last = None
        if len(single) > 1:
            if first := _special(single[0]):
                self._read_first(first)
            if last := _special(single[-1]):
                self._read_last(last)
        if pair:
            start = 1 if first and _special(pair[0]) == first else 0
            stop = -1 if last and _special(pair[-1]) == last else None
            self._read_separator(pair[start:stop], ends_with_special=bool(last))

    def _read_first(self, first: str) -> None:
        if not self.config:
            self.bos = first
        elif first not in (self.bos, self.cls):
            if not self.bos:
                self.config["bos_token"] = self.bos = first
            if not self.cls:
                self.config["cls_token"] = self.cls = first
        self.add["bos"] = first in (self.bos, self.cls)

    def _read_last(self, last: str) -> None:
        if not self.config:
            self.eos = last
        elif last != self.eos:
            # Then tokenizer_config.json's eos is the end of a turn (eot), or of a message (eom).
            for name in ("eot", "eom"):
                if name not in self.types:
                    self.types.append(name)
                    self.config[f"{name}_token"] = self.eos
                    break
            self.config["eos_token"] = self.eos = last
        self.add["eos"] = last == self.eos

    def _read_separator(self, pair: list[Any], *, ends_with_special: bool) -> None:
        """Read the tokens between two texts: A [sep] [eos] B."""
        if not pair or get(pair[0], "Sequence", "id") != "A":
            return
        middle = pair[1:-1]
        if not middle or get(pair[-1], "Sequence", "id") != "B":
            return
        separators = (self.sep, self.eos)
        first = _special(middle[0])
        add = bool(first) and first in separators and not ends_with_special
        if len(middle) == 2:
            second = _special(middle[1])
            add = add or (bool(second) and second in separators)
        self.add["sep"] = add
        if add and not self.sep and self.config:
            self.config["sep_token"] = self.eos

    def find_ids(self, files: TokenizerFiles, n_vocab: int | None) -> dict[str, int]:
        """Return ids by name; also copies the ``add_*_token`` flags of tokenizer_config.json."""
        added = as_list((files.tokenizer_json or {}).get("added_tokens"))
        found: dict[str, int] = {}

        def keep(name: str, token_id: Any) -> None:
            # -1 means that there is no such token.
            if type(token_id) is int and 0 <= token_id < (n_vocab or MAX_ID):
                found.setdefault(name, token_id)

        for name in self.types if self.config else ():
            add = self.config.get(f"add_{name}_token")
            if isinstance(add, bool):
                self.add.setdefault(name, add)
            text = self.config.get(f"{name}_token")
            text = text if isinstance(text, str) else get(text, "content")
            if isinstance(text, str):
                same = (token for token in added if get(token, "content") == text)
                keep(name, get(next(same, None), "id"))
        model = files.model_config or {}
        for name in self.types:
            token_id = model.get(f"{name}_token_id")
            if token_id is None:
                token_id = get(model.get("text_config"), f"{name}_token_id")
            keep(name, token_id)
        return found


def read_merges(files: TokenizerFiles) -> list[str]:
    """Return the merges of a BPE tokenizer, each as two pieces with a space between.

    Raises
    ------
    CheckpointError
        The merges are malformed.
    """
    # A space inside a piece is spelled as in the byte-level alphabet.
    return [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in merge_pairs(files)]


def merge_pairs(files: TokenizerFiles) -> list[tuple[str, str]]:
    """Return the merges of a BPE tokenizer as pairs of pieces.

    Raises
    ------
    CheckpointError
        The merges are malformed.
    """
    merges = get(files.tokenizer_json, "model", "merges")
    if not merges:
        return _read_merges_txt(files)
    if not isinstance(merges, list):
        merges = [None]
    split = all(isinstance(merge, list) for merge in merges)
    pairs = [m if split else m.split(" ") if isinstance(m, str) else None for m in merges]
    wrong = next((i for i, pair in enumerate(pairs) if not _is_pair(pair)), None)
    if wrong is not None:
        raise files.malformed(
            "tokenizer.json",
            "'merges' must be a list of strings or pairs of strings, each of two pieces: "
            f"{str(merges[wrong])[:80]!r}",
        )
    return [(left, right) for left, right in pairs]  # type: ignore[misc]


def _is_pair(merge: Any) -> bool:
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(m, str) for m in merge)


def _read_merges_txt(files: TokenizerFiles) -> list[tuple[str, str]]:
    text = files.text("merges.txt", 64 << 20)
    if text is None:
        return []
    lines = text.split("\n")
    if lines[0].strip().startswith("#"):
        del lines[0]
    pairs = (line.split() for line in lines)
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _normalizer_flags(normalizer: Any) -> dict[str, bool]:
    """Return whether the normalizer lowercases and strips accents, as far as it says so."""
    flags: dict[str, Any] = {"lowercase": None, "strip_accents": None}
    steps = [normalizer]
    while steps:
        step = steps.pop(0)
        kind = get(step, "type")
        if kind == "Lowercase":
            flags["lowercase"] = True
        elif kind == "StripAccents":
            flags["strip_accents"] = True
        elif kind == "BertNormalizer":
            flags.update({name: step[name] for name in flags if name in step})
        elif kind == "Sequence":
            steps[:0] = as_list(step.get("normalizers"))
    return {name: value for name, value in flags.items() if isinstance(value, bool)}


def _special(piece: Any) -> str | None:
    """Return the text of the special token in a template's piece, or None."""
    text = get(piece, "SpecialToken", "id")
    return text if isinstance(text, str) and text else None
