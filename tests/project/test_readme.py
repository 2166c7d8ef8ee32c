"""The README says what the committed results say, and its commands exist."""

import re
from pathlib import Path

import pytest

from croco_bench import registry, tables
from croco_bench.cli import main
from croco_bench.records.selection import Selection

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


FROZEN = (
    "linear-mini",
    "linear4-mini",
    "dpt-frozen-mini",
    "knn-dense-mini",
    "attentive-mini",
    "frozen-mini",
    "frozen-encoder-mini",
)


def shown_in(page: str, mark: str = "table") -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(f"<!-- {mark}: begin -->\n")[2].partition(f"<!-- {mark}: end -->")[0].strip()


def printed(recipe: str, *tasks: str) -> str:
    selection = Selection(tasks=tasks)
    return tables.make(
        [ROOT / "results"], recipe=recipe, format="markdown", published="none", selection=selection
    ).strip()


@pytest.mark.slow
def test_the_tables_are_those_that_the_command_prints() -> None:
    """The first in the README, the others, one number per domain of Taskonomy, on the page of results."""
    first, mark, others = printed("mini", "[!c]*").partition("\n### ")
    assert shown_in("README.md") == first.strip()
    assert shown_in("docs/results.md") == (mark + others).strip()
    assert shown_in("docs/results.md", "frozen") == "\n\n".join(map(printed, FROZEN))
    assert shown_in("docs/results.md", "correspondence") == printed("mini", "correspondence*")
    assert "taskonomy-curvature" in others and "taskonomy-curvature" not in first


def test_every_command_in_it_exists() -> None:
    named = set(re.findall(r"croco-bench ([a-z]+)", README))
    known = {command.name or command.callback.__name__ for command in main.app.registered_commands if command.callback}
    known |= {group.name for group in main.app.registered_groups if group.name}
    assert named <= known
    assert {"run", "table", "demo", "show", "data", "models"} <= named


def test_every_task_it_runs_is_installed() -> None:
    for task in re.findall(r"croco-bench run ([\w-]+)", README):
        assert registry.members(task)
