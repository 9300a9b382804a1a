from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ggufkit.checkpoint import Checkpoint
from ggufkit.errors import CheckpointError, MissingFileError, MissingTensorError
from tests.checkpoint.build import checkpoint, f32, safetensors


def test_order_is_by_shard_name_then_by_tensor_name_as_strings(tmp_path: Path) -> None:
    shards = {
        "model-00001-of-00002.safetensors": {"layers.2": f32(2), "layers.10": f32(2)},
        "model-00002-of-00002.safetensors": {"norm": f32(2), "layers.1": f32(2)},
    }
    index = {name: shard for shard, entries in shards.items() for name in entries}
    expected = ["layers.10", "layers.2", "layers.1", "norm"]
    assert list(Checkpoint.open(checkpoint(tmp_path / "a", shards)).tensors) == expected
    assert (
        list(Checkpoint.open(checkpoint(tmp_path / "b", shards, index=index)).tensors) == expected
    )


def test_with_an_index_other_weight_files_are_left_alone(tmp_path: Path) -> None:
    shards = {"part.safetensors": {"a": f32(2, start=3)}, "model.safetensors": {"a": f32(2)}}
    opened = Checkpoint.open(checkpoint(tmp_path, shards, index={"a": "part.safetensors"}))
    assert opened.read("a").tolist() == [3, 4]
    assert opened.shapes == {"a": (2,)}
    assert opened.config == {"architectures": ["LlamaForCausalLM"]}
    assert (opened.repo_id, opened.revision, opened.path) == (None, None, tmp_path)


def test_copies_and_threads_read_the_same(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"model.safetensors": {"a": f32(1000, 3), "b": f32(7)}})
    with Checkpoint.open(folder) as opened:
        copy = pickle.loads(pickle.dumps(opened))
        expected = np.arange(3000, dtype=np.float32).reshape(1000, 3)
        with ThreadPoolExecutor(4) as pool:
            rows = [slice(i, i + 10) for i in range(0, 1000, 10)]
            parts = list(pool.map(lambda r: copy.read("a", r), rows))
        assert np.array_equal(np.concatenate(parts), expected)
        assert opened.read_raw("b", slice(2, 4)).tolist() == [2, 3]
        with pytest.raises(MissingTensorError, match="no tensor 'c'"):
            opened.read("c")


def test_sources_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="neither a folder nor a repository"):
        Checkpoint.open(tmp_path / "absent")
    with pytest.raises(MissingFileError, match=r"'config\.json' is missing"):
        Checkpoint.open(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingFileError, match=r"no model\*\.safetensors; is this the folder"):
        Checkpoint.open(tmp_path)
    (tmp_path / "consolidated.00.pth").write_bytes(b"")
    with pytest.raises(MissingFileError, match=r"found consolidated\.00\.pth"):
        Checkpoint.open(tmp_path)
    with pytest.raises(CheckpointError, match="a local folder has no revision 'main'"):
        Checkpoint.open(tmp_path, revision="main")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    one = {"model-00001-of-00003.safetensors": {"a": f32(2)}}
    with pytest.raises(
        MissingFileError, match=r"'model-00002-of-00003\.safetensors' of 3 is missing"
    ):
        Checkpoint.open(checkpoint(tmp_path / "no index", one))
    index = {"a": "model-00001-of-00003.safetensors", "b": "model-00003-of-00003.safetensors"}
    with pytest.raises(MissingFileError, match=r"'model-00003-of-00003\.safetensors' is missing"):
        Checkpoint.open(checkpoint(tmp_path / "index", one, index=index))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"a": "model.safetensors", "b": "model.safetensors"}, "tensor 'b' is missing"),
        ({"a": "model.safetensors", "c": "x.safetensors"}, "tensor 'a2' is not in"),
        ({"a": "x.safetensors", "a2": "model.safetensors", "c": "x.safetensors"}, "'a' is missing"),
    ],
)
def test_index_and_shards_must_agree(tmp_path: Path, index: dict[str, str], message: str) -> None:
    shards = {
        "model.safetensors": {"a": f32(1), "a2": f32(1)},
        "x.safetensors": {"c": f32(1)},
    }
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(checkpoint(tmp_path, shards, index=index))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    shards = {"model.safetensors": {"a": f32(1)}, "model.fp16.safetensors": {"a": f32(1)}}
    with pytest.raises(CheckpointError, match="'a' is in both"):
        Checkpoint.open(checkpoint(tmp_path, shards))


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/passwd", "a/../../b.safetensors", "x\0y.safetensors", "x.py",
     "x.safetensors\n", "ſ.safetensors", "", 3, None, ["model.safetensors"]],
)  # fmt: skip
def test_shard_names_are_plain(tmp_path: Path, name: object) -> None:
    folder = checkpoint(tmp_path, {"model.safetensors": {"a": f32(1)}})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="is not allowed"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {}}', "[]", "{"])
def test_malformed_index(tmp_path: Path, text: str) -> None:
    folder = checkpoint(tmp_path, {"model.safetensors": {"a": f32(1)}})
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        Checkpoint.open(folder)


def test_links_must_stay_in_the_folder_or_in_the_blobs_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(safetensors({"a": f32(2)}))
    cached = checkpoint(tmp_path / "snapshots" / "commit", {})
    (cached / "model.safetensors").symlink_to("../../blobs/1")
    assert Checkpoint.open(cached).read("a").tolist() == [0, 1]

    elsewhere = checkpoint(tmp_path / "elsewhere", {})
    (elsewhere / "model.safetensors").symlink_to("../blobs/1")
    with pytest.raises(CheckpointError, match="leads out of the checkpoint"):
        Checkpoint.open(elsewhere)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    folder = checkpoint(tmp_path, {})
    path = folder / "model.safetensors"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    with pytest.raises(CheckpointError):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[1]", "expected an object"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a":' * 100_000, "nested too deep|not valid JSON"),
        (b" " * (8 << 20) + b"{}", "more than 8388608 bytes"),
    ],
)
def test_malformed_config(tmp_path: Path, text: bytes, message: str) -> None:
    folder = checkpoint(tmp_path, {"model.safetensors": {"a": f32(1)}})
    (folder / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


def materialize(oracle: Path, name: str, folder: Path, shards: int) -> Path:
    script = oracle / "checkpoints" / "materialize.py"
    arguments = [name, str(folder / name), "--shards", str(shards)]
    subprocess.run([sys.executable, str(script), *arguments], check=True)
    return folder / name


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", ["llama-deep", "bert", "qwen3_moe"])
def test_oracle_checkpoints_read_as_they_were_written(
    oracle: Path, tmp_path: Path, name: str, shards: int
) -> None:
    spec = importlib.util.spec_from_file_location("m", oracle / "checkpoints" / "materialize.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    opened = Checkpoint.open(materialize(oracle, name, tmp_path, shards))
    specs = json.loads((oracle / "checkpoints" / name / "tensors.json").read_text())
    assert set(opened.tensors) == set(specs)
    for tensor, spec_ in specs.items():
        raw = make.encode(make.values(tensor, spec_["shape"], spec_["kind"]), spec_["dtype"])
        assert opened.read_raw(tensor).tobytes() == raw
        assert opened.shapes[tensor] == tuple(spec_["shape"])


@pytest.mark.parametrize(("shards", "manifest"), [(1, "bf16"), (3, "bf16.shards3")])
def test_order_is_that_of_the_converter(
    oracle: Path, tmp_path: Path, shards: int, manifest: str
) -> None:
    opened = Checkpoint.open(materialize(oracle, "llama-deep", tmp_path, shards))
    expected = json.loads(
        (oracle / "expected" / "llama-deep" / f"source.{manifest}.json").read_text()
    )
    names = {
        "lm_head": "output", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "mlp.down_proj": "ffn_down", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "self_attn.k_proj": "attn_k", "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q", "self_attn.v_proj": "attn_v",
    }  # fmt: skip
    mapped = []
    for tensor in opened.tensors:
        stem = tensor.removesuffix(".weight")
        if stem.startswith("model.layers."):
            _, _, layer, rest = stem.split(".", 3)
            mapped.append(f"blk.{layer}.{names[rest]}.weight")
        else:
            mapped.append(f"{names[stem]}.weight")
    assert mapped == [tensor["name"] for tensor in expected["tensors"]]
