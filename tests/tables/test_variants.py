"""What may share a cell: the same weights, settings, data and limit, each seed once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from croco_bench import tables
from croco_bench.config.recipe import load_recipe
from croco_bench.records.changes import changes_of, recipe_label
from croco_bench.records.store import ResultPaths, read_all, write
from croco_bench.tables.grid import build
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.show import show

DELTA1 = "nyuv2-depth/delta1"


class Folder:
    """A results folder that tests fill."""

    def __init__(self, root: Path, make: Any) -> None:
        self.root, self._make = root, make

    def put(self, model: str, value: float, seed: int = 0, **changes: Any) -> None:
        """A result of nyuv2-depth by recipe mini, with its settings; `settings__train__steps` and the like change them."""
        builtin = load_recipe("nyuv2-depth", "mini").model_dump(mode="json")
        settings = {name: builtin[name] for name in ("task", "train", "optim")} | {"limit": None}
        settings["head"] = {"name": builtin["head"]["name"], **builtin["head"]["options"]}
        result = self._make(
            model__name=model,
            metrics__delta1__value=value,
            recipe__name="mini",
            seed=seed,
            **{"settings": settings, **changes},
        )
        write(ResultPaths(self.root, "mini", "nyuv2-depth", model, seed), result, {"index": [0.0], "delta1": [value]})

    def grid(self, *others: Path, limited: bool = False) -> Grid:
        return build(read_all([self.root, *others])[0], (), include_limited=limited)[0]


@pytest.fixture
def folder(tmp_path: Path, result_of: Any) -> Folder:
    """Holds seeds 0 and 1 of `rival`."""
    made = Folder(tmp_path / "results", result_of)
    made.put("rival", 50.0)
    made.put("rival", 52.0, seed=1)
    return made


def rows(grid: Grid) -> dict[str, Row]:
    return {row.label: row for row in grid.measured}


def shown(grid: Grid) -> dict[str, tuple[float, int, int | None]]:
    """Label -> value, n, rank."""
    cells = {label: row.cells[DELTA1] for label, row in rows(grid).items()}
    return {label: (cell.value, cell.n, cell.rank) for label, cell in cells.items()}


def test_two_files_of_one_name_are_two_rows(folder: Folder) -> None:
    folder.put("mine", 60.0, model__sha256="3fa2" + "0" * 60)
    folder.put("mine", 40.0, seed=1, model__sha256="77b1" + "0" * 60, started=datetime(2026, 1, 2, tzinfo=UTC))
    assert shown(folder.grid()) == {
        "mine": (60.0, 1, 1),
        "mine, other weights 77b1…": (40.0, 1, None),
        "rival": (51.0, 2, 2),
    }


def test_a_changed_setting_is_a_row_that_is_not_ranked(folder: Folder) -> None:
    folder.put("mine", 60.0)
    folder.put("mine", 70.0, seed=1, settings__train__steps=40, recipe__fingerprint="0a1b2c3d4e5f")
    grid = folder.grid()
    assert shown(grid)["mine"] == (60.0, 1, 1)
    (label, changed) = next((label, row) for label, row in rows(grid).items() if row.differences)
    assert label == "mine, own mini.toml, train.steps=40"  # nothing declares the change
    assert changed.cells[DELTA1].rank is None and changed.cells[DELTA1].settings_differ


def test_a_folder_given_twice_counts_once(folder: Folder) -> None:
    folder.put("mine", 60.0)
    assert shown(folder.grid(folder.root)) == shown(folder.grid()) == {"mine": (60.0, 1, 1), "rival": (51.0, 2, 2)}
    assert folder.grid(folder.root).notes == folder.grid().notes


def test_a_seed_that_ran_again_counts_once(folder: Folder, tmp_path: Path, result_of: Any) -> None:
    """The committed results have seeds 0 and 1, a fresh folder the same with other rounding: the newer values count."""
    fresh = Folder(tmp_path / "fresh", result_of)
    fresh.put("rival", 50.5, finished=datetime(2026, 2, 1, tzinfo=UTC))
    fresh.put("rival", 52.0, seed=1)
    for grid in (folder.grid(fresh.root), fresh.grid(folder.root)):
        assert shown(grid) == {"rival": (51.25, 2, None)}
        assert [note for note in grid.notes if "more than once" in note] == [
            "rival, nyuv2-depth: seed 0 ran more than once, with other values; the newest run of a seed counts"
        ]


def test_a_limited_run_says_how_much_it_saw(folder: Folder) -> None:
    folder.put("mine", 60.0)
    folder.put("mine", 91.0, seed=1, dataset__images=4, settings__limit=4, dataset__fingerprint="f00d")
    folder.put("mine", 92.0, seed=2, settings__limit=700)
    assert shown(folder.grid()) == {"mine": (60.0, 1, 1), "rival": (51.0, 2, 2)}
    assert any("2 runs that saw only part of their data are left out" in note for note in folder.grid().notes)
    assert shown(folder.grid(limited=True)) == {
        "mine": (60.0, 1, 1),
        "mine, 4 of 654": (91.0, 1, None),
        "mine, at most 700 images a split": (92.0, 1, None),
        "rival": (51.0, 2, 2),
    }


def test_limited_runs_of_other_images_are_told_apart(folder: Folder) -> None:
    for seed, fingerprint in enumerate(("f00d", "beef")):
        folder.put("mine", 90.0, seed, dataset__images=4, settings__limit=4, dataset__fingerprint=fingerprint)
    labels = [label for label in rows(folder.grid(limited=True)) if label != "rival"]
    assert labels == ["mine, 4 of 654", "mine, 4 of 654, data nyuv2 test f00d"]


def test_an_incomplete_dataset_is_never_ranked(folder: Folder) -> None:
    folder.put("mine", 99.0, dataset__images=1, dataset__images_available=1041, dataset__fingerprint="0ne")
    assert "mine" not in rows(folder.grid())
    assert shown(folder.grid(limited=True))["mine, 1 of 1041"] == (99.0, 1, None)


def test_other_data_is_a_row_of_its_own(folder: Folder) -> None:
    folder.put("mine", 60.0)
    folder.put("mine", 61.0, seed=1, dataset__fingerprint="d00d00")
    folder.put("mine", 62.0, seed=2, dataset__split="val")
    assert shown(folder.grid()) == {
        "mine": (60.0, 1, 1),
        "mine, nyuv2 val": (62.0, 1, None),
        "mine, other data d00d…": (61.0, 1, None),
        "rival": (51.0, 2, 2),
    }


def test_fewer_training_images_are_said(folder: Folder) -> None:
    for model, count in (("a", 700), ("b", 700), ("c", 8)):
        folder.put(model, 60.0, settings__resolved={"train": {"train_images": count}})
    assert {"a", "b", "c, trained on 8 images"} <= rows(folder.grid()).keys()


def test_an_older_version_of_the_task_and_evaluation_alone_are_said(folder: Folder) -> None:
    folder.put("old", 60.0)
    folder.put("scored", 60.0, selected=None, task__version=2)
    folder.put("new", 60.0, task__version=2)
    assert {"new", "old, version 1 of the task", "scored, evaluation only"} <= rows(folder.grid()).keys()


def test_what_all_runs_changed_stands_in_the_heading_and_they_are_ranked(tmp_path: Path, result_of: Any) -> None:
    folder = Folder(tmp_path, result_of)
    declared = ["changed from the recipe: train.steps=30", "changed from the recipe: train.workers=0"]
    for model, value in (("a", 60.0), ("b", 61.0)):
        folder.put(
            model, value, settings__train__steps=30, recipe__fingerprint="0a1b2c3d4e5f", protocol__deviations=declared
        )
    folder.put("zero", 1.0, model__family="classical", model__source="classical:zero", selected=None)
    grid = folder.grid()
    assert grid.title == "recipe mini, train.steps=30"
    assert shown(grid) == {"a": (60.0, 1, 2), "b": (61.0, 1, 1), "zero": (1.0, 1, None)}
    path = ResultPaths(tmp_path, "mini", "nyuv2-depth", "a", 0).json
    assert "recipe mini, train.steps=30 (0a1b2c3d4e5f)" in show(path)


def test_an_own_file_never_passes_as_a_recipe_that_is_built_in(folder: Folder) -> None:
    """Also where the run changed a setting that the built-in file leaves to its default: runs record it."""
    folder.put("mine", 99.0, settings__changed={"head.features": 64}, recipe__fingerprint="0a1b2c3d4e5f")
    assert "mine, own mini.toml, head.features=64" in rows(folder.grid())


def test_many_changes_are_counted(folder: Folder, result_of: Any) -> None:
    changed = {"train.steps": 40, "optim.lr": 0.5, "optim.warmup": 0, "head": "linear", "task.loss": "l1"}
    result = result_of(recipe__name="mini", settings={"changed": changed})
    assert changes_of(result) == (
        "own mini.toml",
        "train.steps=40",
        "optim.lr=0.5",
        "optim.warmup=0",
        "2 more settings",
    )


def test_a_recipe_of_the_users_own_is_said_to_be_one(result_of: Any) -> None:
    assert recipe_label(result_of(recipe__name="mine")) == "mine, own mine.toml"
    assert recipe_label(result_of(recipe__name="mine", task__name="not-installed")) == "mine"


def test_changed_rates_of_copies_of_a_head_are_told(result_of: Any) -> None:
    settings = load_recipe("imagenet-linear", "attentive").model_dump(mode="json")
    for rates, told in ((settings["grid"]["rates"], ()), ([1e-3], ("own attentive.toml", "grid.rates=[0.001]"))):
        settings["grid"]["rates"] = rates
        result = result_of(task__name="imagenet-linear", recipe__name="attentive", settings=settings)
        assert changes_of(result) == told


def test_changes_that_touch_no_number_are_none(result_of: Any) -> None:
    deviations = ["changed from the recipe: train.workers=0", "changed from the recipe: train.tracker=tensorboard"]
    assert changes_of(result_of(recipe__name="mini", settings={}, protocol__deviations=deviations)) == ()


def test_classical_methods_are_shown_and_not_ranked(folder: Folder) -> None:
    folder.put("mine", 60.0)
    folder.put("sgm", 99.0, model__family="classical", model__source="classical:sgm", model__sha256=None, selected=None)
    assert shown(folder.grid()) == {"mine": (60.0, 1, 1), "rival": (51.0, 2, 2), "sgm": (99.0, 1, None)}
    assert not rows(folder.grid())["sgm"].cells[DELTA1].settings_differ


def test_a_classical_method_shares_those_common_changes_that_it_uses(folder: Folder) -> None:
    learned = {"task.loss": "l1", "train.steps": 40}
    declared = [f"changed from the recipe: {key}={value}" for key, value in learned.items()]
    for model in ("rival", "mine"):
        for seed in (0, 1):
            folder.put(model, 60.0, seed, settings__changed=learned, protocol__deviations=declared)
    classical: dict[str, Any] = {"model__family": "classical", "model__source": "classical:zero", "model__sha256": None}
    used: dict[str, Any] = {"settings__changed": {"task.loss": "l1"}, "protocol__deviations": declared[:1]}
    folder.put("zero", 1.0, selected=None, **classical, **used)
    assert shown(folder.grid())["zero"] == (1.0, 1, None)


def test_show_tells_a_bank_and_a_choice_without_training(tmp_path: Path, result_of: Any) -> None:
    resolved = {"probe": {"bank": {"images": 20, "patches_per_image": 16}}}
    bank = {"head": {"name": "retrieval"}, "resolved": resolved}
    for settings, selected, said in (
        (bank, {"step": 5, "metric": "miou", "split": "select"}, ("320 patches of 20 training images", " with head]")),
        (
            {},
            {"step": 0, "metric": "recall10", "split": "select"},
            ("read        as is best by recall10", " parameters]"),
        ),
    ):
        paths = ResultPaths(tmp_path, "mini", "nyuv2-depth", "mine", 0)
        write(paths, result_of(settings=settings, selected=selected), {"index": [0.0]})
        text = show(paths.json)
        assert all(words in text for words in said) and "nothing was trained" in text and "weights     of" not in text


def test_a_task_that_is_not_installed_is_still_shown(folder: Folder, result_of: Any) -> None:
    metrics = {"pck": {"value": 12.345, "ci95": None, "unit": "%", "higher_is_better": True}}
    for model, value in (("mine", 12.345), ("rival", 11.0)):
        metrics["pck"]["value"] = value
        result = result_of(model__name=model, task__name="keypoints", recipe__name="mini", metrics=metrics)
        write(ResultPaths(folder.root, "mini", "keypoints", model, 0), result, {"index": [0.0]})
    text = tables.make([folder.root], format="markdown", published="none", tests=False)
    assert "| backbone | keypoints pck (%) ↑ | nyuv2-depth δ1 (%) ↑ |" in text
    assert "| mine | **12.3** | – |" in text
