"""What ladders are made of: metadata built once, and GGUF files on the web."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufkit.checkpoint import model_card
from ggufkit.converter.execution import execute as execute_module
from ggufkit.converter.ladder import convert, open_source, plan_ladder, run_plan
from ggufkit.converter.planning.planner import SplitLimits
from ggufkit.converter.planning.recipes import parse_ladder
from ggufkit.converter.planning.resources import estimate_resources
from ggufkit.converter.sources.mmproj import MmprojSource
from ggufkit.errors import CheckpointError, ConversionError, MissingFileError, OutputError
from ggufkit.gguf.remote import FIRST_BYTES
from ggufkit.io import http_ranges
from tests.architectures.test_vision import CASES, write_case
from tests.checkpoint.hub_server import Hub, commit_of, serve
from tests.converter.files import write_file
from tests.converter.test_hub import run
from tests.gguf.range_server import Ranges, serve_ranges
from tests.llama import write_llama
from tests.torture import digests

LADDER = "Q4_0,Q8_0,F16"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in F16, whole and in parts."""
    folder = tmp_path_factory.mktemp("files")
    model = write_llama(folder / "Tiny")
    convert(model, folder / "model.gguf", ladder="F16", self_test=False)
    convert(model, folder / "parts.gguf", ladder="F16", split=SplitLimits(max_tensors=8))
    return folder


@pytest.fixture
def server(files: Path, monkeypatch) -> Iterator[Ranges]:
    monkeypatch.setattr(http_ranges, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_ranges(Ranges(files)) as found:
        yield found


def test_metadata_is_built_once_for_all_rungs(tmp_path: Path, monkeypatch) -> None:
    folder = write_llama(tmp_path / "Tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    parsed: list[Path] = []
    real = model_card.read_card
    monkeypatch.setattr(model_card, "read_card", lambda path: parsed.append(path) or real(path))
    source = open_source(folder, self_test=False)
    plan = plan_ladder(source, tmp_path / "out", "Q2_K:Q8_0,F16,F32")
    assert len(plan.rungs) >= 14
    assert len(parsed) == 1
    types = [source.metadata(rung.recipe.file_type)["general.file_type"] for rung in plan.rungs]
    assert types == [int(rung.recipe.file_type) for rung in plan.rungs]
    assert source.metadata(0)["general.license"] == "mit"


@pytest.mark.parametrize("name", ["model.gguf", "parts-00002-of-00003.gguf"])
def test_a_gguf_file_on_the_web_gives_the_bytes_of_a_local_one(
    name: str, files: Path, server: Ranges, tmp_path: Path
) -> None:
    server.faults = ["cut", 503, "reset"]
    remote = convert(f"{server.url}/{name}", tmp_path / "web", ladder=LADDER)
    convert(files / name, tmp_path / "here", ladder=LADDER)
    assert digests(tmp_path / "web") == digests(tmp_path / "here")
    assert len(remote.paths) == len(parse_ladder(LADDER))
    sizes = [path.stat().st_size for path in files.glob(f"{name[:5]}*.gguf")]
    assert remote.plan.source.n_remote == sum(sizes)
    # weights once; of each part more than the header, and what broke off
    assert server.sent < 1.02 * sum(sizes) + (len(sizes) + 1) * FIRST_BYTES


def test_what_is_fetched_is_known_before(server: Ranges, files: Path, tmp_path: Path) -> None:
    source = open_source(f"{server.url}/model.gguf", cache_bytes=0)
    needs = estimate_resources(plan_ladder(source, tmp_path, "Q8_0"))
    assert needs.network == (files / "model.gguf").stat().st_size
    assert source.cached_bytes == 0


def test_another_file_of_that_name_is_another_source(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model = write_llama(tmp_path / "Tiny")
    convert(model, tmp_path / "m.gguf", ladder="F16", self_test=False)
    hub = Hub({"someone/Tiny": {"main": tmp_path}})
    with serve(hub):
        url = f"{hub.url}/someone/Tiny/resolve/main/m.gguf"
        first = open_source(url).origin["identity"]
        assert open_source(url).origin["identity"] == first
        data = bytearray((tmp_path / "m.gguf").read_bytes())
        data[-1] ^= 1
        (tmp_path / "m.gguf").write_bytes(data)
        assert open_source(url).origin["identity"] != first


def test_a_gguf_file_on_the_hub_is_read_at_one_commit(files: Path, tmp_path: Path) -> None:
    hub = Hub({"someone/Tiny-GGUF": {"main": files}})
    source = "hf:someone/Tiny-GGUF/model.gguf"
    with serve(hub):
        words = ["--ladder", LADDER, "-o", tmp_path / "hub", "--json"]
        text = run(["convert", source, *words], tmp_path / "cache", hub.url)
    assert json.loads(text)["source"]["revision"] == commit_of(files)
    convert(files / "model.gguf", tmp_path / "here", ladder=LADDER)
    assert digests(tmp_path / "hub") == digests(tmp_path / "here")
    ranges = [line for line in hub.requests if "/resolve/" in line]
    assert all(f"/resolve/{commit_of(files)}/" in line for line in ranges)


def test_a_run_goes_on_with_the_same_file_only(server: Ranges, files: Path, tmp_path: Path) -> None:
    url = f"{server.url}/model.gguf"
    convert(url, tmp_path / "out", ladder="Q8_0")
    again = run_plan(plan_ladder(open_source(url), tmp_path / "out", "Q8_0"))
    assert again.done_before == ("Q8_0",)


def test_names_that_can_not_be_read_are_errors(server: Ranges) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        open_source(f"{server.url}/absent.gguf")
    with pytest.raises(MissingFileError, match="write hf:owner/name/file"):
        open_source("hf:owner/name")
    with pytest.raises(ConversionError, match="--pre"):
        open_source(f"{server.url}/model.gguf", pre="llama-bpe")


def test_a_file_that_changes_meanwhile_is_noticed(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes((files / "model.gguf").read_bytes())
    plan = plan_ladder(open_source(path), tmp_path / "out", "Q8_0")
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(CheckpointError, match="changed during the conversion"):
        run_plan(plan)


def test_a_vision_encoder_is_resumed_like_a_ladder(tmp_path: Path, monkeypatch) -> None:
    folder = write_case(CASES["gemma3"], tmp_path / "gemma3")
    whole = write_file(MmprojSource.open(folder), tmp_path / "whole")
    real, ran = execute_module.run_task, []

    def stop_after_ten(task, **options):
        if len(ran) == 10:
            raise OutputError("stopped")
        ran.append(task.number)
        return real(task, **options)

    monkeypatch.setattr(execute_module, "run_task", stop_after_ten)
    plan = plan_ladder(MmprojSource.open(folder), tmp_path / "out")
    with pytest.raises(OutputError, match="stopped"):
        run_plan(plan, jobs=1)
    assert not list((tmp_path / "out").glob("*.gguf"))
    again: list[int] = []
    monkeypatch.setattr(
        execute_module, "run_task", lambda task, **kw: again.append(task.number) or real(task, **kw)
    )
    path = write_file(MmprojSource.open(folder), tmp_path / "out")
    assert path.read_bytes() == whole.read_bytes()
    assert {*ran, *again} == set(range(plan.n_tasks))
    assert len(again) < plan.n_tasks  # most of the ten were noted


def test_small_matrices_of_a_stack_make_one_task(tmp_path: Path) -> None:
    folder = write_case(CASES["gemma3"], tmp_path / "gemma3")
    plan = plan_ladder(MmprojSource.open(folder), tmp_path)
    tasks = list(plan.tasks())
    assert len(tasks) == plan.n_tasks
    kernels = [task for task in tasks if len(task.tensor.shape) > 3]
    assert kernels
    assert all((task.start, task.stop) == (0, task.tensor.n_rows) for task in kernels)
