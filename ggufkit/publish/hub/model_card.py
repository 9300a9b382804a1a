"""The model card of a ladder's repository: which file to choose, and the origin of each."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufkit.architectures.from_gguf_py import generic_provenance
from ggufkit.converter.execution.manifest import LadderManifest
from ggufkit.errors import MissingFileError
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import parse_part_name
from ggufkit.publish.recommend import Advice, recommend
from ggufkit.toolbox.fit.fit import fit, gib

CARD_NAME = "README.md"
# Everything that Markdown, HTML or YAML might interpret.
_NOT_PLAIN = re.compile(r"[^\w .,:;+()/%'\-]")


@dataclass(frozen=True)
class PublishedRung:
    """One file type of a folder: its files, and their entry in ``ladder.json``.

    Attributes
    ----------
    name : str
        The file type.
    files : tuple of Path
        All parts.
    facts : mapping
        The entry of ``ladder.json``; empty for files that ggufkit did not make.
    advice : Advice
        The memory that it needs, and its loss.
    """

    name: str
    files: tuple[Path, ...]
    facts: Mapping[str, Any]
    advice: Advice

    @property
    def n_bytes(self) -> int:
        """The size of all files, in bytes."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class LadderFolder:
    """The folder of a ladder, ready to publish.

    Attributes
    ----------
    folder : Path
        The folder.
    rungs : tuple of PublishedRung
        The rungs, by size.
    metadata : Metadata
        The metadata of the first file: name, license, tags.
    sums : mapping of str to str
        SHA-256 by file name.
    """

    folder: Path
    rungs: tuple[PublishedRung, ...]
    metadata: Metadata
    sums: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path, quality: Mapping[str, float] | None = None) -> LadderFolder:
        """Open a folder; no weights are read.

        Parameters
        ----------
        folder : Path
            From `ggufkit.convert`.
        quality : mapping of str to float, optional
            Measured KL divergence by file type.

        Raises
        ------
        MissingFileError
            There is no ladder.
        """
        book = LadderManifest.read(folder)
        if not folder.is_dir() or not any(folder.glob("*.gguf")):
            raise MissingFileError(f"{folder}: no GGUF files; is this the folder of a ladder?")
        rungs = []
        for advice in recommend(fit(folder, ram="1T"), quality).rungs:
            files = _parts(folder / advice.placement.need.candidate.file)
            facts = book.files.get(files[0].name, {})
            rungs.append(PublishedRung(advice.name, files, facts, advice))
        with open_gguf(rungs[0].files[0]) as model:
            metadata = Metadata(model.metadata)
        sums = {name: entry["sha256"] for name, entry in book.files.items() if "sha256" in entry}
        return cls(folder, tuple(rungs), metadata, sums)

    def text(self, key: str) -> str:
        """Return the text of a ``general.*`` key, empty if it is missing."""
        value = self.metadata.get(f"general.{key}")
        return value if isinstance(value, str) else ""

    @property
    def source(self) -> Mapping[str, Any]:
        """The origin of the weights, from the first rung's entry."""
        facts = next((rung.facts for rung in self.rungs if rung.facts), {})
        found: Mapping[str, Any] = facts.get("source") or {}
        return found

    @property
    def base_model(self) -> str | None:
        """The repository of the original weights, if known."""
        name = str(self.source.get("name", ""))
        return name if self.source.get("kind") == "checkpoint" and "/" in name else None


def _parts(first: Path) -> tuple[Path, ...]:
    parsed = parse_part_name(first.name)
    if parsed is None:
        return (first,)
    stem = first.name.rpartition("-00001-of-")[0]
    return tuple(sorted(first.parent.glob(f"{glob.escape(stem)}-*-of-*.gguf")))


def model_card(ladder: LadderFolder, repo_id: str, *, base_model: str | None = None) -> str:
    """Return the model card: front matter for the Hub, and the text.

    Parameters
    ----------
    ladder : LadderFolder
        The ladder.
    repo_id : str
        The repository that it is for.
    base_model : str, optional
        The repository of the original model, if the ladder does not know it.
    """
    from huggingface_hub import ModelCardData

    base = base_model or ladder.base_model
    data = ModelCardData(
        base_model=base,
        license=ladder.text("license") or None,
        language=_list(ladder.metadata.get("general.languages")) or None,
        tags=[
            "gguf",
            *(tag for tag in _list(ladder.metadata.get("general.tags")) if tag != "gguf"),
        ],
        base_model_relation="quantized" if base else None,
        library_name="gguf",
    )
    name = plain(ladder.text("name") or repo_id.rpartition("/")[2])
    sections = (
        f"---\n{data.to_yaml()}\n---\n",
        f"# {name}, GGUF\n",
        _about(base, name),
        _choice(ladder.rungs),
        _commands(ladder.rungs, repo_id),
        _provenance(ladder),
    )
    return "\n".join(section for section in sections if section)


def _list(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, Sequence | tuple) else []


def plain(text: str) -> str:
    r"""Return text without characters that Markdown or HTML would interpret.

    Examples
    --------
    >>> plain("A <b>model</b>\n# not a title")
    'A bmodel/b not a title'
    """
    return re.sub(r"\s+", " ", _NOT_PLAIN.sub("", text.replace("\n", " "))).strip()[:200]


def _about(base: str | None, name: str) -> str:
    of = f"[{base}](https://huggingface.co/{base})" if base else name
    return f"Files for llama.cpp, Ollama and other programs that read GGUF, made from {of}.\n"


def _choice(rungs: Sequence[PublishedRung]) -> str:
    measured = any(rung.advice.measured for rung in rungs)
    head = ["file", "type", "size", "bits per weight", "needs", "error of weights"]
    head += ["KL divergence", "answers"] if measured else ["answers"]
    lines = ["## Which file should I choose?", "", _answer(rungs), ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_row(rung, measured=measured)) + " |" for rung in rungs]
    lines += ["", _legend(rungs, measured=measured), ""]
    return "\n".join(lines)


def _answer(rungs: Sequence[PublishedRung]) -> str:
    named = {rung.name: rung for rung in rungs}
    lines = []
    for name, words in (
        ("Q4_K_M", "is what most people take"),
        ("Q6_K", "is as good as the original to nearly everybody"),
        ("Q8_0", "is the original but for a rounding error"),
    ):
        if name in named:
            need = gib(named[name].advice.placement.need.total)
            lines.append(f"**{name}** {words} ({need} GiB of memory)")
    return ("; ".join(lines) + ". " if lines else "") + "Take the largest that fits your memory."


def _row(rung: PublishedRung, *, measured: bool) -> list[str]:
    error = rung.facts.get("weight_error") or {}
    bits = rung.facts.get("bits_per_weight")
    divergence = rung.advice.divergence
    cells = [
        f"[{plain(rung.files[0].name)}](./{rung.files[0].name})"
        + (f" and {len(rung.files) - 1} more" if len(rung.files) > 1 else ""),
        rung.name,
        f"{rung.n_bytes / 1e9:.2f} GB",
        "" if bits is None else f"{bits:.2f}",
        f"{gib(rung.advice.placement.need.total)} GiB",
        f"{error['rmse']:.1e}" if "rmse" in error else "",
    ]
    if measured:
        cells.append("" if divergence is None or not rung.advice.measured else f"{divergence:.4f}")
    return [*cells, rung.advice.words]


def _legend(rungs: Sequence[PublishedRung], *, measured: bool) -> str:
    context = rungs[0].advice.placement.need.options.context
    text = (
        f"*needs*: memory for weights, KV cache and buffers at {context} tokens. *error of "
        "weights*: root mean square, against the source; it does not rate the model. *answers*: "
    )
    if measured:
        return text + "by the KL divergence from the largest file, measured with `ggufkit try`."
    return text + "what such types cost Llama 3 8B, by llama.cpp's measurements."


def _commands(rungs: Sequence[PublishedRung], repo_id: str) -> str:
    named = {rung.name: rung for rung in rungs}
    rung = named.get("Q4_K_M", rungs[len(rungs) // 2])
    return (
        "## Run it\n\n```\n"
        f"ollama run hf.co/{repo_id}:{rung.name}\n"
        f"llama-cli -hf {repo_id}:{rung.name}\n"
        f"ggufkit run {repo_id}:{rung.name} -p 'Hello'\n```\n"
    )


def _how(ladder: LadderFolder, facts: Mapping[str, Any]) -> str:
    if generic := generic_provenance(ladder.metadata).get("generic"):
        return f", **unverified** (`--generic`, as `{plain(generic['table'])}`): {generic['note']}"
    if facts.get("search") == "ggml":
        return "; the bytes are those of llama.cpp's converter and llama-quantize"
    return ", thorough search for scales"


def _provenance(ladder: LadderFolder) -> str:
    facts = next((rung.facts for rung in ladder.rungs if rung.facts), None)
    if facts is None:
        return ""
    source, imatrix = ladder.source, facts.get("imatrix")
    lines = [
        "## Where it comes from\n",
        f"- source: {plain(str(source.get('name')))}"
        + (f", revision `{plain(str(source['revision']))}`" if source.get("revision") else ""),
        f"- made with ggufkit {plain(str(facts.get('ggufkit')))}{_how(ladder, facts)}",
    ]
    if imatrix:
        name, digest = plain(str(imatrix["name"])), plain(str(imatrix["sha256"]))
        lines.append(f"- importance matrix: {name}, SHA-256 `{digest}`")
    lines += ["- checksums: `sha256sum -c SHA256SUMS`, or `ggufkit hash --check SHA256SUMS`", ""]
    lines += ["| file | SHA-256 |", "|---|---|"]
    lines += [f"| {plain(name)} | `{digest}` |" for name, digest in sorted(ladder.sums.items())]
    return "\n".join(lines) + "\n"
