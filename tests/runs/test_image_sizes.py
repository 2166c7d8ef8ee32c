"""Image sizes that don't fit the network: one sentence with the setting that does."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from croco_bench.config.recipe import load_recipe
from croco_bench.contracts import Task
from croco_bench.errors import FitError, size_text
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import at_fitting_size, build
from croco_bench.runs.request import RunRequest
from croco_bench.runs.runner import run
from croco_bench.runs.setup import set_up

RECIPES = Path(__file__).parents[2] / "tasks/recipes"
PATCHES = (8, 14, 16, 32)
TASKS = ("nyuv2-depth", "taskonomy-depth", "ade20k-seg", "imagenet-linear", "sintel-flow", "relative-pose", "stereo")


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


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain ViTs by patch size: `<patch size>.pth`."""
    folder = tmp_path_factory.mktemp("vits")
    for patch_size in PATCHES:
        torch.manual_seed(0)
        network = VisionTransformer(
            img_size=4 * patch_size, patch_size=patch_size, embed_dim=48, depth=4, num_heads=4, num_classes=0
        )
        torch.save(network.state_dict(), folder / f"{patch_size}.pth")
    return folder


@pytest.mark.parametrize("patch_size", PATCHES)
@pytest.mark.parametrize("task", TASKS)
def test_auto_fits_every_patch_size(task: str, patch_size: int, vits: Path, tiny_data: Path) -> None:
    recipe = load_recipe(task, "smoke", ["train.image_size=auto"])
    given = recipe.train.image_size
    asked = RunRequest(task, str(vits / f"{patch_size}.pth"), recipe, tiny_data, changes=("train.image_size=auto",))
    setup = set_up(asked, 1)
    size = setup.request.recipe.train.image_size
    assert all(
        side % patch_size == 0 and abs(side - wanted) <= 2 * patch_size
        for side, wanted in zip(size, given, strict=True)
    )
    assert setup.settings["train"]["image_size"] == list(size) and "nearest_size" not in setup.settings["train"]
    assert setup.request.changes == (() if size == given else (f"train.image_size={size_text(size)}",))
    views = [torch.zeros(2, 3, *size)] * setup.task.views
    with torch.inference_mode():
        output = setup.network.eval()(*views)
    assert isinstance(setup.task, Task) and output.shape[:2] == (2, setup.task.out_channels(setup.data))
    told = set_up(replace(asked, recipe=load_recipe(task, "smoke", [f"train.image_size={size_text(size)}"])), 1)
    assert told.fingerprint == setup.fingerprint


@pytest.mark.parametrize("task", TASKS)
def test_without_auto_the_sentence_names_the_setting(task: str, vits: Path, tiny_data: Path) -> None:
    recipe = load_recipe(task, "smoke", ["train.image_size=[50,66]"])
    with pytest.raises(FitError, match=r"--set train\.image_size=\S+$") as caught:
        set_up(RunRequest(task, str(vits / "14.pth"), recipe, tiny_data), 1)
    advised = str(caught.value).rpartition("--set ")[2]
    set_up(RunRequest(task, str(vits / "14.pth"), load_recipe(task, "smoke", [advised]), tiny_data), 1)


def test_auto_in_a_run_says_the_size_once(
    vits: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["train.image_size=auto", "train.steps=1", "train.select_every=1", "optim.warmup=0"]
    given: dict[str, Any] = {
        "recipe": "smoke",
        "data_root": tiny_data,
        "results": tmp_path,
        "device": "cpu",
        "limit": 4,
    }
    result = run("nyuv2-depth", str(vits / "14.pth"), changes=changes, **given)
    assert result is not None and result.settings["train"]["image_size"] == [28, 28]
    assert "changed from the recipe: train.image_size=28" in result.protocol.deviations
    assert capsys.readouterr().err.count("train.image_size=auto: 28, the nearest to 32 that fits") == 1


def test_a_size_can_be_near_to_another_than_the_recipes() -> None:
    def size(*changes: str) -> tuple[tuple[int, int], bool]:
        train = load_recipe("nyuv2-depth", "paper", changes).train
        return train.image_size, train.nearest_size

    assert size("train.image_size=128", "train.image_size=auto") == ((128, 128), True)
    assert size("train.image_size=auto", "train.image_size=128") == ((128, 128), False)
    assert size("train.image_size=auto") == (size()[0], True)


def test_a_recipe_may_say_auto(tmp_path: Path) -> None:
    text = (RECIPES / "nyuv2-depth/smoke.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(re.sub(r"image_size = .*", 'image_size = "auto"', text))
    train = load_recipe("nyuv2-depth", str(own)).train
    assert (train.image_size, train.nearest_size) == ((224, 224), True)


def test_pre_training_takes_auto() -> None:
    recipe = at_fitting_size(recipes.load("mini", ["model.patch_size=14", "train.image_size=auto"]))
    assert recipe.train.image_size == (70, 70) and not recipe.train.nearest_size
    build(recipe, 0)
