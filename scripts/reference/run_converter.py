"""Make a case of tests/architectures/converted with transformers' class and llama.cpp's converter.

    python scripts/reference/run_converter.py REQUEST.json FOLDER LLAMA_CPP

Runs in the reference environment (see `reference.environment`); ``scripts/new_architecture`` calls
it. It writes into FOLDER: the checkpoint, ``llama.cpp.gguf``, ``case.json``, and ``found.json``
with what only transformers and the converter can tell. The vocabulary is made up: tokenizers are
tested elsewhere.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.reference.case import describe, write_files  # noqa: E402
from scripts.reference.tiny_config import shrink, text_part  # noqa: E402

Config = dict[str, Any]
Shapes = dict[str, Any]

#: transformers' names of classes that publishers call otherwise.
CLASSES = {"PhiMoEForCausalLM": "PhimoeForCausalLM"}


def model_class(name: str) -> Any:
    """Return transformers' class of a name in config.json, None if it has none."""
    import transformers

    found = getattr(transformers, CLASSES.get(name, name), None)
    return found if hasattr(found, "config_class") else None


def default_config(name: str) -> Config | None:
    """Return transformers' defaults for a class, as it would save them, None if it has none."""
    cls = model_class(name)
    if cls is None:
        return None
    config = cls.config_class().to_diff_dict()
    return {key: value for key, value in config.items() if key != "transformers_version"}


def required_class(name: str) -> Any:
    """Return transformers' class of a name, or end the program."""
    cls = model_class(name)
    if cls is None:
        sys.exit(
            f"transformers has no class {name}: give --config a case with "
            '"config" and "checkpoint" (names -> [dtype, shape])'
        )
    return cls


def tiny_config(name: str, defaults: Config) -> Config:
    """Return a small config of a class, with the keys that transformers would save."""
    config = required_class(name).config_class.from_dict(shrink(defaults)).to_diff_dict()
    config.pop("transformers_version", None)
    return {"architectures": [name], **config}


def checkpoint_shapes(config: Config, folder: Path) -> Shapes:
    """Return dtype and shape of what transformers' class saves, by name."""
    import torch

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    cls = required_class(config["architectures"][0])
    model = cls(cls.config_class.from_pretrained(folder)).to(torch.bfloat16)
    model.save_pretrained(folder)
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"]) for name, entry in sorted(header.items())}


def converter_class(folder: Path, verbatim: bool) -> Any:
    """Return the converter's class for a checkpoint.

    With `verbatim`, the converter reads config.json itself. Otherwise it asks AutoConfig first,
    which refuses some published files or renames their keys.
    """
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    if verbatim:
        read = json.loads((folder / "config.json").read_text())
        ModelBase.load_hparams = staticmethod(lambda *_: json.loads(json.dumps(read)))
    hparams = ModelBase.load_hparams(folder, False)
    return get_model_class(get_model_architecture(hparams, ModelType.TEXT))


def made_up_vocabulary(cls: Any, folder: Path, n_tokens: int) -> list[str]:
    """Have the converter write a made-up vocabulary; the list names the methods it asks for."""
    from conversion import TextModel

    tokens = [f"token {i}" for i in range(n_tokens)]
    model = {"type": "WordPiece", "vocab": {token: i for i, token in enumerate(tokens)}}
    tokenizer = {"model": model, "added_tokens": []}  # what some classes look at
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    asked = []

    def add_tokens(self: Any, *_: Any, **__: Any) -> None:
        self.gguf_writer.add_token_list(tokens)

    def asked_for(name: str) -> Any:
        def add(self: Any, *_: Any, **__: Any) -> None:
            asked.append(name)
            add_tokens(self)

        return add

    for name in dir(TextModel):
        if name.startswith("_set_vocab_"):
            setattr(TextModel, name, asked_for(name))
    TextModel.get_vocab_base = lambda _: (tokens, [1] * n_tokens, "default")
    own = cls.set_vocab

    def set_vocab(self: Any) -> None:
        try:
            own(self)
        except (Exception, SystemExit):  # it reads files that do not exist
            add_tokens(self)

    cls.set_vocab = set_vocab
    return asked


def convert(folder: Path, out: Path, n_tokens: int, verbatim: bool = False) -> dict[str, Any]:
    """Run llama.cpp's converter to BF16, and return which of its code ran."""
    import gguf
    import torch

    cls = converter_class(folder, verbatim)
    asked = made_up_vocabulary(cls, folder, n_tokens)
    with torch.inference_mode():
        cls(folder, gguf.LlamaFileType.MOSTLY_BF16, out).write()
    return {
        "converter": f"{cls.__module__.replace('.', '/')}.py {cls.__name__}",
        "vocabulary": asked,
    }


def run(request: dict[str, Any], folder: Path) -> None:
    """Make the case of a request."""
    name, config = request["class"], request["config"]
    defaults = default_config(name)
    if config is None:
        config = tiny_config(name, defaults or {})
    config = config if "architectures" in config else {"architectures": [name], **config}
    config = {**config, **request["set"]}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = request["checkpoint"] or checkpoint_shapes(config, folder / "saved")
    checkpoint = folder / "checkpoint" / request["name"]
    case = {"config": config, "files": request["files"]}
    case["n_tokens"] = text_part(config)["vocab_size"]
    case["checkpoint"] = shapes
    write_files(checkpoint, case)
    out = folder / "llama.cpp.gguf"
    found = convert(checkpoint, out, case["n_tokens"], request["verbatim"])
    (folder / "case.json").write_text(json.dumps(case | describe(out)))
    (folder / "found.json").write_text(json.dumps(found | {"defaults": defaults}))


def main(request: Path, folder: Path, llama_cpp: Path) -> int:
    """Make the case of a request's file."""
    sys.path[:0] = [str(llama_cpp / "gguf-py"), str(llama_cpp)]
    logging.disable(logging.WARNING)
    run(json.loads(request.read_text()), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
