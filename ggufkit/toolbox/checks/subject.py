"""`CheckedModel`: a file or all parts of a split model, as far as readable, for the rules."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.errors import GGUFKitError, MissingFileError
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.split import COUNT, parse_part_name, part_name
from ggufkit.rules.model import DescribedModel
from ggufkit.toolbox.checks.probe import Probe, probe
from ggufkit.toolbox.checks.survey import LenientHeader, survey

if TYPE_CHECKING:
    from ggufkit.toolbox.checks.scan import TensorDataStats

_MAX_TEMPLATES = 8  # a file names as many as it likes, and each may take seconds


class CheckedModel(DescribedModel):
    """A model to check.

    Attributes
    ----------
    path : Path
        The file that was named.
    parts : list of LenientHeader
        In order; one if the file is not a part of a split.
    missing : list of Path
        Missing parts.
    weights : dict of str to TensorDataStats
        Findings in the tensors' data; empty if that was not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights: dict[str, TensorDataStats] = {}
        self.missing: list[Path] = []
        self.parts = self._open()
        tensors = {name: info for part in self.parts for name, info in part.tensors.items()}
        super().__init__(self.first.metadata, tensors)
        # whether all headers are complete
        self.readable = not self.missing and all(part.complete for part in self.parts)
        known = all(info.type.is_known for info in tensors.values())
        self.intact = self.readable and known and not any(part.problems for part in self.parts)

    def _open(self) -> list[LenientHeader]:
        named = survey(self.path)
        found = parse_part_name(self.path.name)
        count = named.metadata.get(COUNT)
        if found is None or not isinstance(count, int) or not 1 < count == found[2]:
            return [named]
        parts = []
        for index in range(count):
            path = self.path.with_name(part_name(found[0], index, count))
            if index == found[1]:
                parts.append(named)
                continue
            try:
                parts.append(survey(path))
            except MissingFileError:
                self.missing.append(path)
        return parts

    @property
    def first(self) -> LenientHeader:
        """The part that holds the metadata."""
        return self.parts[0]

    def part_of(self, name: str) -> LenientHeader:
        """Return the part that holds a tensor."""
        return next(p for p in self.parts if p.tensors.get(name) is self.tensors[name])

    @cached_property
    def is_editable(self) -> bool:
        """Whether the strict reader accepts all parts, so that they can be edited."""
        try:
            for part in self.parts:
                GGUFFile.open(part.path).close()
        except GGUFKitError:
            return False
        return not self.missing

    @cached_property
    def templates(self) -> dict[str, str]:
        """Chat templates by key."""
        keys = (key for key in self.metadata if key.startswith("tokenizer.chat_template"))
        found = {key: self.text(key) for key in keys if key != "tokenizer.chat_templates"}
        return {key: text for key, text in found.items() if text}

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """Ordinary conversations rendered by the chat templates, by key.

        Only the first templates are rendered, and none after one that times out.
        """
        bos, eos = self.special_text("bos"), self.special_text("eos")
        probes: dict[str, Probe] = {}
        for key, text in list(self.templates.items())[:_MAX_TEMPLATES]:
            probes[key] = probe(text, bos, eos)
            if probes[key].single.kind == "limit":
                break
        return probes
