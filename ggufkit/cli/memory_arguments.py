"""Arguments of `fit` and `recommend`: a model, its rungs, and memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli.arguments import CommandParser, add_count, refuse

if TYPE_CHECKING:
    import argparse

    from ggufkit.toolbox.fit.fit import Fit


def add_memory_arguments(parser: CommandParser, *, ladder: str) -> None:
    """Declare what `run_fit` reads; `ladder` says what the rungs are by default."""
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="GGUF file, folder of GGUF files, or checkpoint")
    add("--params", metavar="N", help="instead of MODEL: size of a dense model, such as 70B")
    add("--ladder", metavar="TYPES", help=f"rungs to plan, as for convert; default: {ladder}")
    add_count(parser, "-c", "--context", text="tokens of context; default: 8192 or less")
    add(
        "--kv",
        metavar="TYPE",
        default="f16",
        help="type of the KV cache: f16, q8_0, q4_0, ...; default: %(default)s",
    )
    add("--vram", metavar="SIZE", help="GPU memory, such as 24G; without --ram, all must fit there")
    add("--ram", metavar="SIZE", help="main memory, such as 64G; without --vram, there is no GPU")
    parser.declare("--params", conflicts="MODEL")


def run_fit(args: argparse.Namespace, *, ladder: str | None, **options: Any) -> Fit:
    """Place a model's rungs in memory.

    Raises
    ------
    UsageError
        ``--ladder`` is given where the rungs are files.
    """
    from ggufkit.toolbox.fit.fit import fit

    if args.model is not None and _is_ladder(args.model):
        refuse(args, "if MODEL is a folder of GGUF files or remote", "--ladder")
    options = {"k": args.kv, "v": args.kv, **options}
    return fit(
        args.model,
        params=args.params,
        ladder=ladder,
        context=args.context,
        vram=args.vram,
        ram=args.ram,
        **options,
    )


def has_files(model: str | None) -> bool:
    """Whether a model is one or several GGUF files, which are taken as they are."""
    return model is not None and (_is_ladder(model) or Path(model).suffix.lower() == ".gguf")


def _is_ladder(model: str) -> bool:
    path = Path(model)
    is_folder = path.is_dir() and not (path / "config.json").exists()
    return is_folder or model.startswith(("hf:", "http:", "https:"))
