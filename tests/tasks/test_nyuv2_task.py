"""Monocular depth on NYUv2: loss, units, both protocols, augmentation."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import Evaluation, TaskData
from croco_bench.data.splitting import limit
from croco_bench.errors import DataError, UsageError
from croco_bench.metrics.meter import stack
from croco_bench.tasks.nyuv2_depth import NYUv2Depth, NYUv2DepthOptions
from croco_bench.types import Sample

SIZE = (32, 32)
# Neither the number of outputs nor pictures depend on the data.
NO_DATA: Any = None


class Rooms:
    """Smooth depths from 1 to 6 m; the red channel of the image is depth in twentieths of a metre."""

    dataset, miniature = "nyuv2", True
    groups: Sequence[str]

    def __init__(self, count: int, split: str, height: int = 48, width: int = 64) -> None:
        self.split, self.available = split, count
        self.groups = [f"room_{index // 3:04d}" for index in range(count)]
        self.height, self.width = height, width

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> Sample:
        rows, columns = np.mgrid[: self.height, : self.width]
        depth = 1 + index % 3 + 2 * rows / self.height + columns / self.width
        image = np.zeros((self.height, self.width, 3), np.uint8)
        image[:, :, 0] = (20 * depth).round()
        return {"image": image, "depth_m": depth.astype(np.float32), "valid": depth > 1.2, "id": f"{index:04d}"}

    def fingerprint(self) -> str:
        return f"{self.split}{self.available}"


class Oracle(nn.Module):
    """Reads depth off the red channel, in the units the task wants."""

    def __init__(self, task: NYUv2Depth) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, *self.task.image_size)
        meters = images[:, :1] * 255 / 20
        return (meters - self.task.state["mean_m"]) / self.task.state["std_m"]


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> NYUv2Depth:
    task = NYUv2Depth(NYUv2DepthOptions(**options), image_size)
    task.measure_state(Rooms(9, "train"))
    return task


def score(evaluation: Evaluation, network: nn.Module) -> dict[str, float]:
    rows = []
    for index in range(len(evaluation.reader)):
        sample = evaluation.prepare(evaluation.reader[index])
        batch = {key: value[None] if key == "image" else [value] for key, value in sample.items()}
        with torch.inference_mode():
            (prediction,) = evaluation.predict(network, batch)
        rows.append(evaluation.meter.measure(prediction, sample))
    return evaluation.meter.reduce(stack(rows))


def batch_of(depth: list[float], valid: list[bool]) -> dict[str, Tensor]:
    return {"depth_m": torch.tensor([[depth]]), "valid": torch.tensor([[valid]])}


def test_berhu_by_hand() -> None:
    """Errors 5, 0.5, 1, -2 and a wild invalid one; the turn is at 1: (25+1)/2, 0.5, 1, (4+1)/2."""
    task = task_of(target="metres")
    output = torch.tensor([[[[6.0, 1.5, 2.0, 1.0, 900.0]]]], requires_grad=True)
    loss = task.loss(output, batch_of([1.0, 1.0, 1.0, 3.0, math.nan], [True] * 4 + [False]))
    assert loss.item() == pytest.approx((13 + 0.5 + 1 + 2.5) / 4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    # e / c / n beyond the turn, where c passes no gradient; the sign below it.
    assert output.grad.flatten().tolist() == pytest.approx([5 / 4, 1 / 4, 1 / 4, -2 / 4, 0])


def test_the_turn_of_berhu_is_that_of_the_batch() -> None:
    task = task_of(target="metres")
    both = {"depth_m": torch.zeros(2, 1, 1), "valid": torch.ones(2, 1, 1, dtype=torch.bool)}
    output = torch.tensor([10.0, 1.0]).view(2, 1, 1, 1)
    assert task.loss(output, both).item() == pytest.approx(((100 + 4) / 4 + 1) / 2)


def test_l1_by_hand_in_standardised_units() -> None:
    task = task_of(loss="l1")
    task.state = {"mean_m": 2.0, "std_m": 0.5}
    loss = task.loss(torch.zeros(1, 1, 1, 3), batch_of([2.0, 3.0, 1.5], [True, True, True]))
    assert loss.item() == pytest.approx((0 + 2 + 1) / 3)


def test_a_batch_without_a_valid_pixel_costs_nothing_but_has_a_gradient() -> None:
    output = torch.ones(1, 1, 1, 2, requires_grad=True)
    loss = task_of().loss(output, batch_of([1.0, 2.0], [False, False]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert output.grad is not None
    assert output.grad.abs().sum() == 0


def test_state_is_mean_and_deviation_over_valid_pixels() -> None:
    reader = Rooms(9, "train")
    samples = [reader[index] for index in range(9)]
    means = [sample["depth_m"][sample["valid"]].astype(float) for sample in samples]
    mean = np.mean([depth.mean() for depth in means])
    assert task_of().state["mean_m"] == pytest.approx(mean)
    assert task_of().state["std_m"] == pytest.approx(math.sqrt(np.mean([((d - mean) ** 2).mean() for d in means])))
    assert task_of(target="metres").state == {"mean_m": 0, "std_m": 1}


def test_training_data_without_depth_is_refused() -> None:
    class Flat(Rooms):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return {**sample, "depth_m": np.full_like(sample["depth_m"], 2)}

    class Blind(Rooms):
        def __getitem__(self, index: int) -> Sample:
            return {**super().__getitem__(index), "valid": np.zeros((48, 64), bool)}

    for reader, words in ((Flat(3, "train"), "are 2.000 m"), (Blind(3, "train"), "no training image has a valid")):
        with pytest.raises(DataError, match=words):
            NYUv2Depth(NYUv2DepthOptions(), SIZE).measure_state(reader)


@pytest.mark.parametrize("target", ["standardised", "metres", "multimae"])
def test_an_oracle_is_perfect_under_every_protocol(target: str) -> None:
    task = task_of(target=target, hundred=True)
    evaluations = task.evaluations(TaskData(Rooms(5, "test")))
    assert [evaluation.prefix for evaluation in evaluations] == ["", "eigen", "hundred"]
    for evaluation in [*evaluations, task.selection(Rooms(5, "select"))]:
        scores = score(evaluation, Oracle(task))
        assert scores["delta1"] == 100
        assert scores["rmse"] < 0.05, evaluation.prefix


def test_constants_of_multimae() -> None:
    """d metres are 6553.6 d in its files, standardised with 2070.7764 and 777.5723."""
    task = task_of(target="multimae")
    raw = torch.tensor((3.0 * 6553.6 - 2070.7764) / 777.5723).view(1, 1, 1, 1)
    assert task.to_meters(raw).item() == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize(("target", "warned"), [("multimae", True), ("standardised", False), ("metres", False)])
def test_targets_that_are_not_standardised_are_noticed(
    target: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    task, reader = task_of(target=target), Rooms(9, "train")
    rng = np.random.default_rng(0)
    batch = default_collate([task.augment(reader[index], rng) for index in range(9)])
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            task.loss(torch.zeros(9, 1, *SIZE), batch)
    assert len(caplog.records) == warned


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (64, 32), (96, 96)])
def test_augmented_samples_fit_the_network_and_stay_true(size: tuple[int, int]) -> None:
    task, reader = task_of(size, color=False), Rooms(3, "train")
    samples = [task.augment(reader[index % 3], np.random.default_rng(index)) for index in range(12)]
    batch = default_collate(samples)
    assert batch["image"].shape == (12, 3, *size)
    assert batch["image"].dtype == torch.float32
    assert batch["depth_m"].shape == batch["valid"].shape == (12, *size)
    assert batch["valid"].dtype == torch.bool
    assert (batch["image"][:, 0] * 255 / 20 - batch["depth_m"]).abs().max() < 0.2
    torch.testing.assert_close(batch["valid"], batch["depth_m"] > 1.2)
    falls = [bool(sample["depth_m"][0, 0] > sample["depth_m"][0, -1]) for sample in samples]
    assert True in falls
    assert False in falls


def test_augmentation_is_a_function_of_the_generator_and_changes_color() -> None:
    task, sample = task_of(), Rooms(3, "train")[0]
    before = sample["image"].copy()
    one, two = (task.augment(sample, np.random.default_rng(1)) for _ in range(2))
    assert all(torch.equal(torch.as_tensor(one[key]), torch.as_tensor(two[key])) for key in one)
    many = [task.augment(sample, np.random.default_rng(seed))["image"] for seed in range(60)]
    gray = sum(bool(torch.equal(image[0], image[2])) for image in many)
    assert 6 <= gray <= 32  # 30 %
    np.testing.assert_array_equal(sample["image"], before)


def test_full_resolution_is_scored_at_native_size_in_eigens_crop_only() -> None:
    task = task_of(max_depth_m=20.0)
    evaluation = task.evaluations(TaskData(Rooms(1, "test", 480, 640)))[1]
    sample = evaluation.prepare(evaluation.reader[0])
    assert sample["image"].shape == (3, 32, 43)
    assert sample["depth_m"].shape == (480, 640)
    rows, columns = np.nonzero(sample["valid"])
    assert (columns.min(), columns.max(), rows.max()) == (41, 600, 470)
    assert evaluation.prepare(Rooms(1, "test", 480, 640)[0])["valid"][45:471, 41:601].sum() == len(rows)
    batch = {"image": sample["image"][None], "depth_m": [sample["depth_m"]], "valid": [sample["valid"]]}
    (prediction,) = evaluation.predict(Oracle(task), batch)
    assert prediction.shape == (480, 640)
    inside = sample["valid"]
    assert evaluation.meter.measure(np.where(inside, prediction, 0), sample)["delta1"] == 100


def test_eigens_crop_starts_at_row_45() -> None:
    reader = Rooms(3, "test", 480, 640)
    sample = task_of().evaluations(TaskData(reader))[1].prepare(reader[2])  # every pixel of the third kind is valid
    assert reader[2]["valid"].all()
    expected = np.zeros((480, 640), bool)
    expected[45:471, 41:601] = True
    np.testing.assert_array_equal(sample["valid"], expected)


def test_images_that_are_not_landscape_are_scored_whole() -> None:
    task = task_of((32, 64))
    for shape in ((64, 48), (48, 200), (32, 64)):
        for evaluation in task.evaluations(TaskData(Rooms(2, "test", *shape))):
            assert score(evaluation, Oracle(task))["rmse"] < 0.15


def test_the_historic_hundred() -> None:
    """The first of numpy's permutation of 654 with seed 0."""
    hundred = task_of(hundred=True).evaluations(TaskData(Rooms(654, "test")))[2].reader
    assert (len(hundred), hundred.available) == (100, 654)
    order = np.random.RandomState(0).permutation(654)
    assert [hundred[index]["id"] for index in range(3)] == [f"{number:04d}" for number in order[:3]]


def test_a_limited_test_split_is_scored_as_it_is() -> None:
    some = limit(Rooms(30, "test"), 4, seed=0)
    assert [len(evaluation.reader) for evaluation in task_of(hundred=True).evaluations(TaskData(some))] == [4, 4, 4]


def test_panels_are_pictures_of_one_size() -> None:
    task, reader = task_of(), Rooms(1, "test")
    sample = task.evaluations(TaskData(reader))[0].prepare(reader[0])
    panels = task.panels(NO_DATA, sample, sample["depth_m"])
    assert len(panels) == 4
    assert all(panel.shape == (*SIZE, 3) and panel.dtype == np.uint8 for panel in panels.values())
    _, prediction, truth, error = panels.values()
    valid = sample["valid"]
    np.testing.assert_array_equal(prediction[valid], truth[valid])
    assert (truth[~valid] == truth[~valid][0]).all()
    assert (np.ptp(truth[~valid], axis=1) == 0).all()
    assert (error[valid] == error[valid][0]).all()
    blank = {**sample, "valid": np.zeros(SIZE, bool)}
    assert len(task.panels(NO_DATA, blank, sample["depth_m"])) == 4


@pytest.mark.parametrize("options", [{"overlap": 1.0}, {"overlap": -0.1}, {"max_depth_m": 0.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(UsageError, match=rf"^\[task\]: {name}: .* \(given {value}\)$"):
        options_of(NYUv2DepthOptions, options, "[task]")


def test_every_recipe_fits_the_task() -> None:
    for name in names_of("nyuv2-depth"):
        recipe = load_recipe("nyuv2-depth", name)
        options = options_of(NYUv2Depth.Options, recipe.task, "task")
        task = NYUv2Depth(options, recipe.train.image_size)
        assert task.out_channels(NO_DATA) == (256 if options.target == "bins" else 1)
        assert task.selection_metric in {metric.name for metric in task.selection(Rooms(1, "x")).meter.metrics}
        assert len(recipe.protocol.deviations) >= (6 if name == "paper" else 1)
