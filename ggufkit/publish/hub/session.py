"""Convert and publish at once: each file of a ladder is sent when it is whole, and removed.

The disk holds the splits that are under way, and never the ladder. What was sent is noted in the
ladder's book, and believed when the repository has a file of that name and sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ggufkit.converter.execution.execute import Progress
from ggufkit.converter.execution.manifest import LADDER_NAME, SUMS_NAME, LadderManifest, sha256_of
from ggufkit.converter.execution.relay import relay
from ggufkit.converter.ladder import Ladder, journal_of, make_folder, refuse_foreign_files
from ggufkit.io.atomic import output_errors
from ggufkit.io.folder_lock import locked
from ggufkit.publish.hub.model_card import CARD_NAME, LadderFolder, model_card
from ggufkit.publish.hub.push import check_name, hub_client, send, sums_there

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
    """Write the files of a plan, and send and remove each as soon as it is whole.

    Parameters
    ----------
    plan : Plan
        From `ggufkit.converter.ladder.plan_ladder`.
    repo_id : str
        ``owner/name``; created if need be. The Hub and its access token are those of its own tools.
    private : bool, optional
        Whether a new repository is.
    force : bool
        Replace files in the folder that this did not make.
    executor, jobs, report, progress
        See `ggufkit.converter.execution.execute.execute`.

    Returns
    -------
    (Ladder, str)
        Whose files are there, and the repository's address.

    Raises
    ------
    GGUFKitError
        The same call goes on where it stopped.
    """
    check_name(repo_id)
    with locked(make_folder(plan)):
        with hub_client(repo_id) as api:
            url = str(api.create_repo(repo_id, private=private, exist_ok=True))
        desk = _PublishSession(replace(plan, by_part=True), repo_id)
        left = replace(desk.plan, handed=desk.handed)
        desk.tidy()
        if not force:
            refuse_foreign_files(left.parts, journal_of(plan))
        done = relay(
            left,
            journal_of(plan),
            desk.hand_over,
            executor=executor,
            jobs=jobs,
            report=report,
            progress=progress,
        )
        desk.book.rate(plan, done)
        desk.book.write()
        desk.send_rest()
        journal_of(plan).unlink(missing_ok=True)
    before = tuple(
        rung.name for rung in plan.rungs if {part.path for part in rung.parts} <= left.handed
    )
    return Ladder(plan, tuple(part.path for part in plan.parts), done, before), url


@dataclass(frozen=True)
class _PublishSession:
    """Where files are noted, sent and removed."""

    plan: Plan
    repo_id: str

    @cached_property
    def book(self) -> LadderManifest:
        return LadderManifest.read(self.rungs[0].parts[0].path.parent)

    @cached_property
    def there(self) -> Mapping[str, str]:
        return sums_there(self.repo_id)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        return self.plan.rungs

    @cached_property
    def rung_of(self) -> Mapping[Path, Rung]:
        return {part.path: rung for rung in self.rungs for part in rung.parts}

    @cached_property
    def handed(self) -> frozenset[Path]:
        """The files of this plan that the repository has."""
        found = set()
        for rung in self.rungs:
            fingerprint = self.plan.fingerprint(rung)
            for part in rung.parts:
                entry = self.book.files.get(part.path.name, {})
                is_there = self.there.get(part.path.name, "") == entry.get("sha256")
                if is_there and entry.get("fingerprint") == fingerprint:
                    found.add(part.path)
        return frozenset(found)

    def tidy(self) -> None:
        """Remove what an earlier run had sent when it was stopped."""
        for path in self.handed:
            if self.book.files[path.name].get(PUBLISHED) == self.repo_id:
                path.unlink(missing_ok=True)

    def hand_over(self, part: OutputFile) -> None:
        """Note a file, send it and remove it."""
        digest = sha256_of(part.path)
        self.book.note(self.plan, self.rung_of[part.path], part, digest)
        self.book.files[part.path.name][PUBLISHED] = self.repo_id
        self.book.write()
        if self.there.get(part.path.name) != digest:
            with hub_client(self.repo_id) as api:
                send(api, self.repo_id, part.path.name, part.path)
        with output_errors(part.path):
            part.path.unlink()

    def send_rest(self) -> None:
        """Send the sums, the record and the card."""
        folder = self.book.folder
        with hub_client(self.repo_id) as api:
            for name in (SUMS_NAME, LADDER_NAME):
                send(api, self.repo_id, name, folder / name)
            send(api, self.repo_id, CARD_NAME, self._card().encode())

    def _card(self) -> str:
        """Return the model card, made from the headers of files that are no longer here."""
        with TemporaryDirectory(prefix="ggufkit-") as made:
            folder = Path(made)
            for part in self.plan.parts:
                with (folder / part.path.name).open("wb") as file:
                    file.write(part.layout.header)
                    file.truncate(part.layout.file_size)  # a hole, which takes no room
            names = {part.path.name for part in self.plan.parts}
            entries = {name: e for name, e in self.book.files.items() if name in names}
            LadderManifest(folder, entries).write()
            return model_card(LadderFolder.open(folder), self.repo_id)
