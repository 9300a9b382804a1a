"""The main job: a source becomes a folder of GGUF files, one per rung.

Next to the files lie ``SHA256SUMS``, which ``sha256sum -c`` checks, and ``ladder.json``, which
says where each file comes from. The GGUF files themselves say nothing of ggufkit: their bytes are
those of llama.cpp's own tools.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from ggufkit.architectures.third_party import load_file
from ggufkit.calibration.imatrix import Imatrix
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.stream import CACHE_BYTES
from ggufkit.converter.execution.execute import execute, journal_key
from ggufkit.converter.execution.journal import files_of, state_of
from ggufkit.converter.execution.manifest import LadderManifest
from ggufkit.converter.execution.report import Report
from ggufkit.converter.lora.merge import merged, parse_merge
from ggufkit.converter.planning.loadable import checked
from ggufkit.converter.planning.plan import Plan
from ggufkit.converter.planning.planner import PlanningModes, make_plan
from ggufkit.converter.planning.recipes import DEFAULT_LADDER, parse_ladder
from ggufkit.converter.planning.rules import Recipe
from ggufkit.converter.sources.base import Source
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.converter.sources.gguf import GGUFSource
from ggufkit.errors import ConversionError, OutputError
from ggufkit.io.atomic import partial_path
from ggufkit.io.folder_lock import locked
from ggufkit.io.http_ranges import is_remote
from ggufkit.types import Progress


@dataclass(frozen=True)
class Ladder:
    """What a conversion wrote.

    Attributes
    ----------
    plan : Plan
        The rungs that were asked for.
    paths : tuple of Path
        Their files.
    report : Report
        Errors of weights, for the rungs that this run encoded.
    done_before : tuple of str
        Rungs that an earlier run had completed.
    """

    plan: Plan
    paths: tuple[Path, ...]
    report: Report
    done_before: tuple[str, ...]


def open_source(
    source: str | Path,
    *,
    revision: str | None = None,
    pre: str | None = None,
    name: str | None = None,
    allow_requantize: bool = False,
    stream: bool = False,
    cache_bytes: int = CACHE_BYTES,
    self_test: bool = True,
    merge_lora: Sequence[str] = (),
    generic: bool | str = False,
    architecture: str | Path | None = None,
    loadable: bool = True,
) -> Source:
    """Open what a ladder is made from.

    Parameters
    ----------
    source : str or Path
        A folder with a checkpoint, a Hub repository ``owner/name``, or a GGUF file: its path,
        ``hf:owner/name/file.gguf`` or a URL, of which byte ranges are read.
    revision : str, optional
        Branch, tag or commit of a Hub repository.
    pre : str, optional
        ``tokenizer.ggml.pre``, where the tokenizer's structure does not tell it.
    name : str, optional
        ``general.name`` instead of the checkpoint's own.
    allow_requantize : bool
        Also take a GGUF file whose weights are quantized already.
    stream : bool
        Read a repository's weights by byte ranges, without fetching its files.
    cache_bytes : int
        Bytes of these ranges that each process keeps, for weights that are needed again.
    self_test : bool
        Check that a checkpoint's tokenizer and its metadata tokenize alike.
    merge_lora : sequence of str
        Folders of LoRA adapters that are added to the weights, each with ``=SCALE`` or without.
    generic : bool or str
        Convert a class without an architecture file by gguf-py's tables, unverified; the name in
        them, where the config does not tell it. See `ggufkit.architectures.from_gguf_py`.
    architecture : str or Path, optional
        A Python file that defines the checkpoint's `Architecture`, to use instead of all others.
        Its code is executed.
    loadable : bool
        Refuse what llama.cpp would not load.

    Raises
    ------
    CheckpointError, ConversionError, FormatError
        The source can't be converted.
    UnloadableModelError
        llama.cpp would refuse the files: config, tokenizer and weights contradict each other.
    """
    if is_gguf_name(source):
        if pre or name or revision or stream or merge_lora or generic or architecture:
            raise ConversionError(
                f"{source}: a GGUF file has its name and tokenizer; --pre, --name, --revision, "
                "--stream, --architecture, --generic and --merge-lora are for checkpoints"
            )
        file = GGUFSource.open(source, allow_requantize=allow_requantize, cache_bytes=cache_bytes)
        return checked(file) if loadable else file
    given = load_file(Path(architecture)) if architecture else None
    checkpoint = Checkpoint.open(source, revision=revision, stream=stream, cache_bytes=cache_bytes)
    merges = [parse_merge(text) for text in merge_lora]
    if merges:
        checkpoint = merged(checkpoint, merges, given)
    model = CheckpointSource.open(
        checkpoint,
        pre=pre,
        name=name,
        self_test=self_test,
        generic=generic,
        given=given,
        merged=[merge.origin for merge in merges],
    )
    return checked(model) if loadable else model


def is_gguf_name(source: str | Path) -> bool:
    """Whether a source is a GGUF file, by its name."""
    return is_remote(source) or Path(source).suffix.lower() == ".gguf"


def plan_ladder(
    source: Source,
    out: str | Path,
    ladder: str | None = None,
    *,
    recipes: Sequence[Recipe] = (),
    imatrix: str | Path | Imatrix | None = None,
    **modes: Unpack[PlanningModes],
) -> Plan:
    """Plan a ladder: every file's name and bytes, before any weight is read.

    Parameters
    ----------
    source : Source
        From `open_source`.
    out : str or Path
        A folder, or for a single rung a file ending in ``.gguf``.
    ladder : str or None
        See `ggufkit.converter.planning.recipes.parse_ladder`; None for only those of `recipes`,
        or without any for `DEFAULT_LADDER`, or the one type of a file that belongs to a model.
    recipes : sequence of Recipe
        Mixes and recipes from files, for rungs in addition to those of the ladder.
    imatrix : str, Path or Imatrix, optional
        An importance matrix, or its file, see `ggufkit.calibration.imatrix`.
    **modes
        See `ggufkit.converter.planning.planner.make_plan`.
    """
    if ladder is None and not recipes:
        ladder = ",".join(t.name for t in source.file_types or ()) or DEFAULT_LADDER
    all_recipes = (*(() if ladder is None else parse_ladder(ladder)), *recipes)
    ladder = ladder or ""
    for name, n in Counter(recipe.name for recipe in all_recipes).items():
        if n > 1:
            raise ConversionError(
                f"{n} rungs are called {name}, and so would be one file: leave one out"
            )
    return make_plan(
        source,
        all_recipes,
        _output_paths(source, all_recipes, Path(out)),
        imatrix=Imatrix.open(imatrix) if isinstance(imatrix, (str, Path)) else imatrix,
        skip_impossible=":" in ladder or "all" in ladder.lower(),
        **modes,
    )


def run_plan(
    plan: Plan,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    force: bool = False,
    report: bool = True,
    progress: Progress = lambda _: None,
) -> Ladder:
    """Write the files of a plan that are not there yet.

    Parameters
    ----------
    plan : Plan
        From `plan_ladder`.
    executor, jobs, report, progress
        See `ggufkit.converter.execution.execute.execute`.
    force : bool
        Replace files that this ladder did not make.

    Raises
    ------
    OutputError
        A file is in the way or can't be written, or another process writes into the folder.
    """
    with locked(make_folder(plan)):
        journal = journal_of(plan)
        manifest = LadderManifest.read(journal.parent)
        done = [rung for rung in plan.rungs if manifest.is_complete(rung, plan.fingerprint(rung))]
        todo = plan.only([rung for rung in plan.rungs if rung not in done])
        refuse_foreign_files(todo, manifest, journal, report=report, force=force)
        results = Report({})
        if todo.rungs:
            results = execute(
                todo, journal, executor=executor, jobs=jobs, report=report, progress=progress
            )
            manifest.record_all(todo, results)
            journal.unlink(missing_ok=True)
    paths = tuple(part.path for part in plan.parts)
    return Ladder(plan, paths, results, tuple(rung.name for rung in done))


def make_folder(plan: Plan) -> Path:
    """Return the folder of a plan's files, made if need be.

    Raises
    ------
    OutputError
        It can't be made.
    """
    folder = plan.rungs[0].parts[0].path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: can't make the folder: {error.strerror}") from error
    return folder


def journal_of(plan: Plan) -> Path:
    """Return where the finished tasks of a plan are noted."""
    first = plan.rungs[0].parts[0].path
    return first.with_name(f".ggufkit-{_digest(first.name)}.journal")


def convert(
    source: str | Path,
    out: str | Path,
    *,
    ladder: str = DEFAULT_LADDER,
    revision: str | None = None,
    pre: str | None = None,
    name: str | None = None,
    allow_requantize: bool = False,
    imatrix: str | Path | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    force: bool = False,
    self_test: bool = True,
    merge_lora: Sequence[str] = (),
    generic: bool | str = False,
    architecture: str | Path | None = None,
    progress: Progress = lambda _: None,
    **modes: Unpack[PlanningModes],
) -> Ladder:
    """Turn a checkpoint or a GGUF file into a ladder of GGUF files.

    Parameters are those of `open_source`, `plan_ladder` and `run_plan`.

    Raises
    ------
    GGUFKitError
        Nothing incomplete is left under a final name; the same call goes on where it stopped.
    """
    opened = open_source(
        source,
        revision=revision,
        pre=pre,
        name=name,
        allow_requantize=allow_requantize,
        self_test=self_test,
        merge_lora=merge_lora,
        generic=generic,
        architecture=architecture,
    )
    plan = plan_ladder(opened, out, ladder, imatrix=imatrix, **modes)
    return run_plan(plan, executor=executor, jobs=jobs, force=force, progress=progress)


def _output_paths(source: Source, recipes: Sequence[Recipe], out: Path) -> dict[str, Path]:
    if out.suffix == ".gguf":
        if len(recipes) > 1:
            raise ConversionError(
                f"{out} is one file, the ladder has {len(recipes)}: name a folder"
            )
        return {recipes[0].name: out}
    return {recipe.name: out / source.file_name(recipe.name) for recipe in recipes}


def refuse_foreign_files(
    plan: Plan, manifest: LadderManifest, journal: Path, *, report: bool, force: bool
) -> None:
    """Refuse to replace files, but those that this very ladder was publishing when it was stopped.

    Parameters
    ----------
    plan : Plan
        What is to be written.
    manifest : LadderManifest
        Of the folder.
    journal : Path
        The journal, perhaps of another ladder.
    report : bool
        Whether errors are measured: a journal is of the one or the other.
    force : bool
        Replace files, but no links.

    Raises
    ------
    OutputError
        A file is in the way.
    """
    manifest.refuse_foreign(force=force)
    if force:
        return
    begun = any(journal.parent.glob(".ggufkit-*.journal"))
    complete = files_of(journal, journal_key(plan, report=report))
    for part in plan.parts:
        partial = partial_path(part.path)
        if os.path.lexists(partial) and not begun:
            raise OutputError(
                f"{partial} is in the way, and no ladder was begun here: move it elsewhere, or "
                "replace it with --force"
            )
        if os.path.lexists(part.path) and complete.get(part.path.name) != state_of(part.path):
            raise OutputError(
                f"{part.path} exists and was not made by this command from this source: "
                "replace it with --force, or choose another folder"
            )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
