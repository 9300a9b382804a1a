"""The tutorial's commands, run one after the other against local servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama
from tests.publish.upload_server import UploadHub, serve_uploads

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (ggufkit .+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, UploadHub, dict]]:
    """A folder, a Hub to read from, one to write to, and the environment of a user."""
    folder = tmp_path_factory.mktemp("tutorial")
    model = write_llama(folder / "repos" / "Tiny-Llama")
    card = "---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny Llama\n"
    (model / "README.md").write_text(card)
    prose = sorted((ROOT / "docs").glob("[a-f]*.md"))
    (folder / "notes.txt").write_text("\n".join(p.read_text(encoding="utf-8") for p in prose))
    (folder / "bin").mkdir()
    command = f'#!/bin/sh\nexec {sys.executable} -m ggufkit.cli.main "$@"\n'
    (folder / "bin" / "ggufkit").write_text(command)
    (folder / "bin" / "ggufkit").chmod(0o755)
    with ExitStack() as stack:
        hub = stack.enter_context(serve(Hub({"me/Tiny-Llama": {"main": model}})))
        uploads = stack.enter_context(serve_uploads(UploadHub()))
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "OLLAMA_"))},
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1",
            "OLLAMA_MODELS": str(folder / "ollama"), "COLUMNS": "100",
        }  # fmt: skip
        yield folder, uploads, env


def test_the_whole_way(place) -> None:
    folder, uploads, env = place
    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        here = {**env, "HF_ENDPOINT": uploads.url} if " push " in command else env
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=here, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if os.environ.get("SHOW_TUTORIAL"):
            sys.stderr.write(f"$ {command}\n{done.stdout}\n")

    files = uploads.repos["me/Tiny-Llama-GGUF"]
    for path in (folder / "out").glob("*.gguf"):
        assert files[path.name][0] == path.read_bytes()
    card = files["README.md"][0].decode()
    assert "base_model: me/Tiny-Llama" in card
    assert "measured with `ggufkit try`" in card
    assert (folder / "report.html").stat().st_size > 10_000
    manifests = {p.name for p in (folder / "ollama" / "manifests").rglob("*") if p.is_file()}
    assert {"latest", "q4_k_m", "q8_0"} <= manifests
    quality = json.loads((folder / "quality.json").read_text())
    assert all(entry["loads"] for entry in quality)
