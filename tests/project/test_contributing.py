"""CONTRIBUTING.md is true: its files are written into a copy of the project, its commands are run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = {
    text.partition("\n")[0]: text.partition("\n")[2]
    for text in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]
}
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path, tiny_data: Path) -> Path:
    """The project without its committed results, the miniature beside it, and a `croco-bench` that runs this copy."""
    root = tmp_path / "project"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "mini", "smoke")
    for folder in ("croco_bench", "tasks", "heads", "results"):
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=unwanted)
    (root / "mini").symlink_to(tiny_data)
    command = tmp_path / "bin" / "croco-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m croco_bench "$@"\n')
    command.chmod(0o755)
    return root


def apply(difference: str, path: Path) -> None:
    """Replaces the lines of a diff without line numbers, which must stand in the file once."""
    lines = difference.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} should have once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def run(commands: str, root: Path) -> None:
    """Runs the lines that begin with "$ "; any that fails is shown with what it said."""
    lines = [line.removeprefix("$ ") for line in commands.splitlines() if line.startswith("$ ")]
    assert lines
    paths = {
        "PYTHONPATH": str(root),
        "PATH": f"{root.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = "set -eo pipefail\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], cwd=root, env={**os.environ, **paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


ADDITIONS = (
    "A head",
    "A task",
    "A dataset",
    "A checkpoint format",
    "A recipe",
    "A pre-training recipe",
    "Published numbers",
)


def test_every_section_with_files_is_run() -> None:
    assert {name for name, text in SECTIONS.items() if 'title="' in text} == set(ADDITIONS)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("section", ADDITIONS)
def test_what_a_section_adds_works(section: str, copy: Path) -> None:
    ran = 0
    for language, name, text in BLOCK.findall(SECTIONS[section]):
        if language == "console":
            run(text, copy)
            ran += 1
        elif language == "diff":
            apply(text, copy / name)
        else:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text, encoding="utf-8")
    assert ran


@pytest.mark.processes
def test_its_code_is_formatted_and_linted(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for language, name, text in BLOCK.findall("".join(SECTIONS.values())):
        if language == "python":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
