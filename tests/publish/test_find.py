"""Which file a name means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ggufkit.errors import MissingFileError
from ggufkit.publish.find import choose, find_model, ladder_files
from tests.checkpoint.hub_server import Hub, serve

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0-00001-of-00002.gguf"]
LATER = "m-Q8_0-00002-of-00002.gguf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate([*NAMES, LATER]):
        (tmp_path / name).write_bytes(bytes(100 * i))
    return tmp_path


@pytest.mark.parametrize(
    ("rung", "name"),
    [("", "m-Q4_K_M.gguf"), ("Q2_K", "m-Q2_K.gguf"), ("q8_0", NAMES[3]), ("Q4_K_S", NAMES[2])],
)
def test_a_rung_of_a_folder(folder: Path, rung: str, name: str) -> None:
    assert find_model(f"{folder}:{rung}" if rung else str(folder)) == folder / name


def test_a_file_is_itself(folder: Path) -> None:
    assert find_model(str(folder / LATER)) == folder / LATER


def test_the_only_file_needs_no_rung() -> None:
    assert choose(["a.gguf", "README.md"], "", "x") == "a.gguf"


@pytest.mark.parametrize("rung", ["Q5_K_M", "K_M", "Q4", "Q4_K"])
def test_other_rungs_are_refused_with_those_there(folder: Path, rung: str) -> None:
    with pytest.raises(MissingFileError, match=r"none of the files: m-Q2_K\.gguf, m-Q4_K_M\.gguf"):
        find_model(f"{folder}:{rung}")


def test_what_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="neither a file nor a folder"):
        find_model(str(tmp_path / "absent"))
    with pytest.raises(MissingFileError, match="no GGUF files"):
        find_model(str(tmp_path))


def test_files_of_a_ladder_come_by_size_and_a_split_counts_once(folder: Path) -> None:
    assert [p.name for p in ladder_files(folder)] == [NAMES[3], NAMES[2], NAMES[1], NAMES[0]]


def test_a_rung_of_a_repository_is_fetched_with_all_its_parts(folder: Path, tmp_path: Path) -> None:
    code = "import sys; from ggufkit.publish.find import find_model; print(find_model(sys.argv[1]))"
    with serve(Hub({"o/m": {"main": folder}})) as hub:
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", code, "o/m:Q8_0"], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(NAMES[3])
        assert Path(done.stdout.strip()).with_name(LATER).exists()
        assert hub.fetched == {NAMES[3], LATER}
