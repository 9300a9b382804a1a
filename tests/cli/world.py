"""Tiny files of every kind that the commands take, and a record of what a command does to them."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggufkit
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from ggufkit.publish import evaluate, sensitivity
from tests import build
from tests.architectures.test_vision import CASES
from tests.architectures.test_vision import write_case as write_vision
from tests.converter.lora.adapters import load, write_case
from tests.llama import write_llama

ARCHITECTURE = """
from dataclasses import replace
from ggufkit.architectures.llama import LLAMA
MINE = replace(LLAMA, name="mine", hf_classes=("NewForCausalLM",))
"""
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def build_world(folder: Path) -> Path:
    """Write the files and return their folder."""
    tiny = write_llama(folder / "Tiny", n_layers=1, ffn=256)
    _write_ladder(folder, tiny)
    _write_models(folder)
    _write_checkpoints(folder, tiny)
    (folder / "text.txt").write_text("Some prose.")
    (folder / "template.txt").write_text(TEMPLATE)
    (folder / "types.txt").write_text("ffn_up=Q8_0")
    (folder / "mine.py").write_text(ARCHITECTURE)
    (folder / "taken.html").write_text("mine")
    (folder / "taken.json").write_text("mine")
    (folder / "taken.gguf").write_bytes(b"mine")
    sensitivity.Sensitivity({"attn_q": 9.0}, "a test").write(folder / "sensitivity.json")
    make("convert", tiny, "-o", folder / "mix", "--budget", "Q5_0", "--mix-types", "Q4_0,Q8_0")
    next((folder / "mix").glob("*.recipe.json")).rename(folder / "recipe.json")
    return folder


def make(*words: object) -> None:
    """Run a command that must succeed."""
    assert main(list(map(str, words))) == 0


def _write_ladder(folder: Path, tiny: Path) -> None:
    ladder = folder / "Tiny-GGUF"
    ggufkit.convert(tiny, ladder, ladder="Q8_0,F32")
    shutil.copy(ladder / "Tiny-623K-Q8_0.gguf", folder / "m.gguf")
    shutil.copy(ladder / "Tiny-623K-F32.gguf", folder / "f32.gguf")
    altered = folder / "altered"
    shutil.copytree(ladder, altered)
    with (altered / "Tiny-623K-Q8_0.gguf").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    sums = (ladder / "SHA256SUMS").read_text()
    wrong = [f"{'0' * 64}{line[64:]}\n" for line in sums.splitlines()]
    (folder / "wrong-sums").write_text("".join(wrong))
    quality = [{"file": f"Tiny-623K-{name}.gguf", "kl_divergence": 0.5} for name in ("Q8_0", "F32")]
    (folder / "quality.json").write_text(json.dumps(quality))


def _write_models(folder: Path) -> None:
    model = folder / "m.gguf"
    edits: dict[str, dict[str, Any]] = {
        "chat": {"values": {"tokenizer.chat_template": TEMPLATE}},
        "faulty": {"retype": {"llama.block_count": "u64"}},
        "unlike": {"assignments": ["llama.rope.scaling.type=nonsense"]},
    }
    for name, edit in edits.items():
        source = folder / "f32.gguf" if name == "unlike" else model
        ggufkit.edit(source, out=folder / f"{name}.gguf", **edit)
    (folder / "parts").mkdir()
    taken = ["--name", "tiny:q8_0", "--store", folder / "taken-store"]
    make("ollama", folder / "chat.gguf", *taken)
    ggufkit.split(model, folder / "parts" / "m", max_tensors=4)
    (folder / "trailing.gguf").write_bytes(model.read_bytes() + b"more")
    (folder / "odd.gguf").write_bytes(build.file([build.pair("x.text", build.STR, b"\xff")]))
    with ggufkit.open(folder / "f32.gguf") as file:
        rng = np.random.default_rng(0)
        count = np.ones(1, np.float32)
        entries = {
            info.name: ImatrixEntry(rng.random((1, info.shape[-1]), np.float32), count)
            for info in file.tensors.values()
            if len(info.shape) > 1
        }
        weights = {name: (ggufkit.dequantize(t), t.info.type) for name, t in file.items()}
        weights["output.weight"][0][0, 0] = np.nan
        ggufkit.save(folder / "nan.gguf", file.metadata, weights)
    Imatrix(entries, "im.dat", ("text",), 4).save(folder / "im.dat")


def _write_checkpoints(folder: Path, tiny: Path) -> None:
    write_vision(CASES["gemma3"], folder / "vision")
    case = load("llama-alphas")
    case["adapter"]["base_model_name_or_path"] = None
    adapter = write_case(case, folder)[1].rename(folder / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, folder / "base")
    make("lora", adapter, "--base", folder / "base", "-o", folder / "a.gguf")
    unknown = Path(shutil.copytree(tiny, folder / "unknown"))
    config = json.loads((unknown / "config.json").read_text())
    config["architectures"] = ["NewForCausalLM"]
    (unknown / "config.json").write_text(json.dumps(config))
    nan = Path(shutil.copytree(tiny, folder / "nan"))
    with (nan / "model.safetensors").open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\xc0\x7f")
    huge = Path(shutil.copytree(tiny, folder / "huge"))
    with (huge / "model.safetensors").open("r+b") as file:
        header = int.from_bytes(file.read(8), "little")
        file.seek(8 + header)
        file.write(b"\xc3\x47")  # 1e5, of the first tensor: more than F16 can hold


@dataclass(frozen=True)
class Record:
    """What a command did."""

    code: int
    out: str
    err: str
    bar: bool  # whether a progress bar was shown
    files: tuple[tuple[str, str, int], ...]  # name, digest, links
    pools: frozenset[tuple[str, int | None]]  # kinds and sizes of pools of workers
    calls: tuple[str, ...]  # to llama.cpp and to the Hub, which are not there


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Observer:
    """Runs commands on copies of the world's files; ``some/NAME`` on the Hub is one of them."""

    def __init__(self, world: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.folder = world, folder
        self.monkeypatch = monkeypatch
        self.bases: dict[str, Record] = {}
        self.calls: list[str] = []
        self.pools: set[tuple[str, int | None]] = set()
        self.n_runs = 0
        self._watch_pools()
        self._replace_llama_cpp()
        self._replace_hub()
        monkeypatch.setattr("ggufkit.cli.commands.doctor.SECONDS", -1)  # takes what it takes
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("OLLAMA_MODELS", "store")

    def base(self, words: str) -> Record:
        """Return what `run` does, which is done only once."""
        if words not in self.bases:
            self.bases[words] = self.run(words)
        return self.bases[words]

    def run(self, words: str) -> Record:
        """Run a command in a folder of its own with the files that it names."""
        here = self.folder / str(self.n_runs) / "here"
        self.n_runs += 1
        here.mkdir(parents=True)
        for path in self.world.iterdir():
            if path.name in words:
                (shutil.copytree if path.is_dir() else shutil.copy)(path, here / path.name)
        self.calls.clear()
        self.pools.clear()
        out, err = io.StringIO(), _Terminal()
        with self.monkeypatch.context() as patch:
            patch.chdir(here)
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            try:
                code = main(words.split())
            except SystemExit as stopped:
                code = int(str(stopped.code))
        lines = [line for line in err.getvalue().splitlines() if "\x1b" not in line]
        return Record(
            code,
            out.getvalue().replace(str(here), "."),
            "\n".join(lines).replace(str(here), "."),
            "\x1b" in err.getvalue(),
            tuple(sorted(_listed(here))),
            frozenset(self.pools),
            tuple(sorted(self.calls)),
        )

    def find(self, repo_id: str) -> Path:
        """Return the folder that a repository stands for."""
        return self.world / repo_id.partition("/")[2]

    def _watch_pools(self) -> None:
        for kind in (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor):
            self.monkeypatch.setattr(kind, "__init__", self._watched(kind, kind.__init__))

    def _watched(self, kind: type, real: Any) -> Any:
        def start(pool: Any, max_workers: int | None = None, *args: Any, **options: Any) -> None:
            self.pools.add((kind.__name__, max_workers))
            real(pool, max_workers, *args, **options)

        return start

    def _replace_llama_cpp(self) -> None:
        def generate(path: Path, prompt: str, **options: Any) -> evaluate.Generation:
            heard = options.pop("heard", lambda _: None)
            heard(prompt)
            self.calls.append(f"generate {Path(path).name} {prompt} {options}")
            return evaluate.Generation(prompt, 1.0, 2.0, 3.0)

        def measure(base: Path, others: Any, text: str, **options: Any) -> list[evaluate.Quality]:
            options.pop("progress")(1)
            self.calls.append(f"measure {Path(base).name} {text} {options}")
            return [evaluate.Quality(1.0, 2, 0.1, 0.01, 0.9) for _ in (base, *others)]

        def learn(source: Any, text: str, **options: Any) -> sensitivity.Sensitivity:
            options.pop("progress")(1)
            self.calls.append(f"learn {text} {options}")
            return sensitivity.Sensitivity({"attn_q": 2.0}, "a test")

        self.monkeypatch.setattr(evaluate, "engine", lambda: "none")
        self.monkeypatch.setattr(evaluate, "generate", generate)
        self.monkeypatch.setattr(evaluate, "measure", measure)
        self.monkeypatch.setattr(sensitivity, "learn", learn)

    def _replace_hub(self) -> None:
        import huggingface_hub

        def snapshot(repo_id: str, revision: str | None = None, **options: Any) -> str:
            self.calls.append(f"snapshot {repo_id} {revision} {sorted(options)}")
            return str(self.find(repo_id))

        observer = self

        class Api:
            def __init__(self, **_: Any) -> None:
                pass

            def list_repo_tree(self, *_: Any, **__: Any) -> list[Any]:
                return []

            def list_repo_files(self, repo_id: str, **_: Any) -> list[str]:
                return sorted(path.name for path in observer.find(repo_id).iterdir())

            def create_repo(self, repo_id: str, *, private: bool | None, **_: Any) -> str:
                observer.calls.append(f"create {repo_id} {private}")
                return f"https://hub.example/{repo_id}"

            def upload_file(self, *, path_or_fileobj: Any, path_in_repo: str, **_: Any) -> None:
                is_text = isinstance(path_or_fileobj, bytes)
                data = path_or_fileobj if is_text else Path(path_or_fileobj).read_bytes()
                observer.calls.append(f"upload {path_in_repo} {hashlib.sha1(data).hexdigest()}")

        self.monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        self.monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        bars = import_module("huggingface_hub.utils.tqdm")
        note = self.calls.append
        self.monkeypatch.setattr(bars, "disable_progress_bars", lambda: note("no bars"))


def _listed(folder: Path) -> Any:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        digest = hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else ""
        yield name, digest, path.stat().st_nlink if path.is_file() else 1
