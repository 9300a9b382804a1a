"""Names and digests: what Ollama's own tests accept and refuse, and what comes near a path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ggufkit.errors import BadValueError
from ggufkit.publish.ollama.names import ModelName, blob_path, default_store, parse_digest

PACKAGE = Path(__file__).resolve().parents[2] / "ggufkit"
HEX = "0123456789abcdef" * 4
LONG = "8" * 80
HOST = "3" * 350


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model", ("registry.ollama.ai", "library", "model", "latest")),
        ("namespace/model", ("registry.ollama.ai", "namespace", "model", "latest")),
        ("host/namespace/model:tag", ("host", "namespace", "model", "tag")),
        ("ollama.com/library/model", ("registry.ollama.ai", "library", "model", "latest")),
        ("host:11434/namespace/model", ("host:11434", "namespace", "model", "latest")),
        ("_why/_the/_lucky:_stiff", ("_why", "_the", "_lucky", "_stiff")),
        ("dolphin-mistral:7b-v2.6-dpo-laser-q6_K",
         ("registry.ollama.ai", "library", "dolphin-mistral", "7b-v2.6-dpo-laser-q6_K")),
        (f"{HOST}/{LONG}/{LONG}:{LONG}", (HOST, LONG, LONG, LONG)),
    ],
)  # fmt: skip
def test_names_that_ollama_takes(text: str, expected: tuple[str, ...]) -> None:
    assert ModelName.parse(text).parts == expected


@pytest.mark.parametrize("text", [
    "", "^", "mm:", "/nn/mm", "//", "//mm", "hh//", "n/m:", "-hh/nn/mm:tt", "hh/-nn/mm:tt",
    "hh/nn/-mm:tt", "hh/nn/mm:-tt", "host/name:space/model:tag", "a.b/model", "x" * 81,
    f"h/{LONG}8/m", f"{HOST}3/n/m", "../x", "..", ".", "a/../b/c", "a/b/c/d", "m:t:u", "m\n",
    "m:t\n", "m\x00", "a b", "m:../t", "é", "m:٣", "C:\\x", "m@sha256:" + HEX, "/etc/passwd",
])  # fmt: skip
def test_names_that_it_does_not_take(text: str) -> None:
    with pytest.raises(BadValueError, match="is no name of a model"):
        ModelName.parse(text)


def test_names_are_shown_short() -> None:
    assert str(ModelName.parse("model")) == "model:latest"
    assert str(ModelName.parse("registry.ollama.ai/library/model:tag")) == "model:tag"
    assert str(ModelName.parse("me/model:tag")) == "me/model:tag"
    assert str(ModelName.parse("host/library/model:tag")) == "host/library/model:tag"


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256:{HEX.upper()}"])
def test_digests_in_all_their_spellings(text: str, tmp_path: Path) -> None:
    assert parse_digest(text) == f"sha256:{HEX}"
    assert blob_path(tmp_path, text) == tmp_path / "blobs" / f"sha256-{HEX}"


@pytest.mark.parametrize("text", [
    "", "sha256", f"sha256{HEX}", HEX, f"sha256-{HEX[:-1]}", f"sha256:{HEX}0", f"sha256:{HEX}\n",
    f"sha256:{HEX[:-1]}g", f"sha256:{HEX[:-1]}٣", f"../sha256-{HEX[:-3]}", f"sha256:{HEX[:-3]}/..",
    f"sha512:{HEX}", f"sha256:{HEX} ", f"SHA256:{HEX}", f"sha256::{HEX[:-1]}",
])  # fmt: skip
def test_anything_else_is_no_digest(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="expected 'sha256:'"):
        blob_path(tmp_path, text)


def test_digests_become_paths_in_one_place_only() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): [
            line.strip() for line in lines if re.search(r"sha256-|[\"'/]blobs[\"']", line)
        ]
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := path.read_text(encoding="utf-8").splitlines())
    }
    drawing = f"blobs/sha256-<hex>{' ' * 36}weights, template, parameters, config"
    assert {name: lines for name, lines in found.items() if lines} == {
        # the Hub's cache
        "io/guarded_files.py": ['return resolved, resolved.parent.parent / "blobs"'],
        "publish/ollama/names.py": [
            'return store / "blobs" / parse_digest(digest).replace(":", "-")'
        ],
        "publish/ollama/store.py": [drawing],  # of the store, in a docstring
    }


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "own"))
    assert default_store() == tmp_path / "own"
    monkeypatch.setenv("OLLAMA_MODELS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ollama" / "models").mkdir(parents=True)
    assert default_store() == tmp_path / ".ollama" / "models"
