"""Disparity: units, loss, weights of tiles, splits, classical methods."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import TaskData
from croco_bench.data.datasets.matching import crestereo, eth3d, middlebury
from croco_bench.data.formats.disparity import write_pfm_disparity
from croco_bench.data.formats.images import write_image
from croco_bench.data.mixtures.stereo import open_mixture, open_reported
from croco_bench.engine.dataloading import _collate_evaluation
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.runs.runner import run
from croco_bench.tasks.stereo.classical import METHODS, filled
from croco_bench.tasks.stereo.task import Stereo, StereoOptions
from croco_bench.types import Sample

SIZE = (32, 32)
CREST = {"crestereo": 1.0}
# Neither the number of outputs nor pictures depend on the data.
NO_DATA: Any = None


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> Stereo:
    return Stereo(options_of(StereoOptions, {"train_on": CREST, **options}, "[task]"), image_size)


class Oracle(nn.Module):
    """Reads disparity off the first image's red; trusts itself more on the left."""

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        confidence = torch.linspace(-3, 3, one.shape[-1]).expand(len(one), 1, *one.shape[-2:])
        return torch.cat([one[:, :1] * 40, confidence], dim=1)


def told(height: int, width: int) -> Sample:
    """A pair whose red says the disparity, 0 to 40 px, but for the unknown first row."""
    red = np.linspace(0, 255, width)[None].repeat(height, 0).round().astype(np.uint8)
    image = np.stack([red, 0 * red, 0 * red], axis=2)
    valid = np.ones((height, width), np.bool_)
    valid[0] = False
    return {"image1": image, "image2": image, "disparity_px": (red / 255 * 40).astype(np.float32), "valid": valid}


@pytest.mark.parametrize("size", [(40, 56), (20, 56), (24, 30), (32, 32)])
@pytest.mark.parametrize("weights", ["sigmoid", "exponential"])
def test_predictions_have_the_images_size_and_units(size: tuple[int, int], weights: str, tiny_data: Path) -> None:
    """Images that a window doesn't fit in are enlarged; the oracle then reads the disparity of the small image."""
    task = task_of(overlap=0.5, weights=weights, beta=3.0)
    (evaluation,) = task.evaluations(task.open_test(tiny_data / "middlebury"))
    sample = evaluation.prepare(told(*size))
    batch = _collate_evaluation([{**sample, "index": 0}])
    assert isinstance(batch, dict)
    with torch.inference_mode():
        (found,) = evaluation.predict(Oracle(), batch)
    assert found.shape == size and found.dtype == np.float32
    wide = round(size[1] * max(32 / size[0], 32 / size[1], 1.0))
    np.testing.assert_allclose(found, sample["disparity_px"] * size[1] / wide, atol=0.4)
    if wide == size[1]:
        scores = evaluation.meter.measure(found, sample)
        assert scores["avgerr"] == pytest.approx(0, abs=1e-4) and scores["count"] == size[1] * (size[0] - 1)


def test_loss_is_that_of_the_option() -> None:
    batch = {"disparity_px": torch.tensor([[[[1.0, 5.0, 3.0]]]]), "valid": torch.tensor([[[True, True, False]]])}
    output = torch.tensor([[[[0.0, 0.0, 9.0]], [[1.5, 1.5, 9.0]]]])
    scale = 6 * (1 / (1 + np.exp(-0.5)) - 0.5)
    assert task_of().loss(output, batch).item() == pytest.approx(3 / np.exp(scale) + scale)
    assert task_of(loss="free").loss(output, batch).item() == pytest.approx(3 / np.exp(1.5) + 1.5)
    assert task_of(loss="l1").loss(output[:, :1], batch).item() == pytest.approx(3)
    assert (task_of().out_channels(NO_DATA), task_of(loss="l1").out_channels(NO_DATA)) == (2, 1)


def test_weights_of_windows_are_croco_stereos() -> None:
    raw = torch.tensor([0.0, 2.0, -1.0])
    sigmoid, exponential, none = (
        task_of(**options).confidence_weight
        for options in ({}, {"weights": "exponential", "beta": 3.0}, {"loss": "l1"})
    )
    assert sigmoid is not None and exponential is not None and none is None
    torch.testing.assert_close(sigmoid(raw), torch.exp(-30 * (torch.sigmoid(raw / 3) - 0.5)))
    torch.testing.assert_close(exponential(raw), torch.exp(-3 * raw))
    assert torch.isfinite(exponential(torch.tensor([-1e6, 1e6]))).all()


@pytest.mark.parametrize("augment", ["croco", "crop"])
def test_training_samples_batch_and_are_a_function_of_the_generator(augment: str, tiny_data: Path) -> None:
    task = task_of(augment=augment)
    reader = task.open(tiny_data / "middlebury", seed=0).train
    samples = [task.augment(reader[index], np.random.default_rng(index)) for index in range(4)]
    batch = default_collate(samples)
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in batch.items()}
    assert shapes == {
        **dict.fromkeys(("image1", "image2"), ((4, 3, *SIZE), torch.float32)),
        **{"disparity_px": ((4, 1, *SIZE), torch.float32), "valid": ((4, *SIZE), torch.bool)},
    }
    again = task.augment(reader[0], np.random.default_rng(0))
    assert all(torch.equal(again[key], samples[0][key]) for key in again)
    assert torch.isfinite(task.loss(torch.randn(4, 2, *SIZE), batch))


def touch_scenes(root: Path, folder: str, scenes: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Pairs of tiny images, and their truth."""
    image = np.zeros((4, 6, 3), np.uint8)
    for scene in scenes:
        (root / folder / scene).mkdir(parents=True)
        for name in names:
            write_image(root / folder / scene / name, image)
        truth = "disp0.pfm" if "2014" in folder else "disp0GT.pfm"
        write_pfm_disparity(root / folder / scene / truth, np.ones((4, 6), np.float32))


@pytest.fixture
def editions(tmp_path: Path) -> Path:
    """MiddEval3, and the scenes of 2014 that show the same or other things."""
    names = ("im0.png", "im1.png")
    touch_scenes(tmp_path / "middlebury", "MiddEval3/trainingF", ("Piano", "PianoL", "Teddy", "Vintage"), names)
    scenes = ("Piano-perfect", "Piano-imperfect", "Vintage-perfect", "Umbrella-imperfect", "Umbrella-perfect", "Sword1")
    touch_scenes(tmp_path / "middlebury", "2014", scenes, (*names, "im1E.png", "im1L.png"))
    return tmp_path


def test_what_is_reported_is_not_trained_on_under_another_name_either(editions: Path) -> None:
    train, select = open_mixture(editions, {"middlebury2014": 1.0}, report="middlebury", resolution="F", seed=0)
    assert {group.partition("/")[2] or group for group in train.groups} == {"Sword1"} and len(train) == 3
    assert len(select) == 3 and all("Umbrella-imperfect" in group for group in select.groups)


def test_the_scene_that_validates_is_kept_from_training_and_selection(editions: Path) -> None:
    task = task_of(train_on={"middeval3": 2.0, "middlebury2014": 1.0}, report="middlebury-subval")
    splits = task.open(editions / "middlebury", seed=0)
    assert splits.test.groups == ["Vintage"]
    trained = [group.rpartition("/")[2] for group in splits.train.groups]
    assert sorted(set(trained)) == ["Piano", "Piano-imperfect", "Piano-perfect", "PianoL", "Sword1", "Teddy"]
    assert trained.count("Teddy") == 2 and not any("Vintage" in group for group in splits.select.groups)


def test_eth3d_is_reported_where_it_is_asked_for(tmp_path: Path) -> None:
    scenes = ("delivery_area_3l", "delivery_area_3s", "electro_3l", "facade_1s")
    touch_scenes(tmp_path / "eth3d", "train", scenes, ("im0.png", "im1.png"))
    touch_scenes(tmp_path / "eth3d", "train_gt", scenes, ())
    assert list(open_reported(tmp_path, "eth3d", "F").groups) == sorted(scenes)
    subval = open_reported(tmp_path, "eth3d-subval", "F")
    assert set(subval.groups) == set(scenes) & set(eth3d.SELECT_SCENES)
    touch_scenes(tmp_path, "eth3d/train", ("terrace_1s",), ("im0.png", "im1.png"))
    touch_scenes(tmp_path, "eth3d/train_gt", ("terrace_1s",), ())
    train, _ = open_mixture(tmp_path, {"eth3d": 1.0}, report="eth3d-subval", resolution="F", seed=0)
    assert len(train) == 1 and not any("_3" in group for group in train.groups)  # the other carries the selection


def test_miniatures_are_split_without_overlap(tiny_data: Path) -> None:
    splits = task_of().open(tiny_data / "middlebury", seed=0)
    assert (splits.train.dataset, splits.select.dataset, splits.test.dataset) == ("crestereo",) * 2 + ("middlebury",)
    assert len(splits.train) + len(splits.select) == len(crestereo.open_split(tiny_data / "crestereo")) == 8
    assert not {group.partition("/")[2] for group in splits.train.groups} & set(splits.select.groups)
    assert list(splits.test.groups) == ["Adirondack", "ArtL", "Jadeplant", "Vintage"]


def test_what_is_missing_is_one_sentence(tiny_data: Path, tmp_path: Path) -> None:
    words = r"folder .*sceneflow, which .* leave it out with --set 'task\.train_on=\{crestereo = 1\}'"
    with pytest.raises(DataError, match=words) as caught:
        task_of(train_on={"crestereo": 1.0, "sceneflow": 4.0}).open(tiny_data / "middlebury", seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"which task\.report=eth3d scores"):
        task_of(report="eth3d").open_test(tiny_data / "middlebury")
    with pytest.raises(DataError, match="holds no folder MiddEval3_H/train or MiddEval3/trainingH"):
        task_of(resolution="H").open_test(tiny_data / "middlebury")
    touch_scenes(tmp_path / "middlebury", "MiddEval3/trainingF", ("Piano", "PianoL"), ("im0.png", "im1.png"))
    with pytest.raises(DataError, match="has none of the scenes Vintage"):
        task_of(report="middlebury-subval").open_test(tmp_path / "middlebury")
    touch_scenes(tmp_path / "middlebury", "2014", ("Piano-perfect",), ("im0.png", "im1.png", "im1E.png", "im1L.png"))
    with pytest.raises(DataError, match="no scene of middlebury2014 to train on beside those that select and report"):
        task_of(train_on={"middlebury2014": 1.0}).open(tmp_path / "middlebury", seed=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 1.0}, r"overlap: .* less than or equal to 0\.98 \(given 1\.0\)"),
        ({"beta": 0.0}, r"beta: .* greater than 0 \(given 0\.0\)"),
        ({"gamma": -5.0}, r"gamma: .* greater than 0 \(given -5\.0\)"),
        ({"windows": 0}, r"windows: .* greater than 0 \(given 0\)"),
        ({"train_on": {}}, r"task\.train_on names no dataset; .*crestereo = 1"),
        ({"train_on": {"crestero": 1.0}}, "did you mean crestereo"),
        ({"train_on": {"eth3d": 0.0}}, "leave eth3d out instead"),
        ({"train_on": {"middeval3": 1.0}}, r"would score scenes that are trained on; .*middlebury-subval"),
        ({"train_on": {"eth3d": 1.0}, "report": "eth3d"}, r"would score scenes that are trained on; .*eth3d-subval"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        task_of(**options)
    assert "\n" not in str(caught.value)


def test_methods_without_learning_see_a_wall_and_a_box_before_it() -> None:
    """A wall at 4 px, a box at 12 px before it."""
    rng = np.random.default_rng(0)
    wall, box = (rng.integers(0, 256, (64, width), dtype=np.uint8) for width in (160, 40))
    left, right = wall[:, 4:132].copy(), wall[:, 8:136].copy()
    left[20:44, 60:100], right[20:44, 48:88] = box[20:44], box[20:44]
    truth = np.full((64, 128), 4.0)
    truth[20:44, 60:100] = 12
    for name, max_share in (("sgbm", 0.05), ("bm", 0.2)):
        found = METHODS[name](left, right)
        assert found.shape == truth.shape and found.dtype == np.float32 and np.isfinite(found).all()
        assert (np.abs(found - truth) > 1).mean() < max_share
    assert not METHODS["zero"](left, right).any()


def test_holes_get_the_background_beside_them() -> None:
    hole = np.nan
    rows = np.array([[hole, 2, hole, hole, 5, hole], [hole] * 6, [7, hole, 3, 3, 3, 3]])
    assert filled(rows).tolist() == [[2, 2, 2, 2, 5, 5], [0] * 6, [7, 3, 3, 3, 3, 3]]


@pytest.mark.parametrize("known", [True, False])
def test_panels_show_disparity_in_the_same_colors(known: bool, tiny_data: Path) -> None:
    task = task_of()
    (evaluation,) = task.evaluations(TaskData(middlebury.open_evaluation(tiny_data / "middlebury", "train")))
    sample = evaluation.prepare(evaluation.reader[0])
    sample = {**sample, "valid": sample["valid"] & known}
    panels = task.panels(NO_DATA, sample, sample["disparity_px"])
    assert list(panels)[:2] == ["left image", "right image"] and len(panels) == 5
    assert all(panel.shape == (40, 56, 3) and panel.dtype == np.uint8 for panel in panels.values())
    _, _, guess, truth, _ = panels.values()
    assert np.array_equal(guess, truth) == known


def test_every_recipe_fits_the_task() -> None:
    assert {"mini", "paper", "smoke", "frozen", "frozen-encoder"} <= set(names_of("stereo"))
    for name in names_of("stereo"):
        recipe = load_recipe("stereo", name)
        task = Stereo(options_of(StereoOptions, recipe.task, "task"), recipe.train.image_size)
        assert task.out_channels(NO_DATA) == (1 if recipe.task.get("loss") == "l1" else 2)
        protocol = recipe.protocol
        assert len([*protocol.deviations, *protocol.training_deviations]) >= (6 if name == "paper" else 1)
    paper = load_recipe("stereo", "paper")
    assert paper.task["train_on"] == StereoOptions().train_on
    assert (paper.train.epochs, paper.optim.warmup, paper.train.image_size) == (32, 1, (352, 704))


@pytest.mark.slow
def test_a_run_goes_through_and_again_from_its_weights(tiny_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    result = run("stereo", "random:mini-mae", **options)
    assert result is not None
    assert result.selected is not None and result.selected.metric == "avgerr"
    assert {"avgerr", "bad2", "avgerr_noc", "bad2_pooled", "last/avgerr"} <= set(result.metrics)
    assert result.settings["resolved"]["task"]["windows"] == {"40x56": [2, 3]}
    assert result.dataset.images == 1 and result.dataset.split == "MiddEval3 train F (Vintage)"
    weights = tmp_path / "smoke" / "stereo" / result.model.name / "seed0" / "weights.safetensors"
    again = run("stereo", weights, name="again", eval_only=True, **options)
    assert again is not None
    assert again.metrics["avgerr"].value == pytest.approx(result.metrics["avgerr"].value, rel=1e-6)
    nothing = run("stereo", "classical:zero", **options)
    assert nothing is not None and "window" not in nothing.protocol.citation
    with pytest.raises(BenchError, match="did you mean zero"):
        run("stereo", "classical:zeros", **options)
