"""The whole command on a Hub repository, against a local server that speaks its protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama


def run(args: list[object], cache: Path, endpoint: str, **env: str) -> str:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), **env}
    environment["HF_HUB_DISABLE_XET"] = "1"
    command = [sys.executable, "-m", "ggufkit.cli.main", *map(str, args)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def test_a_repository_becomes_a_ladder_and_again_offline(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "Tiny-1M")
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    hub = Hub({"someone/Tiny-1M": {"main": folder}})
    cache = tmp_path / "cache"
    with serve(hub):
        run(
            ["convert", "someone/Tiny-1M", "-o", tmp_path / "out", "--ladder", "Q4_0,Q8_0"],
            cache,
            hub.url,
        )
    assert "pytorch_model.bin" not in hub.fetched
    local = ["convert", folder, "-o", tmp_path / "local", "--ladder", "Q4_0,Q8_0"]
    run(local, cache, hub.url)
    names = sorted(path.name for path in (tmp_path / "local").glob("*.gguf"))
    assert names == ["Tiny-1M-Q4_0.gguf", "Tiny-1M-Q8_0.gguf"]
    for name in names:
        from_hub = (tmp_path / "out" / name).read_bytes()
        assert from_hub == (tmp_path / "local" / name).read_bytes()

    again = ["convert", "someone/Tiny-1M", "-o", tmp_path / "again.gguf", "--ladder", "Q8_0"]
    run(again, cache, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    want = (tmp_path / "out" / names[1]).read_bytes()
    assert (tmp_path / "again.gguf").read_bytes() == want
