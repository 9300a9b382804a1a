"""The self-test of a conversion: whether the file tokenizes as its checkpoint does.

Two tokenizers encode the same texts: the checkpoint's tokenizer.json, and one that is rebuilt from
the written metadata alone. What differs was lost in between: a wrong pre-tokenizer, a merge, the
type of an added token.
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
from ggufkit.tokenizers.files import TokenizerFiles
from ggufkit.tokenizers.folder_files import as_list, get
from ggufkit.tokenizers.huggingface import read_vocabulary
from ggufkit.tokenizers.probes import PROBES
from ggufkit.tokenizers.rebuild import CannotRebuildError, rebuild

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata

_WORKER = Path(__file__).with_name("selftest_worker.py")
_SECONDS = 120.0
_ENVIRONMENT = ("SYSTEMROOT",)  # Python does not start without it on Windows
_FROM_JSON = ("gpt2", "bert")  # whose tokens are those of tokenizer.json
_MAX_SPECIAL = 1000
_SHOWN_IDS = 8


@dataclass(frozen=True)
class SelfTest:
    """What became of a self-test that found no difference.

    Attributes
    ----------
    n_probes : int
        Texts that were compared; 0 if it was not run.
    why : str
        Why it was not run.
    """

    n_probes: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"self-test not run: {self.why}"
        return f"self-test passed ({self.n_probes} probes)"


def self_test(folder: Path, metadata: Metadata) -> SelfTest:
    """Compare the tokenizer of a checkpoint with that of its metadata.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    metadata : Metadata
        Its ``tokenizer.*`` keys, as converted.

    Raises
    ------
    TokenizerMismatchError
        They tokenize differently.
    CheckpointError
        A file is malformed.
    """
    if find_spec("tokenizers") is None:
        return SelfTest(why="it needs the tokenizers library: pip install 'ggufkit[selftest]'")
    files = TokenizerFiles(folder)
    if files.tokenizer_json is None:
        return SelfTest(why="the checkpoint has no tokenizer.json")
    try:
        rebuilt = rebuild(metadata)
    except CannotRebuildError as error:
        return SelfTest(why=str(error))
    kind = str(metadata["tokenizer.ggml.model"])
    own = _own_tokenizer(files, kind)
    special = _special_tokens(own, metadata)
    texts = [*_plain_texts(own, rebuilt, kind), *special]
    as_text = [text for text, marked in special.items() if marked and kind in _FROM_JSON]
    request = {
        "own": own,
        "rebuilt": rebuilt,
        "texts": texts,
        "special_as_text": as_text,
        "merges": kind == "gpt2",
    }
    answer = _ask(request)
    if "failed" in answer:
        return SelfTest(why=str(answer["failed"]))
    if answer["difference"] is not None:
        raise _mismatch(folder, metadata, answer["difference"])
    return SelfTest(len(texts))


def _own_tokenizer(files: TokenizerFiles, kind: str) -> dict[str, Any]:
    """Return tokenizer.json with the tokens that other files add, as AutoTokenizer has it."""
    tokenizer = dict(files.tokenizer_json or {})
    if isinstance(model := tokenizer.get("model"), dict):
        tokenizer["model"] = {**model, "dropout": None} if "dropout" in model else model
    if kind not in _FROM_JSON:
        return tokenizer
    vocabulary = read_vocabulary(files)
    known = {get(token, "content") for token in as_list(tokenizer.get("added_tokens"))}
    tokenizer["added_tokens"] = as_list(tokenizer.get("added_tokens")) + [
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
    """Return the probes that llama.cpp is meant to encode as the tokenizer does.

    A conversion spells added tokens as they stand in a text, such as spaces for Gemma's "▁▁", and
    llama.cpp finds them there where tokenizer.json does not. Of SentencePiece
    tokenizers some put no second space before a text that starts with one; llama.cpp always does.
    """
    own_added, written = (
        {get(token, "content") for token in as_list(tokenizer.get("added_tokens"))}
        for tokenizer in (own, rebuilt)
    )
    respelled = written - own_added
    return [
        text
        for text in PROBES
        if not any(token in text for token in respelled)
        and (kind in _FROM_JSON or not text.startswith(" "))
    ]


def _special_tokens(own: dict[str, Any], metadata: Metadata) -> dict[str, bool]:
    """Return the added tokens to try, and whether to try them as plain text too.

    Alone in their text: llama.cpp knows no strip flags, nor tokens that are whole words only. What
    merely looks special is special to llama.cpp alone. T5's sentinels are not converted, and
    respelled tokens stand in other texts.
    """
    texts = metadata["tokenizer.ggml.tokens"]
    known = set(texts) if isinstance(texts, list) else set()
    is_t5 = metadata["tokenizer.ggml.model"] == "t5"
    found: dict[str, bool] = {}
    for token in as_list(own.get("added_tokens")):
        text = get(token, "content")
        if not isinstance(text, str) or not text or get(token, "single_word"):
            continue
        if text in known or not (is_t5 or _may_be_respelled(text)):
            found[text] = get(token, "special") is True or not looks_special(text)
    return dict(list(found.items())[:_MAX_SPECIAL])


def _may_be_respelled(text: str) -> bool:
    return "▁" in text or not text.isascii()


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Run the worker; a library that hangs or crashes is a failure like any other."""
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
        return {"failed": f"the tokenizers library takes more than {_SECONDS:g} s"}
    if done.returncode != 0:
        return {"failed": "the tokenizers library can't be used, or crashes on tokenizer.json"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _mismatch(
    folder: Path, metadata: Metadata, difference: dict[str, Any]
) -> TokenizerMismatchError:
    what, text = difference["what"], difference["text"]
    own, rebuilt = difference["own"] or [], difference["rebuilt"] or []
    pairs = zip(own, rebuilt, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    model, pre = (metadata[f"tokenizer.ggml.{key}"] for key in ("model", "pre"))
    return TokenizerMismatchError(
        f"{folder}: the {what} {text!r} is {_shown(own, same)} to tokenizer.json, but "
        f"{_shown(rebuilt, same)} to the file to be written (tokenizer.ggml.model {model}, "
        f"tokenizer.ggml.pre {pre}); {_hint(str(model))}; --no-self-test converts all the same",
        text=text,
    )


def _hint(model: str) -> str:
    if model in _FROM_JSON:
        return "a wrong --pre does this"
    return "the SentencePiece model, from which the file is made, and tokenizer.json disagree"


def _shown(ids: list[Any], start: int) -> str:
    """Return the ids from the first that differs on."""
    shown = " ".join(map(str, ids[start : start + _SHOWN_IDS])) or "nothing"
    before, after = "... " if start else "", " ..." if len(ids) > start + _SHOWN_IDS else ""
    return f"[{before}{shown}{after}]"
