"""The README says what the committed results say, and its commands exist."""

import re
from pathlib import Path

from croco_bench import registry, tables
from croco_bench.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_the_one_that_the_command_prints() -> None:
    shown = README.partition("<!-- table: begin -->\n")[2].partition("<!-- table: end -->")[0]
    assert shown.strip() == tables.make([ROOT / "results"], recipe="mini", format="markdown", published="none").strip()


def test_every_command_in_it_exists() -> None:
    named = set(re.findall(r"croco-bench ([a-z]+)", README))
    known = {command.name or command.callback.__name__ for command in main.app.registered_commands if command.callback}
    known |= {group.name for group in main.app.registered_groups if group.name}
    assert named <= known
    assert {"run", "table", "demo", "show", "data", "models"} <= named


def test_every_task_it_runs_is_installed() -> None:
    for task in re.findall(r"croco-bench run ([\w-]+)", README):
        assert registry.members(task)
