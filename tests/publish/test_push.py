"""Publishing a ladder: what arrives, what is not sent twice, and what the card says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources.mmproj import MmprojSource
from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.errors import MissingFileError
from ggufkit.publish.hub.model_card import LadderFolder, model_card
from tests.architectures.test_vision import CASES, write_case
from tests.converter.files import write_file
from tests.llama import write_llama
from tests.publish.upload_server import UploadHub, serve_uploads

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
REPO = "me/Tiny-GGUF"


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    source = write_llama(folder / "Tiny")
    (source / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage:\n- en\ntags:\n- chat\n---\n# Tiny\n"
    )
    entry = ImatrixEntry(np.ones((1, 256), np.float32), np.ones(1, np.float32))
    Imatrix({"blk.0.attn_q.weight": entry}, "im.gguf").save(folder / "im.gguf")
    convert(source, folder / "out", ladder="Q2_K,Q4_K_M,Q8_0", imatrix=folder / "im.gguf")
    return folder / "out"


@pytest.fixture
def hub():
    with serve_uploads(UploadHub()) as found:
        yield found


def run(hub: UploadHub, ladder: Path, *options: str) -> subprocess.CompletedProcess:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(ladder.parent / "home"), "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    code = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "push", str(ladder), REPO, *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_files_arrive_with_their_sums_and_the_card_comes_last(hub: UploadHub, ladder: Path) -> None:
    done = run(hub, ladder, "--private", "-q")
    assert done.returncode == 0, done.stderr
    assert hub.created[REPO]["visibility"] == "private"
    assert hub.tokens == {"Bearer hf_test"}
    files = hub.repos[REPO]
    for path in ladder.glob("*.gguf"):
        assert files[path.name] == (path.read_bytes(), True)
    sums = (ladder / "SHA256SUMS").read_text()
    assert files["SHA256SUMS"][0].decode() == sums
    for name, (data, is_lfs) in files.items():
        assert not is_lfs or f"{hashlib.sha256(data).hexdigest()}  {name}\n" in sums
    assert hub.commits[-1] == "Add README.md"
    assert f"{hub.url}/{REPO}" in done.stdout


def test_files_beside_the_ladder_are_sent_and_are_no_rungs(
    hub: UploadHub, ladder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(ladder, tmp_path / "out")
    vision = MmprojSource.open(write_case(CASES["smolvlm"], tmp_path / "vision"))
    beside = {write_file(vision, folder).name}
    beside.add(write_file(VocabularySource.open(ladder.parent / "Tiny"), folder).name)
    rungs = {path.name for rung in LadderFolder.open(folder).rungs for path in rung.files}
    assert rungs == {path.name for path in ladder.glob("*.gguf")}
    done = run(hub, folder, "-q")
    assert done.returncode == 0, done.stderr
    assert hub.repos[REPO].keys() >= rungs | beside
    card = hub.repos[REPO]["README.md"][0].decode()
    assert all(card.count(name) == 1 for name in beside)  # among the sums


def test_what_is_there_is_not_sent_again(hub: UploadHub, ladder: Path) -> None:
    assert run(hub, ladder, "-q").returncode == 0
    received, commits = hub.received, len(hub.commits)
    done = run(hub, ladder, "--json")
    files = {entry["name"]: entry["present"] for entry in json.loads(done.stdout)["files"]}
    assert all(present for name, present in files.items() if name.endswith(".gguf"))
    assert hub.received == received
    assert len(hub.commits) == commits + 3  # sums, record and card


def test_an_upload_that_breaks_off_goes_on(hub: UploadHub, ladder: Path) -> None:
    sizes = sorted(path.stat().st_size for path in ladder.glob("*.gguf"))
    hub.fail_after = sizes[0] + sizes[1] // 2
    done = run(hub, ladder, "-q")
    assert done.returncode == 3
    assert "Repeat the command to resume" in done.stderr
    assert "README.md" not in hub.repos[REPO]
    before = set(hub.objects)
    hub.fail_after, hub.received = None, 0
    assert run(hub, ladder, "-q").returncode == 0
    assert hub.received == sum(sizes) - sum(len(hub.objects[oid]) for oid in before)
    assert before
    assert len(hub.repos[REPO]) == 6


def test_a_dry_run_changes_nothing(hub: UploadHub, ladder: Path) -> None:
    done = run(hub, ladder, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to send") == 6
    assert not hub.repos


def test_a_repository_that_is_no_name_is_refused(hub: UploadHub, ladder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "push", str(ladder), "../x"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "write owner/name" in done.stderr


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_cards_front_matter_is_what_the_hub_reads(ladder: Path) -> None:
    from huggingface_hub import ModelCard

    card = model_card(LadderFolder.open(ladder), REPO, base_model="me/Tiny")
    assert front_matter(card) == {
        "base_model": "me/Tiny", "base_model_relation": "quantized", "library_name": "gguf",
        "license": "apache-2.0", "language": ["en"], "tags": ["gguf", "chat"],
    }  # fmt: skip
    assert ModelCard(card).data.base_model == "me/Tiny"


def test_the_card_has_every_file_with_its_facts(ladder: Path) -> None:
    card = model_card(LadderFolder.open(ladder), REPO)
    record = json.loads((ladder / "ladder.json").read_text())["files"]
    for name, facts in record.items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| [{name}]")]
        assert f"{facts['bits_per_weight']:.2f}" in row
        assert f"{facts['weight_error']['rmse']:.1e}" in row
        assert f"| {name} | `{facts['sha256']}` |" in card
    assert record[name]["imatrix"]["sha256"] in card
    assert "ollama run hf.co/me/Tiny-GGUF:Q4_K_M" in card
    assert "**Q4_K_M** is what most people take" in card


def test_measured_divergence_is_shown(ladder: Path) -> None:
    card = model_card(LadderFolder.open(ladder, {"Q4_K_M": 0.0123}), REPO)
    assert "| 0.0123 | excellent |" in card
    assert "measured with `ggufkit try`" in card


def test_names_of_strangers_stay_text(ladder: Path, tmp_path: Path) -> None:
    import shutil

    from ggufkit.toolbox.edit import edit

    folder = tmp_path / "copy"
    shutil.copytree(ladder, folder)
    for path in folder.glob("*.gguf"):
        edit(path, values={"general.name": "A\n---\n<script>x</script> [l](javascript:y)"})
    card = model_card(LadderFolder.open(folder), REPO)
    assert "<script>" not in card
    assert "](javascript" not in card
    assert front_matter(card)["library_name"] == "gguf"


def test_an_empty_folder_is_no_ladder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no GGUF files"):
        LadderFolder.open(tmp_path)
