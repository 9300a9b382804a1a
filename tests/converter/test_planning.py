"""Plans: the work is counted without being made, modes are checked before anything is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufkit.cli.arguments import CommandParser
from ggufkit.cli.commands import convert as convert_command
from ggufkit.cli.commands import lora as lora_command
from ggufkit.converter.ladder import convert, open_source, plan_ladder
from ggufkit.converter.planning.plan import Plan, Task
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.errors import ConversionError
from ggufkit.types import FloatName, NonFinite, OutType, Search
from ggufkit.types import TensorType as T
from tests.llama import write_llama


class Shapes:
    """A source with tensors of given shapes, and nothing to read."""

    is_gguf = False

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self.tensors = tuple(SourceTensor(f"t{i}", s, T.F16) for i, s in enumerate(shapes))

    def reader(self, tensor: SourceTensor) -> None:
        return None


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple), max_size=4),
    st.integers(1, 40),
    st.booleans(),
)
def test_tasks_are_counted_as_they_are_made(
    shapes: list[tuple[int, ...]], chunk: int, with_importance: bool
) -> None:
    source = Shapes(shapes)
    importance = {
        t.name: np.ones((max(1, t.n_rows), t.n_cols), np.float32)
        for t in source.tensors
        if with_importance
    }
    plan = Plan(source=source, rungs=(), via=T.F16, importance=importance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ggufkit.converter.planning.plan.CHUNK_WEIGHTS", chunk)
        tasks = list(plan.tasks())
        assert [task.number for task in tasks] == list(range(plan.n_tasks))
        per_tensor = Counter(task.tensor.name for task in tasks)
        for tensor in plan.tensors:
            assert per_tensor[tensor.name] == plan.n_tasks_of(tensor)
            rows = [r for t in tasks if t.tensor is tensor for r in range(t.start, t.stop)]
            assert rows == list(range(tensor.n_rows))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "Tiny")


def test_a_run_makes_its_tasks_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def tasks(plan: Plan) -> Iterator[Task]:
        made.append(plan.n_tasks)
        return make_tasks(plan)

    make_tasks = Plan.tasks
    monkeypatch.setattr(Plan, "tasks", tasks)
    ladder = convert(source, tmp_path / "out", ladder="Q4_0,Q8_0")
    assert made == [ladder.plan.n_tasks]
    measured = {name for name, _ in ladder.report.sums}
    assert measured == {tensor.name for tensor in ladder.plan.tensors}


@pytest.mark.parametrize("mode", ["search", "nonfinite", "via"])
def test_an_unknown_mode_is_refused_by_the_plan(source: Path, tmp_path: Path, mode: str) -> None:
    given: dict[str, Any] = {mode: "best"}
    with pytest.raises(ConversionError, match=f"{mode} is 'best', expected one of "):
        plan_ladder(open_source(source), tmp_path, **given)


@pytest.mark.parametrize(
    ("command", "option", "mode"),
    [
        (convert_command, "--search", Search),
        (convert_command, "--nonfinite", NonFinite),
        (convert_command, "--via", FloatName),
        (lora_command, "--outtype", OutType),
    ],
)
def test_the_command_line_offers_the_modes_that_there_are(command, option: str, mode) -> None:
    parser = CommandParser()
    command.add_arguments(parser)
    (action,) = (a for a in parser._actions if option in a.option_strings)
    assert tuple(action.choices) == get_args(mode)
