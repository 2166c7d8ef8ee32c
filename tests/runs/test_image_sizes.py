"""Image sizes that don't fit the network: one sentence with the setting that does."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench.errors import FitError
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.runs.runner import run


@pytest.mark.parametrize(
    ("task", "size", "setting"),
    [
        ("nyuv2-depth", "64", "56"),  # DPT wants an even grid: multiples of 28
        ("nyuv2-depth", "[64,90]", r"\[56,84\]"),
        ("imagenet-linear", "32", "28"),
        ("imagenet-linear", "48", "42"),
    ],
)
def test_the_advice_is_a_setting_that_fits(task: str, size: str, setting: str, tiny_data: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    with pytest.raises(FitError, match=rf"patch size 14; the nearest that fits is --set train\.image_size={setting}$"):
        run(task, "random:vit_small_patch14_dinov2", changes=[f"train.image_size={size}"], **given)


def test_the_advised_setting_works(tiny_data: Path, tmp_path: Path) -> None:
    changes = ["train.image_size=28", "train.steps=1", "train.select_every=1", "optim.warmup=0"]
    given: dict[str, Any] = {
        "recipe": "smoke",
        "data_root": tiny_data,
        "results": tmp_path,
        "device": "cpu",
        "limit": 4,
    }
    result = run("nyuv2-depth", "random:vit_small_patch14_dinov2", changes=changes, **given)
    assert result is not None
    assert result.settings["train"]["image_size"] == [28, 28]


def test_pre_training_names_its_setting_too() -> None:
    with pytest.raises(FitError, match=r"patch size 14; the nearest that fits is --set train\.image_size=70$"):
        build(recipes.load("mini", ["model.patch_size=14"]), 0)
