"""Downloads, each in a process of its own: huggingface_hub reads its environment at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.build import checkpoint, f32
from tests.checkpoint.hub_server import Hub, commit_of, serve

ROOT = Path(__file__).resolve().parents[2]

OPEN = """
import json, sys
from ggufkit.checkpoint import Checkpoint
from ggufkit.errors import CheckpointError
try:
    c = Checkpoint.open(sys.argv[1], **json.loads(sys.argv[2]))
except CheckpointError as error:
    print(json.dumps({"error": str(error)}))
else:
    first = {name: float(c.read(name).ravel()[:1].sum()) for name in c.tensors}
    files = sorted(str(p.relative_to(c.path)) for p in c.path.rglob("*") if p.is_file())
    print(json.dumps({
        "tensors": first, "files": files, "repo_id": c.repo_id, "revision": c.revision,
        "path": str(c.path), "config": c.config,
    }))
"""


def open_checkpoint(
    url: str, home: Path, source: str, *, offline: bool = False, **kwargs: Any
) -> Any:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", OPEN, source, json.dumps(kwargs)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Repository o/sharded with two revisions, o/single with rival formats, o/gated."""
    index = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for branch, start in (("sharded-main", 1.0), ("sharded-dev", 2.0)):
        folder = checkpoint(
            tmp_path / "repos" / branch,
            {
                "model-00001-of-00002.safetensors": {"a": f32(2, start=start)},
                "model-00002-of-00002.safetensors": {"b": f32(2, start=start + 10)},
                "model.fp16.safetensors": {"a": f32(2)},
            },
            index=index,
        )
        (folder / "pytorch_model-00001-of-00001.bin").write_bytes(b"unwanted")
        (folder / "tokenizer.json").write_text("{}")
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ rag }}")
        (folder / "modeling_evil.py").write_text("raise SystemExit('code of the repository ran')")
    single = checkpoint(
        tmp_path / "repos" / "single",
        {
            "model.safetensors": {"w": f32(3, start=5)},
            "consolidated.safetensors": {"w": f32(3)},
        },
    )
    (single / "1_Pooling").mkdir()
    (single / "1_Pooling" / "config.json").write_text("{}")
    checkpoint(single / "onnx", {"model.safetensors": {"w": f32(3)}})
    repos = tmp_path / "repos"
    hub = Hub(
        {
            "o/sharded": {"main": repos / "sharded-main", "dev": repos / "sharded-dev"},
            "o/single": {"main": single},
            "o/gated": {"main": single},
        }
    )
    hub.gated.add("o/gated")
    with serve(hub):
        yield hub


def test_only_the_files_of_the_index_are_fetched_and_offline_runs_from_the_cache(
    hub: Hub, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    got = open_checkpoint(hub.url, home, "o/sharded")
    assert got["tensors"] == {"a": 1.0, "b": 11.0}
    assert got["files"] == [
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    assert hub.fetched == set(got["files"])
    assert (got["repo_id"], got["revision"]) == ("o/sharded", commit_of(Path("sharded-main")))

    n_requests = len(hub.requests)
    offline = open_checkpoint("http://127.0.0.1:9", home, "o/sharded", offline=True)
    assert offline == got
    assert len(hub.requests) == n_requests


def test_the_cache_serves_when_the_hub_is_down(hub: Hub, tmp_path: Path) -> None:
    got = open_checkpoint(hub.url, tmp_path, "o/single")
    assert open_checkpoint("http://127.0.0.1:9", tmp_path, "o/single") == got


def test_the_revision_is_honoured(hub: Hub, tmp_path: Path) -> None:
    commit = commit_of(Path("sharded-dev"))
    for revision in ("dev", commit):
        got = open_checkpoint(hub.url, tmp_path / revision, "o/sharded", revision=revision)
        assert got["tensors"] == {"a": 2.0, "b": 12.0}
        assert got["revision"] == commit


def test_without_an_index_the_root_model_file_is_fetched_alone(hub: Hub, tmp_path: Path) -> None:
    got = open_checkpoint(hub.url, tmp_path, "o/single")
    assert got["tensors"] == {"w": 5.0}
    assert hub.fetched == {"config.json", "model.safetensors", "1_Pooling/config.json"}


def test_the_token_and_the_cache_folder_are_passed_on(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    got = open_checkpoint(
        hub.url, tmp_path / "home", "o/single", token="hf_secret", cache_dir=str(cache)
    )
    assert Path(got["path"]).is_relative_to(cache)
    assert "Bearer hf_secret" in hub.tokens


@pytest.mark.parametrize(
    ("source", "kwargs", "offline", "message"),
    [
        ("o/nowhere", {}, False, "no such repository"),
        ("o/sharded", {"revision": "v9"}, False, "no such revision"),
        ("o/gated", {}, False, "access must be granted"),
        ("o/sharded", {}, True, "is not in the cache"),
        ("o/bad--name", {}, False, "can't be fetched"),
    ],
)
def test_failures_say_what_to_do(
    hub: Hub, tmp_path: Path, source: str, kwargs: dict[str, str], offline: bool, message: str
) -> None:
    got = open_checkpoint(hub.url, tmp_path, source, offline=offline, **kwargs)
    assert message in got["error"]
    assert source in got["error"]


def test_an_index_that_leads_out_of_the_repository_fetches_nothing_more(
    hub: Hub, tmp_path: Path
) -> None:
    evil = checkpoint(tmp_path / "evil", {}, index={"a": "../secret.safetensors"})
    hub.repos["o/evil"] = {"main": evil}
    got = open_checkpoint(hub.url, tmp_path / "home", "o/evil")
    assert "'../secret.safetensors' is not allowed" in got["error"]


def test_a_repository_without_weights_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.repos["o/none"] = {"main": checkpoint(tmp_path / "none", {})}
    (tmp_path / "none" / "flax_model.msgpack").write_bytes(b"x")
    got = open_checkpoint(hub.url, tmp_path / "home", "o/none")
    assert "no model*.safetensors" in got["error"]


@pytest.mark.parametrize("with_config", [True, False])
def test_a_repository_with_something_else_is_told_the_way_by_its_own_name(
    hub: Hub, tmp_path: Path, with_config: bool
) -> None:
    folder = checkpoint(tmp_path / "adapter", {})
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if not with_config:
        (folder / "config.json").unlink()
    hub.repos["o/adapter"] = {"main": folder}
    error = open_checkpoint(hub.url, tmp_path / "home", "o/adapter")["error"]
    assert "'ggufkit lora o/adapter --base BASE'" in error
    assert "hf:o/adapter/FILE.gguf" in error
    assert str(tmp_path) not in error


def test_torch_files_are_fetched_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    torch_file = (Path(__file__).parent / "torch" / "state_dict.bin").read_bytes()
    shards = {"both": {"model.safetensors": {"w": f32(2)}}, "old": {}}
    for name in shards:
        hub.repos[f"o/{name}"] = {"main": checkpoint(tmp_path / name, shards[name])}
        (tmp_path / name / "pytorch_model.bin").write_bytes(torch_file)
    assert list(open_checkpoint(hub.url, tmp_path / "home", "o/both")["tensors"]) == ["w"]
    assert "pytorch_model.bin" not in hub.fetched
    assert "bias" in open_checkpoint(hub.url, tmp_path / "home", "o/old")["tensors"]


@pytest.mark.slow
def test_a_download_that_breaks_off_leaves_no_half_shard(hub: Hub, tmp_path: Path) -> None:
    hub.cut_off.add("model.safetensors")
    got = open_checkpoint(hub.url, tmp_path, "o/single")
    assert got["error"].startswith("o/single: can't be fetched: ")
    hub.cut_off.clear()
    assert open_checkpoint(hub.url, tmp_path, "o/single")["tensors"] == {"w": 5.0}
