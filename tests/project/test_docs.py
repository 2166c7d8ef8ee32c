"""Files that people and services read: the picture of the house, the changelog, workflows, issue forms, hooks, citation."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from croco_bench import __version__

ROOT = Path(__file__).parents[2]
DEVELOPMENT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["dev"]


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_picture_of_the_folders_is_up_to_date() -> None:
    drawn = runpy.run_path(str(ROOT / "docs/draw_house.py"))["draw"]()
    assert (ROOT / "docs/house.svg").read_text(encoding="utf-8") == drawn, "run python docs/draw_house.py"


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == __version__
    assert len(set(headings)) == len(headings)


def test_workflows_run_sessions_that_exist() -> None:
    sessions = set(re.findall(r"@nox.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    called = set()
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for job in parsed(path)["jobs"].values():
            matrix = job.get("strategy", {}).get("matrix", {})
            called |= {*matrix.get("session", ()), *(one["session"] for one in matrix.get("include", ()))}
            called |= {name for step in job["steps"] for name in re.findall(r"--session (\w+)", step.get("run", ""))}
    assert called == sessions - {"demo", "bench"}  # the machines of workflows tell nothing about speed


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_read_only_and_pin_their_actions_to_commits(path: Path) -> None:
    workflow = parsed(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    lines = re.findall(r"uses: .*", path.read_text(encoding="utf-8"))
    assert lines and all(re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in lines)
    checkouts = [
        step for job in workflow["jobs"].values() for step in job["steps"] if "checkout" in step.get("uses", "")
    ]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_and_dependencies_are_updated() -> None:
    kinds = {update["package-ecosystem"] for update in parsed(ROOT / ".github/dependabot.yml")["updates"]}
    assert kinds == {"github-actions", "pip"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*-*.yml")), ids=lambda path: path.stem)
def test_issue_forms_are_whole(path: Path) -> None:
    form = parsed(path)
    assert form["name"] and form["description"] and form["body"]
    for part in form["body"]:
        assert part["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert part["attributes"]["label"]
        assert part["type"] not in ("dropdown", "checkboxes") or part["attributes"]["options"]


def test_hooks_are_tools_of_the_development_extra() -> None:
    installed = {re.split("[><=]", requirement)[0] for requirement in DEVELOPMENT}
    (local,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    assert {hook["entry"].split()[0] for hook in local["hooks"]} == {"ruff", "codespell", "mypy"} <= installed


def test_the_citation_has_what_it_needs_and_no_version_of_its_own() -> None:
    citation = parsed(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert "version" not in citation  # it stands in croco_bench/__init__.py alone
