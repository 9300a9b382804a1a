"""The same bytes, whatever varies around them; and no code of a repository is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from tests.llama import write_llama
from tests.torture import ROOT, digests

pytestmark = pytest.mark.slow

LADDER = "Q2_K,Q3_K_M,Q4_0,Q4_K_M,Q6_K,Q8_0,IQ4_XS,F16"
RUN = """
import sys
from ggufkit.cli.main import main
from ggufkit.converter.execution import execute
from ggufkit.converter.planning import plan
chunk = int(sys.argv.pop(1))
plan.CHUNK_WEIGHTS = chunk or plan.CHUNK_WEIGHTS
execute.ERROR_TILE = 1 << 12 if chunk else execute.ERROR_TILE
sys.exit(main(sys.argv[1:]))
"""
LEVELS = ["none", *kernels.available()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    write_llama(folder / "Tiny")
    rng = np.random.default_rng(0)
    entries = {
        f"blk.{i}.ffn_up.weight": ImatrixEntry(
            rng.random((1, 256), np.float32), np.ones(1, np.float32)
        )
        for i in range(2)
    }
    Imatrix(entries, "im.gguf").save(folder / "im.gguf")
    return folder


def convert(folder: Path, out: Path, *options: str, chunk: int = 0, cwd: Path = ROOT, **env: str):
    command = [sys.executable, "-c", RUN, str(chunk), "convert", str(folder / "Tiny")]
    command += ["-o", str(out), "--ladder", LADDER, "--imatrix", str(folder / "im.gguf"), "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(
        [*command, *options], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return digests(out)


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, str]:
    return convert(folder, folder / "expected")


VARIANTS: dict[str, dict] = {
    "one thread": {"options": ["-j", "1"]},
    "three threads": {"options": ["-j", "3"]},
    "eight threads": {"options": ["-j", "8"]},
    "processes": {"options": ["--executor", "processes", "-j", "2"]},
    "a chunk per row": {"chunk": 256},
    "odd chunks": {"chunk": 7 * 256},
    "another hash seed": {"PYTHONHASHSEED": "12345"},
    "another locale": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "another time zone": {"TZ": "Asia/Kathmandu"},
    "without AVX in numpy": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"},
    **{f"kernels {level}": {"GGUFKIT_KERNELS": level} for level in LEVELS},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_bytes_are_the_same(folder: Path, expected, tmp_path: Path, name: str) -> None:
    variant = dict(VARIANTS[name])
    options = variant.pop("options", [])
    if name == "without AVX in numpy":  # it warns of features that this machine lacks
        variant["PYTHONWARNINGS"] = "ignore"
    assert convert(folder, tmp_path / "out", *options, cwd=tmp_path, **variant) == expected


def test_the_record_names_no_folder_and_no_time(folder: Path, expected) -> None:
    record = (folder / "expected" / "ladder.json").read_text()
    assert str(folder) not in record
    assert set(json.loads(record)["files"]) == set(expected)


AUDIT = """
import sys
seen = []
folder = sys.argv.pop(1)
def hook(event, arguments):
    text = repr(arguments)
    if "selftest_worker.py" in text:  # isolated, and our own
        return
    if event in ("subprocess.Popen", "os.system", "socket.connect") or (
        event in ("import", "exec", "compile") and folder in text
    ):
        seen.append((event, text[:200]))
sys.addaudithook(hook)
from ggufkit.cli.main import main
code = main(sys.argv[1:])
print("seen:", seen)
sys.exit(code)
"""


def test_code_of_a_repository_is_not_looked_at(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "Hostile")
    canary = f"open({str(tmp_path / 'canary')!r}, 'w')"
    names = ("modeling_llama.py", "setup.py", "conftest.py", "__init__.py", "tokenization_x.py")
    names += ("tokenizers.py",)
    for name in names:
        (source / name).write_text(canary)
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"}
    config["trust_remote_code"] = True
    (source / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", AUDIT, str(source), "convert", str(source)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out"), "--ladder", "Q8_0", "-q"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "seen: []" in done.stdout
    assert not (tmp_path / "canary").exists()
