"""The program of ``scripts/new_architecture``: compare what llama.cpp and ggufkit write."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import ggufkit
from ggufkit.errors import GGUFKitError, UnknownArchitectureError
from ggufkit.mapping.blocks import decoder
from scripts.reference import case as cases
from scripts.reference.differences import data_difference, differences
from scripts.reference.environment import VARIABLE, chosen, run
from scripts.reference.origins import RowIndex, patterns
from scripts.reference.skeleton import skeleton
from scripts.reference.tiny_config import changes, shrink
from tests.architectures.checkpoints import weights
from tests.architectures.test_converted import patch_vocabulary

HERE = Path(__file__).parent
OURS, THEIRS = "ggufkit.gguf", "llama.cpp.gguf"

DESCRIPTION = """\
Make a tiny checkpoint of a class, convert it with llama.cpp's converter, store what that wrote as
test data, and print every difference to what ggufkit makes of the same checkpoint. For a class
without an architecture file, print what llama.cpp wrote, where its tensors come from, and a draft
of the file. Exits with 0 only if there is no difference, with 1 if there are some, with 2 if there
is nothing to compare.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser("scripts/new_architecture", description=DESCRIPTION)
    add = made.add_argument
    add("hf_class", metavar="CLASS", help="the entry of architectures in config.json")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help='a config.json, or a whole case with "config" and "checkpoint" (names -> [dtype, '
        "shape]); without it, transformers' defaults are shrunk",
    )
    add("--shrink", action="store_true", help="shrink the config of --config, too")
    add(
        "--set",
        type=assignment,
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="change one key of the config; may be repeated",
    )
    add("--name", help="the case's name (default: model_type)")
    add(
        "--files",
        type=Path,
        metavar="FOLDER",
        help="JSON files of the checkpoint that the converter reads besides config.json",
    )
    add(
        "--verbatim-config",
        action="store_true",
        help="have the converter read config.json itself, without asking transformers' AutoConfig",
    )
    add(
        "--env",
        type=Path,
        metavar="FOLDER",
        help=f"where torch, transformers and llama.cpp's converter are, or will be installed "
        f"(default: ${VARIABLE}, or ~/.cache/ggufkit/reference)",
    )
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        default=cases.FOLDER,
        help="where the case is stored (default: tests/architectures/converted)",
    )
    add("--replace", action="store_true", help="replace a stored case that is different")
    add(
        "--reference",
        action="store_true",
        help="then have transformers' class compute what the model says, for the comparison with "
        "what llama.cpp computes (scripts/make_references.py)",
    )
    add("--draft", action="store_true", help="print the draft also where ggufkit has the class")
    return made


def assignment(text: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``, where the value is JSON or else a string."""
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected KEY=JSON, not {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def request(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `run_converter` needs to know."""
    given = json.loads(args.config.read_text()) if args.config else {}
    is_case = isinstance(given.get("config"), dict)
    config = given["config"] if is_case else given or None
    if args.shrink and (is_case or config is None):
        parser().error("--shrink needs a config.json as --config")
    classes = (config or {}).get("architectures") or [args.hf_class]
    if args.hf_class not in classes:
        parser().error(f"{args.config} is of {', '.join(classes)}, not of {args.hf_class}")
    return {
        "class": args.hf_class,
        "name": args.name or (config or {}).get("model_type") or args.hf_class,
        "given": config,
        "config": shrink(config) if args.shrink else config,
        "checkpoint": given.get("checkpoint") if is_case else None,
        "files": (given.get("files", {}) if is_case else {}) | read_files(args.files),
        "set": dict(args.set),
        "verbatim": args.verbatim_config,
    }


def read_files(folder: Path | None) -> dict[str, Any]:
    """Return the JSON files of a folder, by their path inside it."""
    paths = sorted(folder.rglob("*.json")) if folder else []
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in paths}


def convert(case: cases.Case, folder: Path, name: str) -> Path:
    """Convert a case's checkpoint with ggufkit, with the made-up vocabulary."""
    cases.write_files(folder / name, case)
    with pytest.MonkeyPatch.context() as patch:
        patch_vocabulary(patch, case["n_tokens"])
        ggufkit.convert(folder / name, folder / OURS, ladder="BF16")
    return folder / OURS


def compare(folder: Path, ours: Path) -> list[str]:
    """Return every difference between the two files."""
    theirs = folder / THEIRS
    values = [read_values(path) for path in (theirs, ours)]

    def explain(name: str) -> str:
        return data_difference(*(tensors[name] for tensors in values))

    return differences(cases.describe(theirs), cases.describe(ours), explain)


def read_values(path: Path) -> dict[str, np.ndarray]:
    """Return the values of a file's tensors, in float32."""
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        for t in gguf.GGUFReader(path).tensors
    }


def checkpoint_values(case: cases.Case) -> dict[str, np.ndarray]:
    """Return the values of a case's checkpoint, in float32; packed tensors are left out."""
    values = {}
    for name, (dtype, shape) in case["checkpoint"].items():
        raw = weights(name, shape, dtype)
        if dtype == "BF16":
            bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
            values[name] = bits.view("<f4").reshape(shape)
        elif dtype in ("F16", "F32"):
            flat = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[dtype])
            values[name] = flat.astype("<f4").reshape(shape)
    return values


def print_draft(case: cases.Case, found: dict[str, Any], path: Path) -> None:
    """Print what llama.cpp wrote, and a draft of the architecture file."""
    print("\nllama.cpp's metadata, in its order:")
    for key, kind, value in case["metadata"]:
        print(f"  {key} = {json.dumps(value)} ({kind})")
    print("\nllama.cpp's tensors, in its order, and where their values come from:")
    shapes = {name: (kind, shape) for name, shape, kind, _ in case["tensors"]}
    index = RowIndex(checkpoint_values(case))
    found_origins = [index.origin(*entry) for entry in read_values(path).items()]
    seen = patterns(found_origins)
    for pattern in seen:
        kind, shape = shapes[pattern.example]
        blocks = f", blocks {_ranges(pattern.blocks)}" if pattern.blocks else ""
        print(f"  {pattern.name} {kind} {shape}{blocks}")
        print(f"      {pattern.how}: {' + '.join(pattern.sources) or '?'}")
    used = {source for origin in found_origins for source in origin.sources}
    unused = case["checkpoint"].keys() - used
    if unused:
        print("\nof the checkpoint, nothing was found of:", ", ".join(sorted(unused)))
    common = {weight.name: weight.source for weight in decoder()}
    name = next(value for key, _, value in case["metadata"] if key == "general.architecture")
    print(f"\na draft of ggufkit/architectures/{name.replace('-', '_')}.py:\n")
    print(skeleton(case, found, seen, common))


def _ranges(numbers: Sequence[int]) -> str:
    if len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}..{numbers[-1]}"
    return ", ".join(map(str, numbers))


def store(case: cases.Case, path: Path, replace: bool) -> None:
    """Store a case, but replace another one only if told to."""
    text = cases.as_text(case)
    if path.is_file() and path.read_text() == text:
        print(f"{path}: unchanged")
    elif path.is_file() and not replace:
        print(f"{path}: left as it is, though it is different; --replace writes the new one")
    else:
        path.write_text(text)
        print(f"{path}: written")


def print_choices(before: cases.Case | None, after: cases.Case) -> None:
    """Print which values of the config were chosen."""
    lines = changes(before or after, after)
    print(f"{len(lines)} values of the config chosen:" if lines else "the config as it was given")
    for line in lines:
        print(f"  {line}")


def print_failure(config: Path) -> None:
    """Say what can be done where transformers or the converter failed."""
    if config.is_file():
        print(f"this failed with the config {config.read_text()}")
        print(
            "--set changes keys of it, --config gives another one; where AutoConfig is the "
            "reason (a KeyError of the converter's, a field that is refused), try --verbatim-config"
        )


def report(
    args: argparse.Namespace, folder: Path, case: cases.Case, found: dict[str, Any], name: str
) -> int:
    """Print what there is to know, and return the exit status."""
    try:
        lines = compare(folder, convert(case, folder / "ours", name))
    except UnknownArchitectureError as error:
        print_draft(case, found, folder / THEIRS)
        print(f"ggufkit has no architecture file for {args.hf_class}; closest: {error.closest}")
        return 1
    except GGUFKitError as error:
        print_draft(case, found, folder / THEIRS)
        print(f"ggufkit refuses the checkpoint: {error}")
        return 1
    if args.draft:
        print_draft(case, found, folder / THEIRS)
    for line in lines:
        print(line)
    n_keys, n_tensors = len(case["metadata"]), len(case["tensors"])
    print(f"{len(lines)} differences in {n_keys} keys and {n_tensors} tensors")
    return 1 if lines else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    args = parser().parse_args(argv)
    asked = request(args)
    environment = chosen(args.env)
    environment.prepare()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "request.json").write_text(json.dumps(asked))
        script = HERE / "run_converter.py"
        if run(environment, script, folder / "request.json", folder, environment.llama_cpp):
            print_failure(folder / "config.json")
            return 2
        case = json.loads((folder / "case.json").read_text())
        found = json.loads((folder / "found.json").read_text())
        print_choices(asked["given"] or found["defaults"], case["config"])
        store(case, args.data / f"{asked['name']}.json", args.replace)
        status = report(args, folder, case, found, asked["name"])
    if args.reference and run(environment, HERE.parent / "make_references.py", asked["name"]):
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
