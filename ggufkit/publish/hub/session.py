"""Convert and publish at once: each file of a ladder is sent when it is complete, then removed.

The disk holds the splits in progress, never the whole ladder. Sent files are recorded in
``ladder.json``, and count if the repository has a file of that name and sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ggufkit.converter.execution.execute import execute
from ggufkit.converter.execution.manifest import LADDER_NAME, SUMS_NAME, LadderManifest, sha256_of
from ggufkit.converter.execution.report import Report
from ggufkit.converter.ladder import Ladder, journal_of, make_folder, refuse_foreign_files
from ggufkit.io.atomic import output_errors
from ggufkit.io.folder_lock import locked
from ggufkit.publish.hub.model_card import CARD_NAME, LadderFolder, model_card
from ggufkit.publish.hub.push import check_name, hub_client, send, sums_there
from ggufkit.types import Progress

# In the entry of a file that is kept in a repository only.
PUBLISHED = "published"

if TYPE_CHECKING:
    from ggufkit.converter.planning.plan import OutputFile, Plan, Rung


def publish(
    plan: Plan,
    repo_id: str,
    *,
    private: bool | None = None,
    force: bool = False,
    executor: Executor | None = None,
    jobs: int | None = None,
    report: bool = True,
    progress: Progress = lambda _: None,
) -> tuple[Ladder, str]:
    """Write the files of a plan, and send and remove each as soon as it is complete.

    Parameters
    ----------
    plan : Plan
        From `ggufkit.converter.ladder.plan_ladder`.
    repo_id : str
        ``owner/name``; created if need be. The Hub and its access token are those of its own tools.
    private : bool, optional
        Create the repository as private.
    force : bool
        Replace files in the folder that belong to something else.
    executor, jobs, report, progress
        See `ggufkit.converter.execution.execute.execute`.

    Returns
    -------
    (Ladder, str)
        The published ladder, and the repository's URL.

    Raises
    ------
    GGUFKitError
        Repeat the call to resume.
    """
    check_name(repo_id)
    with locked(make_folder(plan)):
        with hub_client(repo_id) as api:
            url = str(api.create_repo(repo_id, private=private, exist_ok=True))
        session = PublishSession(replace(plan, by_part=True), repo_id)
        left = replace(session.plan, delivered=session.delivered)
        session.remove_delivered()
        journal = journal_of(plan)
        refuse_foreign_files(left, session.manifest, journal, report=report, force=force)
        measured = execute(
            left,
            journal,
            on_file_complete=session.deliver,
            executor=executor,
            jobs=jobs,
            report=report,
            progress=progress,
        )
        session.finish(measured)
        journal.unlink(missing_ok=True)
    before = tuple(
        rung.name for rung in plan.rungs if {part.path for part in rung.parts} <= left.delivered
    )
    return Ladder(plan, tuple(part.path for part in plan.parts), measured, before), url


@dataclass(frozen=True)
class PublishSession:
    """Sends the files of one plan to one repository, and remembers which are there.

    Attributes
    ----------
    plan : Plan
        With `by_part`.
    repo_id : str
        ``owner/name``.
    """

    plan: Plan
    repo_id: str

    @cached_property
    def manifest(self) -> LadderManifest:
        """``ladder.json`` of the folder; it outlives the files that were removed."""
        return LadderManifest.read(self.plan.rungs[0].parts[0].path.parent)

    @cached_property
    def remote_sums(self) -> Mapping[str, str]:
        """SHA-256 of what the repository had at the start, by file name."""
        return sums_there(self.repo_id)

    @cached_property
    def _rung_of(self) -> Mapping[Path, Rung]:
        return {part.path: rung for rung in self.plan.rungs for part in rung.parts}

    @cached_property
    def delivered(self) -> frozenset[Path]:
        """The files of this plan that the repository has, as they would be written here."""
        found = set()
        for path, rung in self._rung_of.items():
            entry = self.manifest.files.get(path.name, {})
            is_there = self.remote_sums.get(path.name, "") == entry.get("sha256")
            if is_there and entry.get("fingerprint") == self.plan.fingerprint(rung):
                found.add(path)
        return frozenset(found)

    def remove_delivered(self) -> None:
        """Remove files that an earlier run had sent when it was stopped."""
        for path in self.delivered:
            if self.manifest.files[path.name].get(PUBLISHED) == self.repo_id:
                path.unlink(missing_ok=True)

    def deliver(self, part: OutputFile) -> None:
        """Note a complete file, send it unless the repository has it, and remove it.

        Raises
        ------
        CheckpointError
            The Hub refuses it or can't be reached.
        OutputError
            The folder can't be written.
        """
        digest = sha256_of(part.path)
        self.manifest.record(self.plan, self._rung_of[part.path], part, digest)
        self.manifest.files[part.path.name][PUBLISHED] = self.repo_id
        self.manifest.write()
        if self.remote_sums.get(part.path.name) != digest:
            with hub_client(self.repo_id) as api:
                send(api, self.repo_id, part.path.name, part.path)
        with output_errors(part.path):
            part.path.unlink()

    def finish(self, measured: Report) -> None:
        """Record errors of weights, and send the sums, the manifest and the model card.

        The card describes language models; other files leave the repository's card unchanged.

        Raises
        ------
        CheckpointError
            The Hub refuses them or can't be reached.
        OutputError
            The folder can't be written.
        """
        self.manifest.record_errors(self.plan, measured)
        self.manifest.write()
        folder = self.manifest.folder
        with hub_client(self.repo_id) as api:
            for name in (SUMS_NAME, LADDER_NAME):
                send(api, self.repo_id, name, folder / name)
            if self.plan.source.file_types is None:
                send(api, self.repo_id, CARD_NAME, self._card().encode())

    def _card(self) -> str:
        """Return the model card, made from the headers of files that are no longer here."""
        with TemporaryDirectory(prefix="ggufkit-") as made:
            folder = Path(made)
            for part in self.plan.parts:
                with (folder / part.path.name).open("wb") as file:
                    file.write(part.layout.header)
                    file.truncate(part.layout.file_size)  # a hole, which takes no space
            names = {part.path.name for part in self.plan.parts}
            entries = {n: e for n, e in self.manifest.files.items() if n in names}
            LadderManifest(folder, entries).write()
            return model_card(LadderFolder.open(folder), self.repo_id)
