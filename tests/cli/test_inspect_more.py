"""Templates, tokens, statistics, repositories and interrupted edits in `ggufkit inspect`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.toolbox.header_journal import journal_path
from ggufkit.toolbox.stats import OUTLIER, tensor_stats
from tests.checkpoint.hub_server import Hub, serve
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for m in messages %}\n<{{ m.role }}>\n{% endfor %}"


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    ggufkit.convert(write_llama(folder / "Tiny"), folder / "out", ladder="Q4_K_M,Q8_0,F32")
    return folder / "out"


@pytest.fixture
def model(ladder: Path) -> Path:
    return next(ladder.glob("*Q8_0.gguf"))


def shown(capsys, *words: object) -> str:
    assert main(["inspect", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_the_chat_template_is_printed_as_it_is(model: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(model.read_bytes())
    ggufkit.edit(path, values={"tokenizer.chat_template": TEMPLATE + "\x1b[31m"})
    assert shown(capsys, path, "--chat-template") == TEMPLATE + "\\x1b[31m\n"
    told = json.loads(shown(capsys, path, "--chat-template", "--json"))
    assert told == {"tokenizer.chat_template": TEMPLATE + "\x1b[31m"}


def test_without_a_template_the_answer_is_an_error(model: Path, capsys) -> None:
    assert main(["inspect", str(model), "--chat-template"]) == 3
    assert "no chat template" in capsys.readouterr().err


def test_tokens_are_found_by_text_and_by_number(model: Path, capsys) -> None:
    with ggufkit.open(model) as file:
        tokens = file.metadata["tokenizer.ggml.tokens"]
    told = json.loads(shown(capsys, model, "--vocab", "extra1", "--json"))
    assert [f["id"] for f in told] == [i for i, t in enumerate(tokens) if "extra1" in t]
    (one,) = json.loads(shown(capsys, model, "--vocab", "7", "--json"))[-1:]
    assert "7" in str(one["id"]) or "7" in one["token"]
    assert "normal" in shown(capsys, model, "--vocab", "<extra")


def test_statistics_are_those_of_numpy(ladder: Path, capsys) -> None:
    path = next(ladder.glob("*F32.gguf"))
    told = {s["name"]: s for s in json.loads(shown(capsys, path, "--stats", "--json", "-q"))}
    with ggufkit.open(path) as model:
        assert list(told) == list(model)
        for name, tensor in model.items():
            values = ggufkit.dequantize(tensor).astype(np.float64)
            assert told[name]["mean"] == pytest.approx(values.mean(), abs=1e-9)
            assert told[name]["std"] == pytest.approx(values.std(), rel=1e-6)
            assert (told[name]["least"], told[name]["most"]) == (values.min(), values.max())
            far = np.abs(values - values.mean()) > OUTLIER * values.std()
            assert told[name]["n_outliers"] == far.sum()


def test_outliers_zeros_and_what_is_not_finite_are_counted(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    values[0] = 0
    values[5, 5], values[6, 6], values[7, 7] = 1000, np.nan, -np.inf
    data = {"w": (values, ggufkit.TensorType.F32), "s": (np.float32([1]), ggufkit.TensorType.F32)}
    ggufkit.save(tmp_path / "m.gguf", {"general.architecture": "llama"}, data)
    with ggufkit.open(tmp_path / "m.gguf") as model:
        found = tensor_stats(model, jobs=1)
    assert (found[0].n_outliers, found[0].n_zero_blocks, found[0].n_nonfinite) == (1, 2, 2)
    assert (found[1].mean, found[1].std, found[1].n_outliers) == (1, 0, 0)


def test_an_interrupted_edit_is_pointed_out(model: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(model.read_bytes())
    journal_path(path).write_bytes(b"")
    assert "an edit was interrupted" in " ".join(shown(capsys, path).split())


def test_a_repository_is_listed_as_a_ladder(ladder: Path, tmp_path: Path) -> None:
    with serve(Hub({"o/m": {"main": ladder}})) as hub:
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        code = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
        run = [sys.executable, "-c", code, "inspect"]

        def ask(*words: str) -> subprocess.CompletedProcess:
            return subprocess.run([*run, *words], env=env, capture_output=True, text=True)

        told = json.loads(ask("hf:o/m", "--json").stdout)
        sizes = {path.name: path.stat().st_size for path in ladder.glob("*.gguf")}
        assert {f["file"]: f["bytes"] for f in told} == sizes
        assert [f["bytes"] for f in told] == sorted(sizes.values())
        assert 32 < told[-1]["bits_per_weight"] < 34
        name = told[0]["file"]
        remote = json.loads(ask(f"hf:o/m/{name}", "--json").stdout)
        local = subprocess.run([*run, str(ladder / name), "--json"], env=env, capture_output=True)
        assert remote == json.loads(local.stdout)
        assert "no such repository" in ask("hf:o/absent").stderr
