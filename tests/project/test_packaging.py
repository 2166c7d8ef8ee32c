"""What an installation holds: the links and the package list must say the same."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from croco_bench import __version__

ROOT = Path(__file__).parents[2]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
LINKS = {"tasks": "tasks", "heads": "heads", "measured": "results", "published": "results/published"}
MEGABYTES = 25


def test_links_lead_to_the_real_folders() -> None:
    for inner, real in LINKS.items():
        assert (ROOT / "croco_bench" / inner).resolve() == ROOT / real


def test_the_package_list_names_every_package() -> None:
    found = {"croco_bench.measured", "croco_bench.published"}  # data only
    for name, folder in SETUP["package-dir"].items():
        for marker in (ROOT / folder).rglob("__init__.py"):
            if not any(part.is_symlink() for part in marker.parents):
                inner = marker.parent.relative_to(ROOT / folder).parts
                found.add(".".join((name, *inner)))
    assert found == set(SETUP["packages"])


@pytest.mark.slow
@pytest.mark.processes
def test_a_wheel_holds_what_the_tree_holds(tmp_path: Path) -> None:
    # A copy: what an earlier build left in the tree must not be packed again.
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "demo")
    copy = shutil.copytree(ROOT, tmp_path / "copy", symlinks=True, ignore=unwanted)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(copy),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"croco_bench-{__version__}-")
    assert wheel.stat().st_size < MEGABYTES * 1e6
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.endswith((".py", ".toml"))}
    tree = set()
    for package, folder in SETUP["package-dir"].items():
        if package == "croco_bench.measured":
            continue
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.toml")]:
            if not any(part.is_symlink() for part in path.parents):
                tree.add(f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}")
    assert inside == tree
    assert "croco_bench/published/croco.toml" in inside
    measured = {name.removeprefix("croco_bench/measured/") for name in names if "/measured/" in name}
    results = [path for path in (ROOT / "results/mini").rglob("seed*") if path.suffix in (".json", ".npz")]
    assert measured == {str(path.relative_to(ROOT / "results")) for path in results}


@pytest.mark.processes
def test_the_folders_refuse_to_be_imported_by_their_bare_names() -> None:
    for name in ("tasks", "heads"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert "pip install -e ." in done.stderr
