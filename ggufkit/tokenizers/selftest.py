"""The self-test of a conversion: compare the file's tokenizer with the checkpoint's.

Two tokenizers encode the same texts: the checkpoint's tokenizer.json, and one that is rebuilt from
the written metadata alone. A difference means that the conversion lost something: the right
pre-tokenizer, a merge, the type of an added token.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.errors import TokenizerMismatchError
from ggufkit.tokenizers.bpe import looks_special
from ggufkit.tokenizers.files import TokenizerFiles, as_list, get
from ggufkit.tokenizers.huggingface import FLAGS, read_vocabulary
from ggufkit.tokenizers.probes import PROBES
from ggufkit.tokenizers.rebuild import CannotRebuildError, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ggufkit.gguf.metadata import Metadata

_WORKER = Path(__file__).with_name("selftest_worker.py")
_SECONDS = 120.0
_ENVIRONMENT = ("SYSTEMROOT",)  # Python does not start without it on Windows
_FROM_JSON = ("gpt2", "gemma4", "bert")  # models that are converted from tokenizer.json
_MARKED = ("gpt2", "bert")  # those whose special tokens are so marked in tokenizer.json
_SHOWN_IDS = 8


@dataclass(frozen=True)
class SelfTest:
    """A self-test that found no difference, or was not run.

    Attributes
    ----------
    n_probes : int
        Number of compared texts; 0 if the test was not run.
    why : str
        Why the test was not run; empty if it was.
    """

    n_probes: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"self-test not run: {self.why}"
        return f"self-test passed ({self.n_probes} probes)"


def self_test(folder: Path, metadata: Metadata) -> SelfTest:
    """Compare the tokenizer of a checkpoint with the one in converted metadata.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    metadata : Metadata
        The converted ``tokenizer.*`` keys.

    Raises
    ------
    TokenizerMismatchError
        The two tokenize differently.
    CheckpointError
        A file is malformed.
    """
    if find_spec("tokenizers") is None:
        return SelfTest(why="it needs the tokenizers library: pip install 'ggufkit[selftest]'")
    files = TokenizerFiles(folder)
    if files.tokenizer_json is None:
        return SelfTest(
            why="the checkpoint has no tokenizer.json to compare with; transformers makes one "
            "(save_pretrained)"
        )
    try:
        rebuilt = rebuild(metadata)
    except CannotRebuildError as error:
        return SelfTest(why=str(error))
    kind = str(metadata["tokenizer.ggml.model"])
    own = _own_tokenizer(files, kind)
    added = _added_tokens(own, rebuilt, metadata)
    texts = [*((text, text) for text in _plain_texts(own, rebuilt, kind)), *added.items()]
    request = {
        "own": own,
        "rebuilt": rebuilt,
        "texts": texts,
        "special_as_text": _as_text(own, added) if kind in _MARKED else [],
        "merges": kind in ("gpt2", "gemma4"),
    }
    answer = _ask(request)
    if "failed" in answer:
        return SelfTest(why=str(answer["failed"]))
    if answer["difference"] is not None:
        difference = answer["difference"]
        if difference["text"] in added:
            hint = "llama.cpp finds the longest added token in a text first, whatever its flags"
        else:
            hint = _hint(kind)
        raise _mismatch(folder, metadata, difference, hint)
    return SelfTest(len(texts))


def _own_tokenizer(files: TokenizerFiles, kind: str) -> dict[str, Any]:
    """Return tokenizer.json with the tokens that other files add, as AutoTokenizer loads it."""
    tokenizer = dict(files.tokenizer_json or {})
    if isinstance(model := tokenizer.get("model"), dict):
        tokenizer["model"] = {**model, "dropout": None} if "dropout" in model else model
    if kind not in _FROM_JSON:
        return tokenizer
    vocabulary = read_vocabulary(files)
    flags = {
        token.text: {"special": token.special, "normalized": token.normalized}
        for token in vocabulary.added.values()
    }
    known = {get(token, "content"): token for token in as_list(tokenizer.get("added_tokens"))}
    tokenizer["added_tokens"] = [
        {**token, **flags.get(text, {})} for text, token in known.items()
    ] + [
        {
            "id": token_id,
            "content": token.text,
            "special": token.special,
            "normalized": token.normalized,
            **dict.fromkeys(("single_word", "lstrip", "rstrip"), False),
        }
        for token_id, token in vocabulary.added.items()
        if token.text not in known
    ]
    return tokenizer


def _plain_texts(own: dict[str, Any], rebuilt: dict[str, Any], kind: str) -> list[str]:
    """Return the probes for which llama.cpp should agree with the tokenizer.

    A conversion spells added tokens as in a text (spaces for Gemma's "▁▁"), where llama.cpp finds
    them and tokenizer.json does not; and it has no flags for what is around them. Some
    SentencePiece tokenizers add no second space before a
    text that starts with one; llama.cpp always does.
    """
    own_added, written = (
        {get(token, "content") for token in as_list(tokenizer.get("added_tokens"))}
        for tokenizer in (own, rebuilt)
    )
    flagged = {
        get(token, "content")
        for token in as_list(own.get("added_tokens"))
        if any(get(token, flag) for flag in FLAGS)
    }
    respelled = (written - own_added) | (flagged - {None, ""})
    return [
        text
        for text in PROBES
        if not any(token in text for token in respelled)
        and (kind in _FROM_JSON or not text.startswith(" "))
    ]


def _added_tokens(
    own: dict[str, Any], rebuilt: dict[str, Any], metadata: Metadata
) -> dict[str, str]:
    """Return every added token, with the text by which llama.cpp finds it.

    Each is a text of its own, because llama.cpp can neither strip spaces around tokens nor match
    whole words only. T5's sentinels are left out, as they are not converted.
    """
    texts = metadata["tokenizer.ggml.tokens"]
    known = set(texts) if isinstance(texts, list) else set()
    is_t5 = metadata["tokenizer.ggml.model"] == "t5"
    contents = [get(token, "content") for token in as_list(own.get("added_tokens"))]
    if metadata["tokenizer.ggml.model"] == "gemma4":  # its normal tokens are never found in a text
        found_in_text = {token["content"] for token in rebuilt["added_tokens"]}
        contents = [text for text in contents if text in found_in_text]
    found = {}
    for text in contents:
        if isinstance(text, str) and text and (text in known or not is_t5):
            spelled = text.replace("▁", " ")
            found[text] = spelled if text not in known and spelled in known else text
    return found


def _as_text(own: dict[str, Any], added: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the added tokens to test as plain text, too.

    Tokens that merely look special are special in llama.cpp only.
    """
    special = {
        get(token, "content"): get(token, "special") is True
        for token in as_list(own.get("added_tokens"))
    }
    return [pair for pair in added.items() if special[pair[0]] or not looks_special(pair[0])]


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Run the worker. If the library hangs or crashes, the test counts as not run."""
    command = [sys.executable, "-I", "-X", "utf8", str(_WORKER)]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
            env=environment | {"TOKENIZERS_PARALLELISM": "false"},
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"the tokenizers library took more than {_SECONDS:g} s"}
    if done.returncode != 0:
        return {"failed": "the tokenizers library does not work, or crashed on tokenizer.json"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _mismatch(
    folder: Path, metadata: Metadata, difference: dict[str, Any], hint: str
) -> TokenizerMismatchError:
    what, text = difference["what"], difference["text"]
    own, rebuilt = difference["own"] or [], difference["rebuilt"] or []
    pairs = zip(own, rebuilt, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    model, pre = (metadata.get(f"tokenizer.ggml.{key}", "none") for key in ("model", "pre"))
    return TokenizerMismatchError(
        f"{folder}: the {what} {text!r} is {_shown(own, same)} by tokenizer.json, but "
        f"{_shown(rebuilt, same)} by the new file (tokenizer.ggml.model {model}, "
        f"tokenizer.ggml.pre {pre}); {hint}; --no-self-test converts anyway",
        text=text,
    )


def _hint(model: str) -> str:
    if model == "gemma4":
        return "does tokenizer.json cut a text as Gemma 4's does?"
    if model in _FROM_JSON:
        return "is --pre wrong?"
    return "the SentencePiece model, from which the file is made, contradicts tokenizer.json"


def _shown(ids: list[Any], start: int) -> str:
    """Return a few ids, from the first difference on."""
    shown = " ".join(map(str, ids[start : start + _SHOWN_IDS])) or "nothing"
    before, after = "... " if start else "", " ..." if len(ids) > start + _SHOWN_IDS else ""
    return f"[{before}{shown}{after}]"
