"""Make a case of tests/architectures/converted with transformers' class and llama.cpp's converter.

    python scripts/make_converted.py NAME CONFIG.json LLAMA_CPP

It needs an environment of its own with torch, transformers, safetensors and numpy, and a tree of
llama.cpp, whose gguf-py is used. CONFIG.json is a config.json as it would be published, with small
sizes; its ``architectures`` name the class. It may be a whole case instead, with keys ``config``
and ``checkpoint``, where published checkpoints have other names or shapes than the class.
``--files DIR`` adds files of the checkpoint that the converter reads besides (modules.json). The
vocabulary is made up: tokenizers are tested elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


#: transformers' names of classes that publishers call otherwise.
CLASSES = {"PhiMoEForCausalLM": "PhimoeForCausalLM"}


def checkpoint_shapes(config: dict[str, Any], folder: Path) -> dict[str, tuple[str, list[int]]]:
    """Return dtype and shape of what transformers' class saves, by name."""
    import torch
    import transformers

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    name = config["architectures"][0]
    cls = getattr(transformers, CLASSES.get(name, name))
    loaded = cls.config_class.from_pretrained(folder)
    model = cls(loaded).to(torch.bfloat16)
    model.save_pretrained(folder)
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"]) for name, entry in sorted(header.items())}


def convert(folder: Path, out: Path, n_tokens: int) -> None:
    """Run llama.cpp's converter, with a made-up vocabulary, to BF16."""
    import gguf
    import torch
    from conversion import ModelBase, ModelType, TextModel, get_model_architecture, get_model_class

    tokens = [f"token {i}" for i in range(n_tokens)]
    model = {"vocab": {token: i for i, token in enumerate(tokens)}}
    tokenizer = {"model": model, "added_tokens": []}  # some classes count these
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def add_tokens(self: Any, *_: Any, **__: Any) -> None:
        self.gguf_writer.add_token_list(tokens)

    for name in dir(TextModel):
        if name.startswith("_set_vocab_"):
            setattr(TextModel, name, add_tokens)
    TextModel.get_vocab_base = lambda _: (tokens, [1] * n_tokens, "default")
    architecture = get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT)
    cls = get_model_class(architecture)
    own = cls.set_vocab

    def set_vocab(self: Any) -> None:
        try:
            own(self)
        except (OSError, ValueError, KeyError, ImportError):  # it reads files that are not there
            add_tokens(self)

    cls.set_vocab = set_vocab
    with torch.inference_mode():
        cls(folder, gguf.LlamaFileType.MOSTLY_BF16, out).write()


def describe(out: Path) -> dict[str, Any]:
    """Return the metadata (but the tokenizer's) and tensors of a file."""
    from gguf import GGUFReader

    file = GGUFReader(out)
    metadata = [
        [key, "/".join(t.name for t in field.types), field.contents()]
        for key, field in file.fields.items()
        if not key.startswith(("GGUF.", "tokenizer."))
    ]
    tensors = [
        [
            t.name,
            [int(n) for n in t.shape][::-1],
            t.tensor_type.name,
            hashlib.sha256(t.data.tobytes()).hexdigest()[:16],
        ]
        for t in file.tensors
    ]
    return {"metadata": metadata, "tensors": tensors}


def write_case(path: Path, case: dict[str, Any]) -> None:
    """Write a case: one key, one checkpoint tensor or one entry a line."""
    lines = [f' "{key}": {json.dumps(case[key])}' for key in ("config", "files", "n_tokens")]
    entries = [f"  {json.dumps(n)}: {json.dumps(t)}" for n, t in case["checkpoint"].items()]
    lines.append(' "checkpoint": {\n' + ",\n".join(entries) + "\n }")
    for key in ("metadata", "tensors"):
        rows = ",\n".join(f"  {json.dumps(row)}" for row in case[key])
        lines.append(f' "{key}": [\n{rows}\n ]')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> int:
    """Make a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("config", type=Path)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("--files", type=Path)
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(args.llama_cpp / "gguf-py"), str(args.llama_cpp)]
    from tests.architectures.checkpoints import write_checkpoint

    logging.disable(logging.WARNING)
    given = json.loads(args.config.read_text())
    config = given.get("config", given)
    paths = sorted(p for p in args.files.rglob("*") if p.is_file()) if args.files else []
    files = {str(p.relative_to(args.files)): json.loads(p.read_text()) for p in paths}
    files |= given.get("files", {}) if "config" in given else {}
    with tempfile.TemporaryDirectory() as temporary:
        saved = Path(temporary) / "saved"
        shapes = given.get("checkpoint") or checkpoint_shapes(config, saved)
        folder = Path(temporary) / args.name
        write_checkpoint(folder, config, shapes)
        for path, content in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(json.dumps(content))
        n_tokens = (config.get("text_config") or config)["vocab_size"]
        convert(folder, Path(temporary) / "out.gguf", n_tokens)
        described = describe(Path(temporary) / "out.gguf")
    case = {"config": config, "files": files, "n_tokens": n_tokens, "checkpoint": shapes}
    out = ROOT / "tests" / "architectures" / "converted" / f"{args.name}.json"
    write_case(out, case | described)
    return 0


if __name__ == "__main__":
    sys.exit(main())
