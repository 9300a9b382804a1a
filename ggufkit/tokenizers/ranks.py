"""Byte-pair vocabularies of bytes and ranks: Mistral's tekken.json, and ``*.tiktoken``.

Such a tokenizer joins the two neighbours whose union has the lowest rank, and has no list of
merges, but llama.cpp needs one. For tekken its converter writes every split of a token into two
others, the best halves first; for tiktoken it joins a token's bytes by lower ranks until two parts
are left.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from ggufkit.errors import CheckpointError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.guarded_files import read_bytes
from ggufkit.tokenizers.alphabet import CHAR_OF
from ggufkit.tokenizers.bpe import MAX_VOCAB_SIZE, vocabulary_metadata
from ggufkit.tokenizers.files import as_list, get
from ggufkit.tokenizers.huggingface import decoder_entries
from ggufkit.tokenizers.sentencepiece import TokenType
from ggufkit.tokenizers.special import ID_KEYS, special_metadata
from ggufkit.tokenizers.templates import TEMPLATE_KEY, template_metadata
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ggufkit.tokenizers.files import TokenizerFiles

    Ranks = dict[bytes, int]

TEKKEN_NAME = "tekken.json"
TIKTOKEN_SUFFIX = ".tiktoken"
_MAX_BYTES = 128 << 20
# Finding merges takes the square of a token's length; published vocabularies need 1/20 of this.
_MAX_WORK = 1 << 28

# Templates that are built into llama.cpp; later versions of tekken come with a file.
TEKKEN_TEMPLATES = {"v3": "mistral-v3-tekken", "v7": "mistral-v7-tekken"}
TEKKEN_IDS = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
# The special tokens of files that do not list them (mistral-common).
TEKKEN_SPECIAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]",
    "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)  # fmt: skip

# File name -> pre-tokenizer and special tokens, which are in the code of the repository.
TIKTOKEN_FILES = {
    "qwen.tiktoken": (
        "qwen2",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))),
    ),
}
END_OF_TEXT = "<|endoftext|>"


def spell(token: bytes) -> str:
    """Spell bytes in the printable alphabet of byte-level tokenizers."""
    return "".join(CHAR_OF[byte] for byte in token)


def tekken_metadata(files: TokenizerFiles, config: Mapping[str, Any]) -> Metadata:
    """Return the metadata of Mistral's tekken.json (``_set_vocab_mistral``).

    Raises
    ------
    CheckpointError
        The file is malformed or contradicts the config.
    """
    tekken = files.json(TEKKEN_NAME, _MAX_BYTES) or {}
    n_tokens, n_special = (
        get(tekken, "config", f"default_{key}") for key in ("vocab_size", "num_special_tokens")
    )
    if type(n_tokens) is not int or type(n_special) is not int:
        raise files.malformed(
            TEKKEN_NAME, "config needs integers default_vocab_size and default_num_special_tokens"
        )
    if not 0 <= n_special <= n_tokens <= MAX_VOCAB_SIZE:
        raise files.malformed(TEKKEN_NAME, f"{n_tokens} tokens, {n_special} of them special")
    if config.get("vocab_size", n_tokens) != n_tokens:
        raise CheckpointError(
            f"{files.folder}: {TEKKEN_NAME} has {n_tokens} tokens, but config.json says vocab_size "
            f"{config['vocab_size']}; do tokenizer and weights belong together?"
        )
    special = _tekken_special(files, tekken, n_special)
    ranks = _tekken_ranks(files, tekken, n_tokens - n_special)
    types = [TokenType.CONTROL] * n_special + [TokenType.NORMAL] * len(ranks)
    metadata = Metadata()
    metadata.set("tokenizer.ggml.model", "gpt2", ValueType.STRING)
    metadata.set("tokenizer.ggml.pre", "tekken", ValueType.STRING)
    merges = list(_halves(files, ranks))
    metadata.set("tokenizer.ggml.merges", merges, ValueType.STRING)
    for name, text in TEKKEN_IDS.items():
        if text in special:
            metadata.set(ID_KEYS[name], special.index(text), ValueType.UINT32)
    texts = [*special, *map(spell, ranks)]
    metadata.set("tokenizer.ggml.tokens", texts, ValueType.STRING)
    # integers, as the converter writes them; all bits are zero anyway
    metadata.set("tokenizer.ggml.scores", [0] * n_tokens, ValueType.INT32)
    metadata.set("tokenizer.ggml.token_type", list(map(int, types)), ValueType.INT32)
    metadata.set("tokenizer.ggml.add_bos_token", True, ValueType.BOOL)
    metadata.set("tokenizer.ggml.add_eos_token", False, ValueType.BOOL)
    built_in = TEKKEN_TEMPLATES.get(str(get(tekken, "config", "version")))
    own = template_metadata(files)
    if built_in is None:
        metadata.extend(own)
        return metadata
    metadata.set(TEMPLATE_KEY, built_in, ValueType.STRING)
    if own:
        files.note(
            f"the chat template is llama.cpp's own {built_in}, as by its converter: that of the "
            "files is not used"
        )
    return metadata


def _tekken_special(files: TokenizerFiles, tekken: dict[str, Any], n: int) -> list[str]:
    listed = tekken.get("special_tokens")
    texts = (
        list(TEKKEN_SPECIAL)
        if listed is None
        else [get(token, "token_str") for token in as_list(listed)]
    )
    texts += [f"<SPECIAL_{i}>" for i in range(len(texts), n)]
    if len(texts) != n or not all(isinstance(text, str) for text in texts):
        raise files.malformed(TEKKEN_NAME, f"special_tokens must be {n} texts")
    if len(set(texts)) != n:
        raise files.malformed(TEKKEN_NAME, "two special tokens have the same text")
    return texts


def _tekken_ranks(files: TokenizerFiles, tekken: dict[str, Any], n: int) -> Ranks:
    entries = as_list(tekken.get("vocab"))[:n]
    if len(entries) != n or any(get(entry, "rank") != i for i, entry in enumerate(entries)):
        raise files.malformed(
            TEKKEN_NAME, f"vocab must have {n} tokens in the order of their ranks"
        )
    ranks: Ranks = {}
    for rank, entry in enumerate(entries):
        token = _decode(files, TEKKEN_NAME, str(entry.get("token_bytes")).encode())
        if rank < 256 and token != bytes([rank]):
            raise files.malformed(TEKKEN_NAME, f"the token of rank {rank} must be that byte")
        ranks[token] = rank
    return _checked(files, TEKKEN_NAME, ranks, n)


def _halves(files: TokenizerFiles, ranks: Ranks) -> Iterator[str]:
    """Yield every split of each token into two others, the halves of the lowest ranks first."""
    for token, rank in ranks.items():
        splits = sorted(
            (ranks[token[:at]], ranks[token[at:]], at)
            for at in range(1, len(token))
            if token[:at] in ranks and token[at:] in ranks
        )
        if not splits and rank >= 256:
            raise files.malformed(
                TEKKEN_NAME, f"the token of rank {rank} can't be split into two others"
            )
        for *_, at in splits:
            yield f"{spell(token[:at])} {spell(token[at:])}"


def find_tiktoken(files: TokenizerFiles) -> str | None:
    """Return the name of the checkpoint's ``*.tiktoken`` file, or None."""
    names = (name.removeprefix("./") for name in files.names(".", TIKTOKEN_SUFFIX))
    return next(names, None)


def tiktoken_metadata(
    files: TokenizerFiles, config: Mapping[str, Any], pre: str | None
) -> Metadata:
    """Return the metadata of a ``*.tiktoken`` file (``_set_vocab_qwen``).

    Special tokens come from tokenizer_config.json's ``added_tokens_decoder``, or are known by the
    file's name: they are part of the code in a repository, which is not run.

    Raises
    ------
    UnknownTokenizerError
        There is no such file, or its special tokens or pre-tokenizer are unknown.
    CheckpointError
        A file is malformed or contradicts the config.
    """
    name = find_tiktoken(files)
    if name is None:
        raise UnknownTokenizerError(f"{files.folder}: neither tokenizer.json nor a tiktoken file")
    ranks = _read_tiktoken(files, name)
    known_pre, known_special = TIKTOKEN_FILES.get(name, (None, None))
    special = _configured(files) or {
        text: len(ranks) + i for i, text in enumerate(known_special or ())
    }
    pre = pre or known_pre
    if pre is None or END_OF_TEXT not in special:
        raise UnknownTokenizerError(
            f"{files.folder}: {name} does not name its pre-tokenizer and special tokens; give "
            "--pre NAME, and list the tokens as added_tokens_decoder in tokenizer_config.json"
        )
    texts, types = _columns(files, config, ranks, special)
    metadata = vocabulary_metadata("gpt2", pre, texts, types)
    merges = list(_joins(files, name, ranks))
    metadata.set("tokenizer.ggml.merges", merges, ValueType.STRING)
    metadata.extend(_special_ids(files, special[END_OF_TEXT]))
    return metadata


def _read_tiktoken(files: TokenizerFiles, name: str) -> Ranks:
    """Return the tokens and ranks from lines like ``IQ== 0``."""
    lines = read_bytes(files.folder, name, _MAX_BYTES).split(b"\n")
    ranks: Ranks = {}
    pairs = [line.split() for line in lines if line.strip()]
    for pair in pairs:
        if len(pair) != 2 or not pair[1].isdigit() or len(pair[1]) > 9:
            raise files.malformed(name, f"a line must be a token and its rank: {pair[:2]!r}")
        ranks[_decode(files, name, pair[0])] = int(pair[1])
    return _checked(files, name, ranks, len(pairs))


def _checked(files: TokenizerFiles, name: str, ranks: Ranks, n: int) -> Ranks:
    if len(ranks) != n or len(set(ranks.values())) != n or b"" in ranks or n > MAX_VOCAB_SIZE:
        raise files.malformed(name, "a token or a rank is empty, or occurs twice")
    if sum(len(token) ** 2 for token in ranks) > _MAX_WORK:
        raise files.malformed(name, "its tokens are too long to find their merges")
    return ranks


def _decode(files: TokenizerFiles, name: str, text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise files.malformed(name, f"not base64: {text[:40]!r}") from None


def _configured(files: TokenizerFiles) -> dict[str, int]:
    return {entry["content"]: token_id for token_id, entry in decoder_entries(files) or ()}


def _columns(
    files: TokenizerFiles, config: Mapping[str, Any], ranks: Ranks, special: Mapping[str, int]
) -> tuple[list[str], list[int]]:
    """Return each token's text and type, up to the config's ``vocab_size``."""
    by_id = {rank: (spell(token), TokenType.NORMAL) for token, rank in ranks.items()}
    by_id |= {token_id: (text, TokenType.CONTROL) for text, token_id in special.items()}
    size = config.get("vocab_size", max(by_id) + 1)
    if type(size) is not int or not max(by_id) < size <= MAX_VOCAB_SIZE:
        raise CheckpointError(
            f"{files.folder}: the tokenizer has the id {max(by_id)}, but config.json says "
            f"vocab_size {size!r}; do tokenizer and weights belong together?"
        )
    rows = [by_id.get(i, (f"[PAD{i}]", TokenType.UNUSED)) for i in range(size)]
    return [text for text, _ in rows], [int(kind) for _, kind in rows]


def _joins(files: TokenizerFiles, name: str, ranks: Ranks) -> Iterator[str]:
    """Yield the two parts of each token that are left when all lower ranks have been joined."""
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = _join(ranks, token, rank)
        if len(parts) != 2:
            raise files.malformed(name, f"the token of rank {rank} is not made of two others")
        yield f"{spell(parts[0])} {spell(parts[1])}"


def _join(ranks: Ranks, token: bytes, below: int) -> list[bytes]:
    parts = [bytes([byte]) for byte in token]
    while True:
        unions = [ranks.get(parts[i] + parts[i + 1], below) for i in range(len(parts) - 1)]
        best = min(unions, default=below)
        if best >= below:
            return parts
        at = unions.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _special_ids(files: TokenizerFiles, end_of_text: int) -> Metadata:
    """Return the ids of special tokens; the end of text is used for those that have no name."""
    named = special_metadata(files, template=False)
    ids = {"unk": end_of_text}
    if not any(key in named for key in ID_KEYS.values()):
        ids = {"bos": end_of_text, "eos": end_of_text, **ids}
    return special_metadata(files, ids=ids)
