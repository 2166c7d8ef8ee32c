"""The cells of a smoke run, and its sample checkpoints."""

from pathlib import Path

from croco_bench import load_backbone, registry
from croco_bench.workflows.sample_checkpoints import write_samples
from croco_bench.workflows.smoke import cells_of, further_recipes

TASKONOMY = registry.members("taskonomy")


def test_smoke_tries_the_recipes_of_frozen_read_outs_with_one_checkpoint() -> None:
    found = further_recipes()
    assert {("ade20k-seg", "smoke-knn-dense"), ("sintel-flow", "smoke-frozen-encoder")} <= set(found)
    assert all(recipe.startswith("smoke-") for _, recipe in found) and len(found) == len(set(found))


def test_smoke_gives_the_first_of_a_group_every_checkpoint() -> None:
    cells = [cell for cell in cells_of(["one", "two"]) if cell[0].startswith("taskonomy")]
    assert cells == [(TASKONOMY[0], "one"), (TASKONOMY[0], "two"), *((name, "one") for name in TASKONOMY[1:])]


def test_sample_checkpoints_have_official_formats_and_are_kept(tmp_path: Path) -> None:
    paths = write_samples(tmp_path)
    assert {load_backbone(path, image_size=64).origin.format for path in paths.values()} == {
        "CroCo v2",
        "MAE pre-trained",
        "MultiMAE",
    }
    before = {path: Path(path).stat().st_mtime_ns for path in paths.values()}
    assert write_samples(tmp_path) == paths
    assert {path: Path(path).stat().st_mtime_ns for path in paths.values()} == before
