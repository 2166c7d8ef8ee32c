"""The arrows between rooms, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "croco_bench"
TORCH_FREE = [
    "records.schema",
    "records.store",
    "tables",
    "config.recipe",
    "registry",
    "cli.main",
    "metrics",
    "errors",
    "backbones.zoo",
    "data.catalogue",
]


def imported_by(path: Path) -> set[str]:
    """Every module that a file imports, at any depth of indentation."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def python_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if not any(part.is_symlink() for part in path.parents)]


def rooms(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("croco_bench.")}


def test_the_engine_imports_no_task_and_no_head() -> None:
    for path in python_files(ENGINE):
        assert not rooms(imported_by(path)) & {"tasks", "heads"}, path


def test_tasks_and_heads_know_neither_each_other_nor_the_engine() -> None:
    allowed = {"contracts", "errors", "registry", "types"}
    for path in python_files(ROOT / "tasks"):
        assert rooms(imported_by(path)) <= allowed | {"metrics", "data", "tasks", "tiling"}, path
    for path in python_files(ROOT / "heads"):
        assert rooms(imported_by(path)) <= allowed | {"heads"}, path


def test_backbones_data_and_metrics_stand_below_the_engine() -> None:
    engine = {"runner", "train", "evaluate", "assembly", "report", "cli.main", "store", "record", "tables", "recipe"}
    for room in ("backbones", "data", "metrics"):
        for path in python_files(ENGINE / room):
            assert not rooms(imported_by(path)) & engine, path


@pytest.mark.parametrize("module", TORCH_FREE)
def test_light_modules_import_no_torch(module: str) -> None:
    code = f"import sys, croco_bench.{module}; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tables_import_no_numpy_either(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from croco_bench import tables;"
        f"tables.make([Path({str(tmp_path)!r})]); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_catalogues_import_no_torch() -> None:
    code = (
        "import sys; from croco_bench import registry as r; from croco_bench.config.recipe import load_recipe, names_of;"
        "assert len(r.tasks()) and len(r.heads());"
        "[load_recipe(t.name, n) for t in r.tasks() for n in names_of(t.name)];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_file_is_too_long() -> None:
    for folder in (ENGINE, ROOT / "tasks", ROOT / "heads", ROOT / "tests"):
        for path in python_files(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
