"""The files in .github parse, ask for what they should, and call what exists."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(p for p in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
# Paths of the repository that a step's command names.
PATHS = re.compile(r"(?<![\w./$-])(?:scripts|tests|docs|ggufkit)/[\w./-]+|\b\w+\.txt\b")
PINNED = re.compile(r"[\w.-]+/[\w.-]+@v\d+")
# Inputs that a form may be made of, besides "markdown".
INPUTS = {"input", "textarea", "dropdown", "checkboxes"}


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


def test_there_are_workflows_and_forms() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml"]
    assert [path.name for path in FORMS] == ["bug.yml", "model.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_commands_name_files_that_exist(path: Path) -> None:
    named = PATHS.findall(commands(load(path)))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    scripts = {name for name in named if name.startswith("scripts/")}
    assert [name for name in scripts if not os.access(ROOT / name, os.X_OK)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned_and_may_only_read(path: Path) -> None:
    workflow = load(path)
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [name for name in used if not PINNED.fullmatch(name)] == []
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_only_windows_may_fail() -> None:
    jobs = load(GITHUB / "workflows" / "ci.yml")["jobs"]
    assert [name for name, job in jobs.items() if job.get("continue-on-error")] == ["windows"]


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.name)
def test_issue_forms_are_complete(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert {item["type"] for item in fields} <= INPUTS
    ids = [item["id"] for item in fields]
    assert len(set(ids)) == len(ids)
    assert all(item["attributes"]["label"] for item in fields)
    required = {item["id"] for item in fields if item.get("validations", {}).get("required")}
    assert "doctor" in required
    for item in fields:
        options = item["attributes"].get("options", [])
        # unquoted, YAML takes yes and no for booleans, which GitHub refuses
        assert all(isinstance(option, str) for option in options)
    assert required >= ({"command", "error"} if path.stem == "bug" else {"class", "dry-run"})


def test_blank_issues_are_allowed() -> None:
    assert load(GITHUB / "ISSUE_TEMPLATE" / "config.yml") == {"blank_issues_enabled": True}
