"""Folders without a checkpoint's files, and files that are something else: named, with a way on."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source
from ggufkit.errors import UnknownArchitectureError
from ggufkit.io.file_kinds import mistaken_for
from tests.checkpoint.build import safetensors
from tests.checkpoint.test_quantized import entry
from tests.llama import write_llama

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4\n"
HTML = b"\n<!DOCTYPE html><html><body>Sign in</body></html>"


def without(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def instead(old: str, new: str, content: bytes | None = None) -> Callable[[Path], None]:
    """Give the file `old` another name, and other content if there is any."""

    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        data = (folder / old).read_bytes() if content is None else content
        (folder / old).unlink()
        (folder / new).write_bytes(data)

    return change


def inside(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        files = [*folder.iterdir()]
        (folder / name).mkdir()
        for file in files:
            file.rename(folder / name / file.name)

    return change


W, C = "model.safetensors", "config.json"
NOT_IT = "which is not a name that Hugging Face uses for weights"
FOLDERS = {
    "diffusers": (instead(C, "model_index.json", b"{}"), "diffusers"),
    "part of diffusers": (instead(W, "diffusion_pytorch_model.safetensors"), "diffusers"),
    "gguf": (instead(W, "m-F16.gguf"), "ggufkit convert"),
    "quantized gguf": (instead(W, "m-Q4_0.gguf"), "m-Q4_0.gguf --allow-requantize"),
    "consolidated": (instead(W, "consolidated.00.pth"), "conversion script of transformers"),
    "consolidated alone": (
        lambda f: [instead(W, "consolidated.safetensors")(f), without(C)(f)],
        "layout of the model's authors",
    ),
    "tensorflow": (instead(W, "tf_model.h5"), "TensorFlow"),
    "flax": (instead(W, "flax_model.msgpack"), "Flax"),
    "onnx": (instead(W, "onnx/model.onnx"), "ONNX only"),
    "onnx flat": (instead(W, "model.onnx"), "ONNX only"),
    "npz": (instead(W, "weights.npz"), "MLX"),
    "no config": (without(C), "put config.json and the tokenizer's files"),
    "pieces": (instead(W, f"{W}.part1of2"), f"join the pieces in their order to {W}"),
    "numbered pieces": (instead(W, f"{W}.001"), f"join the pieces in their order to {W}"),
    "split": (instead(W, f"{W}.aa"), f"join the pieces in their order to {W}"),
    "gz": (instead(W, f"{W}.gz"), "unpack it first"),
    "unfinished": (instead(W, f"{W}.incomplete"), "was not finished"),
    "another name": (instead(W, "llama.safetensors"), f"{NOT_IT}; if it is the whole model"),
    "checkpoint-500": (inside("checkpoint-500"), "checkpoint-500: name that"),
}
FILES = {
    "pointer": (W, LFS, "git lfs pull"),
    "pointer for a config": (C, LFS, "git lfs pull"),
    "pointer for a tokenizer": ("tokenizer.json", LFS, "git lfs pull"),
    "page": (W, HTML, "page of a web server"),
    "page for a config": (C, HTML, "page of a web server"),
    "page for a tokenizer": ("tokenizer.json", HTML, "page of a web server"),
    "gzip": (W, gzip.compress(b"x" * 99), "gzip"),
    "zip": (W, b"PK\x03\x04" + bytes(99), "ZIP"),
    "gguf": (W, b"GGUF\3" + bytes(99), ".gguf"),
    "old pickle": (W, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(99), "pickle"),
}


def refused(source: Path, out: Path, capsys) -> str:
    assert main(["convert", str(source), "-o", str(out)]) == 3
    assert not list(out.glob("*.gguf"))
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path, kind: str, capsys) -> None:
    change, said = FOLDERS[kind]
    change(write_llama(tmp_path / "m"))
    assert said in refused(tmp_path / "m", tmp_path / "out", capsys)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, kind: str, capsys) -> None:
    name, content, said = FILES[kind]
    (write_llama(tmp_path / "m") / name).write_bytes(content)
    error = refused(tmp_path / "m", tmp_path / "out", capsys)
    assert said in error
    assert name in error


@pytest.mark.parametrize("content", [LFS, HTML])
def test_so_is_what_should_be_a_gguf_or_torch_file(tmp_path: Path, content: bytes, capsys) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    assert mistaken_for(content) in refused(tmp_path / "m.gguf", tmp_path / "out", capsys)
    folder = write_llama(tmp_path / "m")
    instead(W, "pytorch_model.bin", content)(folder)
    assert mistaken_for(content) in refused(folder, tmp_path / "out", capsys)


def test_a_header_whose_length_looks_like_another_kind_is_read(tmp_path: Path) -> None:
    """Its eight bytes of length may be those that a pickle begins with: 0x0280 = 640."""
    folder = write_llama(tmp_path / "m")
    data = (folder / W).read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + n].rstrip()
    length = (len(header) // 65536 + 1) * 65536 + 0x0280
    padded = length.to_bytes(8, "little") + header.ljust(length)
    assert padded.startswith(b"\x80\x02")
    (folder / W).write_bytes(padded + data[8 + n :])
    assert open_source(folder, self_test=False).tensors


def test_a_file_of_a_folder_is_no_source(tmp_path: Path, capsys) -> None:
    folder = write_llama(tmp_path / "m")
    error = refused(folder / W, tmp_path / "out", capsys)
    assert f"name the folder of the checkpoint, {folder}" in error


def write_adapter(folder: Path, base: Path, **settings) -> Path:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    config |= {"base_model_name_or_path": str(base), **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text((base / "config.json").read_text())
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    parts = {"A": np.ones((2, 256), np.float32), "B": np.ones((256, 2), np.float32)}
    entries = {name.format(half): entry("F32", values) for half, values in parts.items()}
    (folder / "adapter_model.safetensors").write_bytes(safetensors(entries))
    return folder


@pytest.mark.parametrize("name", ["adapter", "an adapter's folder"])
def test_an_adapter_is_named_and_the_commands_work(tmp_path: Path, name: str, capsys) -> None:
    base = write_llama(tmp_path / "base")
    folder = write_adapter(tmp_path / name, base)
    error = refused(folder, tmp_path / "out", capsys)
    assert f"an adapter of {base}" in error
    parts = error.partition("as BASE: ")[2]
    commands = re.findall(r"'(ggufkit (?:lora|convert).*?)' (?:makes|a model)", parts)
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command)[1:]
        words = [{"BASE": str(base), "OUT": str(tmp_path / "made")}.get(w, w) for w in words]
        more = ["--ladder", "F16", "--no-self-test"] if words[0] == "convert" else []
        assert main([*words, *more]) == 0, command
    assert list((tmp_path / "made").glob("*.gguf"))
    assert list(folder.glob("*.gguf"))


@pytest.mark.parametrize("settings", [{"peft_type": "IA3"}, {"use_dora": True}])
def test_an_adapter_that_can_not_be_converted_is_sent_to_peft(
    tmp_path: Path, settings: dict, capsys
) -> None:
    folder = write_adapter(tmp_path / "a", write_llama(tmp_path / "base"), **settings)
    error = refused(folder, tmp_path / "out", capsys)
    assert "merge_and_unload" in error
    assert "ggufkit lora" not in error


def test_an_adapter_beside_a_model_is_said(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "--merge-lora" in open_source(folder, self_test=False).origin["notes"][-1]


HINTS = {
    "MistralModel": ("MistralForCausalLM", "write that name into"),
    "Llama5ForCausalLM": ("LlamaForCausalLM", "write that name into"),
    "FooBarForCausalLM": ("LlamaForCausalLM", "write that name into"),
    "MistralForTokenClassification": ("MistralForCausalLM", "It is a classifier"),
    "LlamaForSequenceClassification": ("LlamaForCausalLM", "It is a classifier"),
}


@pytest.mark.parametrize("given", HINTS)
def test_a_hint_names_a_near_class_and_what_is_advised_works(tmp_path: Path, given: str) -> None:
    closest, said = HINTS[given]
    folder = write_llama(tmp_path / "m")
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "architectures": [given], "model_type": "x"}
    path.write_text(json.dumps(config))
    with pytest.raises(UnknownArchitectureError, match=said) as caught:
        open_source(folder)
    assert caught.value.closest == closest
    if "write that name into" in str(caught.value):
        path.write_text(json.dumps({**config, "architectures": [closest]}))
        assert open_source(folder, self_test=False).tensors


def test_generic_is_advised_only_where_it_works(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "architectures": ["Xyz"], "model_type": "gptj"}))
    with pytest.raises(UnknownArchitectureError, match="does not have all of its tensors"):
        open_source(folder)
    path.write_text(json.dumps({**config, "architectures": ["Xyz"], "model_type": "llama"}))
    with pytest.raises(UnknownArchitectureError, match="--generic converts it"):
        open_source(folder)
    assert open_source(folder, self_test=False, generic=True).tensors


def test_without_likeness_no_class_is_named() -> None:
    from ggufkit.architectures.registry import find_architecture

    with pytest.raises(UnknownArchitectureError, match="none that it knows is like it") as caught:
        find_architecture({"architectures": ["Wav2Vec2ForCTC"]}, ["wav2vec2.masked_spec_embed"])
    assert caught.value.closest is None
