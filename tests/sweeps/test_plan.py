"""Plans: from options and from TOML files to runs, and what is refused before anything is started."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench import registry
from croco_bench.backbones import zoo
from croco_bench.errors import UsageError
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.plan import named_checkpoints, plan_of, read_plan
from croco_bench.sweeps.state import SweepFolder

OWN = "croco-bench"
PLAN = """
tasks = ["nyuv2-depth", "taskonomy-*"]
recipes = ["mini", "knn-dense-mini"]
seeds = "0-1,7"
data_root = "data"

[backbones]
random = "random:mini-croco"
mini-mae = "mini-mae"

[[block]]
exclude = ["mini/taskonomy-edges/random"]

[[block]]
tasks = "ade20k-seg"
recipes = "knn-dense-mini"
seeds = 1
set = ["train.workers=0"]
"""


def block(**changes: Any) -> dict[str, Any]:
    return {"backbones": {"random": "random:mini-croco"}, "tasks": ["nyuv2-depth"], "recipes": ["smoke"], **changes}


def refused(message: str, **changes: Any) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(block(**changes))


def test_a_file_has_blocks_that_share_what_stands_above_them(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace('recipes = ["mini", "knn-dense-mini"]', 'recipes = ["mini"]'))
    plan = read_plan(path, {})
    taskonomy = len(registry.members("taskonomy"))
    assert len(plan.cells) == 3 * ((1 + taskonomy) * 2 - 1) + 2
    assert (plan.data_root, plan.results) == (Path("data"), None)
    seeds = [cell.seed for cell in plan.cells]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 7}
    last = [cell for cell in plan.cells if cell.task == "ade20k-seg"]
    assert [(cell.name, cell.changes, cell.seed) for cell in last] == [
        ("random", ("train.workers=0",), 0),
        ("mini-mae", ("train.workers=0",), 0),
    ]
    assert not any((cell.task, cell.name) == ("taskonomy-edges", "random") for cell in plan.cells)
    assert {cell.seed for cell in read_plan(path, {"seeds": 1}).cells} == {0}


def test_tasks_without_a_recipe_are_left_out_but_some_task_must_have_it() -> None:
    plan = plan_of(block(tasks=["*"], recipes=["knn-dense-mini", "linear-mini"]))
    assert {cell.task for cell in plan.cells if cell.recipe == "knn-dense-mini"} == {"ade20k-seg"}
    assert {cell.task for cell in plan.cells if cell.recipe == "linear-mini"} >= {"nyuv2-depth", "taskonomy-normals"}
    refused("no recipe of nyuv2-depth is called 'knn-dense-mini'", recipes=["knn-dense-mini"])


def test_seeds_come_before_everything_else() -> None:
    plan = plan_of(block(tasks=["nyuv2-depth", "imagenet-linear"], seeds=2))
    assert [(cell.seed, cell.task) for cell in plan.cells] == [
        (0, "nyuv2-depth"),
        (0, "imagenet-linear"),
        (1, "nyuv2-depth"),
        (1, "imagenet-linear"),
    ]


@pytest.mark.parametrize(
    ("seeds", "expected"), [(3, (0, 1, 2)), ("2", (2,)), ("0-2,5", (0, 1, 2, 5)), ([4, 1], (1, 4)), (1, (0,))]
)
def test_seeds_are_a_number_of_them_or_a_choice(seeds: object, expected: tuple[int, ...]) -> None:
    assert tuple(cell.seed for cell in plan_of(block(seeds=seeds)).cells) == expected


def test_wrong_plans_are_one_sentence() -> None:
    refused("seeds: should be a number", seeds="two")
    refused("should go up", seeds="3-1")
    refused("should go up", seeds="0-999999999")
    refused("seeds", seeds=0)
    refused("no task is called 'nyuv3'", tasks=["nyuv3"])
    refused("no recipe of nyuv2-depth is called 'minni'; did you mean mini", recipes=["minni"])
    refused("no key of the sweep is called 'seed'; did you mean seeds", seed=3)
    refused("excludes nothing", exclude=["mini/*/rndom"])
    refused("no runs", exclude=["*"])
    refused("optim.lrr", set=["optim.lrr=1"])
    refused("has a slash", backbones={"a/b": "mini-mae"})


def test_two_blocks_must_not_write_one_result_with_different_settings(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'backbones = ["mini-mae"]\ntasks = "nyuv2-depth"\n[[block]]\nrecipes = "smoke"\n'
        '[[block]]\nrecipes = "smoke"\nset = "optim.lr=1e-4"\n'
    )
    with pytest.raises(UsageError, match="two blocks give smoke nyuv2-depth mini-mae seed 0 different settings"):
        read_plan(path, {})
    path.write_text(path.read_text().partition("set =")[0])
    assert len(read_plan(path, {}).cells) == 1


@pytest.mark.parametrize("text", ["a = [", "block = 3", "results = 3", "\x00"])
def test_damaged_plans_are_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_plan(path, {})
    with pytest.raises(UsageError, match="can't be read"):
        read_plan(tmp_path / "missing.toml", {})


def test_checkpoints_have_the_names_that_runs_give_them() -> None:
    given = ["random=random:mini-croco", "mini-croco*", "timm:vit_tiny_patch16_224", "classical:dis"]
    assert named_checkpoints(given) == {
        "random": "random:mini-croco",
        "mini-croco": "mini-croco",
        "mini-croco-cat": "mini-croco-cat",
        "vit_tiny_patch16_224": "timm:vit_tiny_patch16_224",
        "dis": "classical:dis",
    }
    with pytest.raises(UsageError, match="are both called a"):
        named_checkpoints(["a=mini-mae", "a=mini-croco"])
    with pytest.raises(UsageError, match="no backbone is called 'mimi-"):
        named_checkpoints(["mimi-*"])


def test_cells_survive_json(tmp_path: Path) -> None:
    cell, folder = Cell("nyuv2-depth", "own/short.toml", "a", "a.pth", 3, ("train.steps=3",), 5), SweepFolder(tmp_path)
    folder.announce([cell], 1, 0.0)
    assert [plan.cells for plan in folder.plans()] == [(cell,)]
    assert cell.paths(Path("r")).json == Path("r/short/nyuv2-depth/a/seed3.json")


def test_the_plan_of_the_study_has_every_task_and_every_packaged_backbone() -> None:
    plan = read_plan(Path(__file__).parents[2] / "results/study.toml", {})
    assert {cell.task for cell in plan.cells} == {entry.name for entry in registry.tasks() if entry.distribution == OWN}
    assert {cell.name for cell in plan.cells} == {"random", "random-mae", *zoo.packaged()}
    first = [cell for cell in plan.cells if cell.seed == 0]
    assert first[0].task == "correspondence" and first[-1].recipe == "mini"  # what costs least comes first


@pytest.mark.parametrize("content", [b"tasks = [", b'tasks = "\xff"', b"\x00"])
def test_plans_that_are_no_toml_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_bytes(content)
    with pytest.raises(UsageError, match="can't be read as TOML"):
        read_plan(tmp_path / "plan.toml", {})
