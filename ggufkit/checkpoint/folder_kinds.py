"""What a folder is that has no checkpoint's files, and what to type instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from ggufkit.io.guarded_files import read_json

# More than a checkpoint has; a folder of downloads is not looked through to its end.
MAX_ENTRIES = 4096
Names = Sequence[str]

_CUT = re.compile(
    r"(.+)\.part-?\d+(?:of\d+)?|(.+\.(?:safetensors|bin|gguf))\.?(?:\d{2,3}|[a-z]{2})"
)
_UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".download", ".tmp", ".partial")
_COMPRESSED = (".gz", ".xz", ".bz2", ".zst", ".zip", ".7z", ".tar")
_ELSEWHERE = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "rust_model.ot": "rust-bert",
}
_WEIGHTS = ("model.safetensors", "model-0", "pytorch_model")
_FLOATS = re.compile(r"(?i)(?:^|[-_.])(b?f16|f32)(?=[-_.])")


def describe(folder: Path) -> str:
    """Return what a folder without a checkpoint's files is, and the next step; '' if unknown."""
    try:
        names = [
            path.name for path, _ in zip(sorted(folder.iterdir()), range(MAX_ENTRIES), strict=False)
        ]
    except OSError:
        return ""
    found = (kind(folder, names) for kind in _KINDS)
    return next(filter(None, found), "")


def _adapter(folder: Path, names: Names) -> str:
    if "adapter_config.json" not in names:
        return ""
    settings = read_json(folder, "adapter_config.json")
    kind = str(settings.get("peft_type") or "LORA")[:40]
    base = str(settings.get("base_model_name_or_path") or "some model")[:100]
    if kind != "LORA" or settings.get("use_dora"):
        return (
            f"it is an adapter ({'DoRA' if kind == 'LORA' else kind}), not a model: merge it into "
            f"its base {base} with PEFT's merge_and_unload, and convert what that saves"
        )
    at = shlex.quote(str(folder))
    return (
        f"it is an adapter of {base}, not a model. With the folder or name of that as BASE: "
        f"'ggufkit lora {at} --base BASE' makes a GGUF adapter, 'ggufkit convert BASE --merge-lora "
        f"{at} -o OUT' a model with the adapter merged in"
    )


def _diffusers(folder: Path, names: Names) -> str:  # noqa: ARG001
    if "model_index.json" not in names and not any(n.startswith("diffusion_") for n in names):
        return ""
    return "it is a pipeline or a part of one of diffusers, which makes images; no language model"


def _gguf(folder: Path, names: Names) -> str:
    files = [name for name in names if name.lower().endswith(".gguf")]
    if not files:
        return ""
    best = next((name for name in files if _FLOATS.search(name)), files[0])
    again = "" if _FLOATS.search(best) else " --allow-requantize"
    at = shlex.quote(str(folder / best))
    return f"it has GGUF files: name one of them, as in 'ggufkit convert {at}{again}'"


def _consolidated(folder: Path, names: Names) -> str:  # noqa: ARG001
    found = next((n for n in names if n.startswith("consolidated")), None)
    if found is None:
        return ""
    return (
        f"found {found}, in the layout of the model's authors (Meta's or Mistral's), not in that "
        "of Hugging Face: take config.json and model*.safetensors from a repository that has them, "
        "or make them with the conversion script of transformers for this model"
    )


def _other_frameworks(folder: Path, names: Names) -> str:
    found = next((n for n in names if n in _ELSEWHERE), None)
    if found is not None:
        return (
            f"{found} has weights for {_ELSEWHERE[found]}: take the repository's safetensors, or "
            "load them in transformers 4 and save them with save_pretrained"
        )
    if any(n.endswith(".onnx") for n in names) or any((folder / "onnx").glob("*.onnx")):
        return "it has weights in ONNX only: take safetensors, from the model it was exported from"
    if "weights.npz" in names:
        return "weights.npz is of an old version of MLX: take the safetensors of the original model"
    return ""


def _unfinished(folder: Path, names: Names) -> str:  # noqa: ARG001
    for name in names:
        if name.endswith(_COMPRESSED):
            return f"{name} is compressed: unpack it first"
        if match := _CUT.fullmatch(name):
            whole = match[1] or match[2]
            return f"{name} is a piece of a file: join the pieces in their order to {whole}"
        if name.endswith(_UNFINISHED):
            return f"{name} is a download that was not finished"
    return ""


def _other_names(folder: Path, names: Names) -> str:  # noqa: ARG001
    weights = [n for n in names if n.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt"))]
    plain = [name for name in weights if name.endswith(".safetensors")]
    if not weights:
        return ""
    rename = "; if it is the whole model, rename it to model.safetensors" if len(plain) == 1 else ""
    found = (plain or weights)[0]
    return f"found {found}, which is not a name that Hugging Face uses for weights{rename}"


def _inner(folder: Path, names: Names) -> str:
    inner = next((name for name in names if (folder / name / "config.json").is_file()), None)
    return f"a checkpoint is in {shlex.quote(str(folder / inner))}: name that" if inner else ""


def _no_config(folder: Path, names: Names) -> str:  # noqa: ARG001
    if "config.json" in names or not any(name.startswith(_WEIGHTS) for name in names):
        return ""
    return (
        "it has weights, but not what they are: put config.json and the tokenizer's files of the "
        "model's repository next to them"
    )


_KINDS: tuple[Callable[[Path, Names], str], ...] = (
    _adapter,
    _diffusers,
    _gguf,
    _consolidated,
    _other_frameworks,
    _unfinished,
    _inner,
    _no_config,
    _other_names,
)
