"""The cells of a smoke run, its sample checkpoints, and the demo on tiny data."""

import functools
from pathlib import Path

import pytest

from croco_bench import load_backbone, registry
from croco_bench.backbones import zoo
from croco_bench.data.miniatures.make import make_mini
from croco_bench.workflows import demo
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


@pytest.mark.slow
def test_the_demo_prints_a_table_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tiny data with the smoke recipe: table printed, page written, a second call does nothing twice."""
    monkeypatch.setattr(demo, "RECIPE", "smoke")
    monkeypatch.setattr(demo, "make_mini", functools.partial(make_mini, tiny=True))
    for _ in range(2):
        demo.demo(tmp_path, open_page=False)
        output = capsys.readouterr()
        assert "recipe smoke" in output.out and "published" not in output.out and "MultiMAE" not in output.out
    assert output.err.count("already done") == 5
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/webp;base64,") == 5
    assert all(name in page for name in ("random", *zoo.packaged()))
