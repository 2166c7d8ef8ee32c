"""Which folder may import which, what must stay light, and how large files, folders and functions may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"": ROOT / "croco_bench", "tasks": ROOT / "tasks", "heads": ROOT / "heads"}

# Every folder of the package and every module in its root, lowest first, with what each may import: only what stands
# above it here, so there are no circles. An import inside a function counts, and so does a name in a string, such as
# "croco_bench.data.pairs:write_listing", which is imported later. `public` are `__init__.py` and `__main__.py`.
ALLOWED = {
    "types": "",
    "display": "",
    "errors": "display",
    "limits": "errors",
    "numpy_objects": "",
    "progress": "display",
    "seeding": "",
    "signals": "",
    "tiling": "types",
    "valid_pixels": "",
    "files": "errors limits progress",
    "trackers": "errors files progress",
    "metrics": "errors types",
    "contracts": "errors metrics types",
    "registry": "errors metrics progress",
    "config": "errors files registry",
    "heads": "contracts errors registry",
    "backbones.networks": "contracts errors progress types",
    "backbones.formats": "backbones.networks contracts errors",
    "backbones": "backbones.formats backbones.networks contracts errors files numpy_objects progress registry seeding types",
    "data.formats": "errors limits types",
    "data.transforms": "types",
    "data.rooms": "errors files seeding types",
    "data": "contracts data.formats errors files seeding signals types",
    "data.posed": "data data.formats errors files numpy_objects seeding types",
    "data.checks": "contracts data data.posed data.transforms errors types",
    "data.mining": "data data.checks data.formats data.posed errors files progress seeding types",
    "data.datasets.imagenet_files": "data.formats errors files limits progress",
    "data.datasets": "contracts data data.checks data.datasets.imagenet_files data.formats data.posed errors"
    " files seeding types",
    "data.datasets.correspondence": "data data.checks data.formats errors files seeding types",
    "data.datasets.geometry": "contracts data data.checks data.datasets data.formats errors files types",
    "data.datasets.matching": "data data.checks data.formats errors files types",
    "data.mixtures": "contracts data data.datasets.matching errors files seeding",
    "data.catalogue": "data.checks data.datasets data.datasets.correspondence data.datasets.geometry data.datasets.matching"
    " errors files registry",
    "data.miniatures": "data data.datasets.geometry data.formats data.posed data.rooms errors files"
    " progress registry seeding types",
    "data.miniatures.matching": "data.datasets.matching data.formats data.miniatures data.rooms errors seeding types",
    "data.miniatures.correspondence": "data.datasets data.datasets.correspondence data.formats data.miniatures data.posed"
    " data.rooms errors seeding types",
    "tasks.relative_pose": "contracts data data.datasets data.posed data.transforms errors metrics tiling types",
    "tasks.correspondence": "contracts data data.datasets data.datasets.correspondence data.posed data.transforms metrics"
    " tasks.relative_pose types",
    "tasks.matching": "contracts data.transforms errors metrics tiling types valid_pixels",
    "tasks.sintel_flow": "contracts data.datasets.matching data.formats data.mixtures data.transforms errors metrics"
    " tasks.matching types",
    "tasks.stereo": "contracts data.mixtures data.transforms errors metrics tasks.matching types",
    "tasks": "contracts data data.datasets data.datasets.geometry data.transforms errors metrics registry"
    " tasks.correspondence tasks.relative_pose tasks.sintel_flow tasks.stereo tiling types valid_pixels",
    "engine": "config contracts errors files metrics progress seeding signals tiling trackers types",
    "records": "config errors files registry",
    "tables.text": "display",
    "tables.comparison": "display errors files metrics records registry tables.text types",
    "tables": "backbones display errors files metrics records registry tables.comparison tables.text",
    "report": "data.formats display engine errors files metrics records tables tables.comparison",
    "probing": "config contracts data engine errors files metrics progress seeding types",
    "runs": "backbones backbones.networks config contracts data data.checks display engine errors files metrics"
    " probing progress records registry seeding types",
    "sharing": "backbones config display errors files limits progress records registry report runs tables tables.comparison"
    " tables.text types",
    "sweeps": "backbones config data display errors files progress records registry runs signals",
    "pretraining": "backbones backbones.formats backbones.networks config contracts data data.checks data.datasets"
    " data.mixtures data.rooms data.transforms engine errors files progress registry seeding types",
    "testing": "backbones config contracts data engine errors metrics registry types",
    "workflows": "backbones backbones.networks config contracts data data.catalogue data.checks data.datasets data.formats"
    " data.miniatures data.posed data.rooms display engine errors files progress records registry report runs sweeps tables"
    " types",
    "plots": "errors files records report tables tables.comparison",
    "cli": "backbones config data data.catalogue data.checks data.miniatures data.mining errors files plots pretraining progress"
    " records registry report runs sharing signals sweeps tables tables.comparison workflows",
    "public": "backbones cli errors records runs",
}

# The only modules that import what a string names: every such string stands in a folder that may import its target
# (backbones.formats imports the modules of its own folder).
LATE_IMPORTS = {
    "__init__",
    "backbones.formats.__init__",
    "backbones.own_code",
    "config.recipe",
    "data.catalogue.loader",
    "data.miniatures.make",
    "registry",
}

LIGHT = [
    "records.schema",
    "records.store",
    "tables",
    "config.recipe",
    "registry",
    "cli.main",
    "metrics",
    "errors",
    "backbones.zoo",
    "tables.comparison.multiple",
    "data.catalogue",
]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without "croco_bench."; a folder's name is that of its `__init__`."""
    found = {}
    for prefix, base in SOURCES.items():
        for path in sorted(base.rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                parts = (prefix, *path.relative_to(base).with_suffix("").parts)
                found[".".join(part for part in parts if part)] = path
    return found


MODULES = modules()
FOLDERS = {name.removesuffix(".__init__") for name in MODULES if name.endswith(".__init__")}


def folder_of(name: str) -> str:
    """The folder of a dotted name: data.formats for data.formats.flow; a module of the root stands for itself."""
    if name in ("__init__", "__main__"):
        return "public"
    parts = name.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in FOLDERS), parts[0])


def imported_by(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, at any depth, and of those that its strings name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    groups = {
        id(keyword.value) for keyword in ast.walk(tree) if isinstance(keyword, ast.keyword) and keyword.arg == "group"
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=level, module=module, names=names):
                assert level == 0, "relative import"
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if id(node) not in groups:
                if re.fullmatch(r"croco_bench(\.\w+)+(:[\w./-]+)?", text):
                    yield text.partition(":")[0]


def named_by_cards() -> Iterator[tuple[str, Path, str]]:
    """(folder, TOML file in it, module that a text of the file names)."""
    for prefix, base in SOURCES.items():
        for path in base.rglob("*.toml"):
            folder = ".".join(part for part in (prefix, *path.parent.relative_to(base).parts) if part)
            for name in re.findall(r'"(croco_bench(?:\.\w+)+)"', path.read_text(encoding="utf-8")):
                yield folder_of(folder), path, name


def arrows() -> dict[tuple[str, str], str]:
    """(importing folder, imported folder) -> an import that makes this arrow."""
    imports = [(folder_of(name), path, target) for name, path in MODULES.items() for target in imported_by(path)]
    found = {}
    for here, path, target in [*imports, *named_by_cards()]:
        package, _, inner = target.partition(".")
        there = folder_of(inner)
        if package == "croco_bench" and here != there and inner != "__version__":
            found[here, there] = f"{path.relative_to(ROOT)} imports {target}"
    return found


def allowed() -> set[tuple[str, str]]:
    return {(here, there) for here, names in ALLOWED.items() for there in names.split()}


@pytest.mark.slow
def test_folders_import_only_what_they_may() -> None:
    beyond = {arrow: where for arrow, where in arrows().items() if arrow not in allowed()}
    wrong = [f"{where}, but ALLOWED[{here!r}] lacks {there!r}" for (here, there), where in beyond.items()]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_allowed_that_is_not_needed() -> None:
    assert not allowed() - set(arrows())


def test_what_a_folder_may_import_stands_above_it() -> None:
    order = list(ALLOWED)
    assert set(order) == {folder_of(name) for name in MODULES}
    for here, names in ALLOWED.items():
        assert all(order.index(there) < order.index(here) for there in names.split()), here


@pytest.mark.slow
def test_tasks_heads_and_the_engine_meet_in_recipes_alone() -> None:
    for here, there in arrows():
        assert not (there.startswith("heads") and here != "heads"), here
        assert not (there.startswith("tasks") and not here.startswith("tasks")), here
    below = " ".join(names for here, names in ALLOWED.items() if here.startswith(("tasks", "heads"))).split()
    above = {"engine", "runs", "records", "tables", "probing", "pretraining", "config", "cli", "backbones", "workflows"}
    assert not above & set(below)


def test_few_modules_import_what_strings_name() -> None:
    importing = {name for name, path in MODULES.items() if "import_module" in path.read_text(encoding="utf-8")}
    assert importing == LATE_IMPORTS


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_no_torch(module: str) -> None:
    code = f"import sys, croco_bench.{module}; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.processes
def test_tables_import_no_numpy_either(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from croco_bench import tables;"
        f"tables.make([Path({str(tmp_path)!r})]); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.processes
def test_the_catalogues_import_no_torch() -> None:
    code = (
        "import sys; from croco_bench import registry as r; from croco_bench.config.recipe import load_task_recipe, names_of;"
        "assert len(r.tasks()) and len(r.heads());"
        "[load_task_recipe(t.name, n) for t in r.tasks() for n in names_of(t.name)];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_file_is_too_long() -> None:
    for path in [*MODULES.values(), *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_no_folder_is_too_full() -> None:
    for folder in {path.parent for path in MODULES.values()}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 16, folder


@pytest.mark.slow
def test_functions_are_short() -> None:
    lengths = []
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append((node.end_lineno or 0) - node.lineno + 1)
    assert sorted(lengths)[int(0.95 * len(lengths))] < 26
