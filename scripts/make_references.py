"""Compute what transformers' classes say on the tiny checkpoints of tests/architectures/converted.

    python scripts/make_references.py [NAME...]

It runs in the environment that ``scripts/new_architecture`` makes, with torch and transformers
5.23; the tests read only what it writes, tests/architectures/references.json. Each class loads its
checkpoint in float32, with no weight missing and none left over, and reads the tokens of
`tests.architectures.references.PROMPT`. Fails if one of the cases could not be computed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from reference.run_converter import CLASSES
from reference_classes import EQUIVALENTS, attention_mask
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.architectures.references import (  # noqa: E402
    NOT_COMPARED,
    PROMPT,
    REFERENCES,
    UNSCORED,
    read_case,
    write_case,
)

N_VALUES = 256
POOLING = {1: "mean", 2: "cls", 3: "last"}

# Heads and the like that a file with embeddings lacks, and transformers' class has.
UNUSED = ("vocab_transform", "vocab_layer_norm", "vocab_projector", "cls.", "lm_head", "pooler.")


def load(folder: Path, config: dict[str, Any]) -> torch.nn.Module:
    """Return the model of a folder, in float32."""
    name = config["architectures"][0]
    cls = getattr(transformers, CLASSES.get(name, name))
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    model, info = cls.from_pretrained(folder, output_loading_info=True, **options)
    problems = {
        kind: [name for name in names if not str(name).startswith(UNUSED)]
        for kind, names in info.items()
    }
    if any(problems.values()):
        raise ValueError(f"{folder.name}: {problems}")
    return model.eval()


def compute(name: str, folder: Path) -> dict[str, Any]:
    """Return what a case computes, as references.json has it."""
    case = read_case(name)
    path, config = write_case(name, folder), case["config"]
    if name in EQUIVALENTS:
        config, tensors = EQUIVALENTS[name](config, load_file(path / "model.safetensors"))
        (path / "config.json").write_text(json.dumps(config))
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
    model = load(path, config)
    keys = {key.split(".", 1)[1]: value for key, _, value in case["metadata"]}
    pooling = POOLING.get(keys.get("pooling_type", 0), "none")
    is_classifier = hasattr(model, "classifier") and name not in UNSCORED
    tokens = torch.tensor([PROMPT])
    is_embedding = not hasattr(model, "generate") or not model.can_generate()
    with torch.inference_mode():
        if is_embedding:
            kind = "score" if is_classifier else "embedding"
            values = (
                model(input_ids=tokens).logits[0]
                if is_classifier
                else embedding(model, tokens, pooling)
            )
        elif model.config.is_encoder_decoder:
            start = torch.tensor([[model.config.decoder_start_token_id]])
            output = model(input_ids=tokens, decoder_input_ids=start)
            kind, values = "encoder-decoder", output.logits[0, -1].log_softmax(0)
        else:
            mask = attention_mask(config, keys.get("attention.causal", True), len(PROMPT))
            output = model(input_ids=tokens, attention_mask=mask)
            kind, values = "decoder", output.logits[0, -1].log_softmax(0)
    return {
        "hf_class": case["config"]["architectures"][0],
        "computed_by": type(model).__name__,
        "kind": kind,
        "values": [round(v, 6) for v in values[:N_VALUES].tolist()],
    }


def embedding(model: Any, tokens: Tensor, pooling: str) -> Tensor:
    """Return a text's embedding, or its last token's."""
    base = model if type(model).__name__.endswith("Model") else model.base_model
    hidden = base(input_ids=tokens).last_hidden_state[0]
    return {"mean": hidden.mean(0), "cls": hidden[0]}.get(pooling, hidden[-1])


def write(references: dict[str, Any]) -> None:
    """Write references.json, a line for each case."""
    lines = (f"{json.dumps(n)}: {json.dumps(r)}" for n, r in sorted(references.items()))
    REFERENCES.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(names: list[str]) -> int:
    """Compute all cases, or those named; say which could not be."""
    references = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    converted = {path.stem for path in (REFERENCES.parent / "converted").glob("*.json")}
    known = sorted(converted - NOT_COMPARED.keys())
    references = {name: r for name, r in references.items() if name in known}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or known:
            try:
                references[name] = compute(name, Path(folder))
            except Exception:  # one class that fails must not hide the others
                references.pop(name, None)
                failed.append(name)
                sys.stderr.write(f"{name}: {traceback.format_exc(limit=-2)}\n")
            mock.patch.stopall()
    write(references)
    return 1 if failed else 0


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    sys.exit(main(sys.argv[1:]))
