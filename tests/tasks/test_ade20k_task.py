"""Semantic segmentation of ADE20K: both protocols, both augmentations, loss, runs."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench import run
from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import Evaluation, TaskData
from croco_bench.data.datasets.ade20k import NAMES
from croco_bench.data.transforms import segmentation as maps
from croco_bench.errors import DivergedError, UsageError
from croco_bench.metrics.meter import stack
from croco_bench.records.store import ResultPaths, read
from croco_bench.report import page as report_page
from croco_bench.tables import make
from croco_bench.tables.show import show
from croco_bench.tasks.ade20k_seg import ADE20KSeg, ADE20KSegOptions, _LabelPredict, _labels
from croco_bench.types import Array, Sample

SIZE = (32, 32)
# Neither the number of outputs nor pictures depend on the data.
NO_DATA: Any = None


class Halves:
    """Two classes side by side, the upper corner unlabelled; an image's red is its class, its green a quarter of the row."""

    dataset, split, miniature = "ade20k", "training", True

    def __init__(self, count: int = 4, height: int = 48, width: int = 64) -> None:
        self.available, self.height, self.width = count, height, width

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        return [f"{index}" for index in range(self.available)]

    def __getitem__(self, index: int) -> Sample:
        label = np.full((self.height, self.width), 60 + index, np.uint8)
        label[:, self.width // 2 :] = 120 + index
        image = np.stack([label, np.full_like(label, 9), np.full_like(label, 200)], axis=2)
        label[: self.height // 8, : self.width // 8] = 255
        return {"image": image, "label": label, "id": f"{index}"}

    def fingerprint(self) -> str:
        return "halves"


class Oracle(nn.Module):
    """Reads the class off the red channel; `seen` are the sizes of what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        classes = (images[:, 0] * 255).round().long().clamp(0, 149)
        return 10 * F.one_hot(classes, 150).permute(0, 3, 1, 2).float()


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> ADE20KSeg:
    return ADE20KSeg(options_of(ADE20KSegOptions, options, "[task]"), image_size)


def predicted(evaluation: Evaluation, network: nn.Module, samples: list[Sample]) -> list[tuple[Array, Sample]]:
    """One batch, put together as the engine does."""
    prepared = [evaluation.prepare(sample) for sample in samples]
    batch = {
        key: torch.stack([sample[key] for sample in prepared])
        if key == "image"
        else [sample[key] for sample in prepared]
        for key in prepared[0]
    }
    with torch.inference_mode():
        return list(zip(evaluation.predict(network, batch), prepared, strict=True))


def score(evaluation: Evaluation, network: nn.Module) -> dict[str, float]:
    reader, rows = evaluation.reader, []
    for index in range(len(reader)):
        ((prediction, sample),) = predicted(evaluation, network, [reader[index]])
        rows.append(evaluation.meter.measure(prediction, sample))
    return evaluation.meter.reduce(stack(rows))


def test_cross_entropy_by_hand() -> None:
    """Logits 0 but for ln 3 at the truth: -ln(3 / 152) at the first pixel, -ln(1 / 152) at the second, the third ignored."""
    output = torch.zeros(1, 150, 1, 3)
    output[0, 7] = np.log(3)
    output.requires_grad_()
    loss = task_of().loss(output, {"label": torch.tensor([[[7, 149, 255]]], dtype=torch.uint8)})
    assert loss.item() == pytest.approx((np.log(152 / 3) + np.log(152)) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert output.grad[..., 2].abs().sum() == 0 and output.grad[0, 7, 0, 0] == pytest.approx((3 / 152 - 1) / 2)


def test_a_batch_without_labels_costs_nothing_but_has_a_gradient() -> None:
    output = torch.ones(2, 150, 2, 2, requires_grad=True)
    loss = task_of().loss(output, {"label": torch.full((2, 2, 2), 255, dtype=torch.uint8)})
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0 and output.grad is not None and output.grad.abs().sum() == 0


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (20, 30), (32, 32), (16, 200), (90, 12)])
def test_an_oracle_is_perfect_whatever_the_image_is_like(shape: tuple[int, int]) -> None:
    task = task_of()
    native, letterbox = task.evaluations(TaskData(Halves(2, *shape)))
    assert [native.prefix, letterbox.prefix] == ["", "letterbox"]
    for evaluation, min_aacc in ((native, 93), (letterbox, 80)):  # the seam between classes is blurred by resizing
        oracle = Oracle()
        scores = score(evaluation, oracle)
        assert scores["aacc"] > min_aacc
        assert {size[1:] for size in oracle.seen} == {(3, *SIZE)}


def test_native_predictions_have_the_size_of_the_annotation() -> None:
    task = task_of((32, 64), overlap=0.5)
    for shape, content in (((48, 64), (48, 64)), ((100, 300), (32, 96)), ((20, 400), (13, 256))):
        reader = Halves(1, *shape)
        ((prediction, sample),) = predicted(task.evaluations(TaskData(reader))[0], Oracle(), [reader[0]])
        assert prediction.shape == sample["label"].shape == shape
        assert sample["content"] == content
        assert sample["image"].shape[1:] == (max(content[0], 32), max(content[1], 64))
        assert set(np.unique(prediction)) <= set(range(60, 121))


@pytest.mark.parametrize(("overlap", "windows"), [(0.5, 3), (1 / 3, 3), (0.0, 2)])
def test_windows_overlap_as_told(overlap: float, windows: int) -> None:
    """Of 32 pixels over 64: starts 0, 16, 32 at a half; a third needs three as well, none two."""
    oracle, reader = Oracle(), Halves(1, 32, 64)
    predicted(task_of(overlap=overlap).evaluations(TaskData(reader))[0], oracle, [reader[0]])
    assert [size[0] for size in oracle.seen] == [windows]  # in one forward pass


def test_letterboxes_are_padded_below_and_on_the_right_and_the_padding_is_not_scored() -> None:
    letterbox = task_of().evaluations(TaskData(Halves()))[1]
    wide, tall = (letterbox.prepare(Halves(1, *shape)[0]) for shape in ((32, 128), (60, 30)))
    assert (wide["label"][8:] == 255).all() and (wide["label"][1:8] < 255).all()
    assert (tall["label"][:, 16:] == 255).all() and (tall["label"][4:, :16] < 255).all()
    gray = torch.full((3, 24, 32), 128 / 255)
    torch.testing.assert_close(wide["image"][:, 8:], gray)
    results = predicted(letterbox, Oracle(), [Halves(1, 32, 128)[0], Halves(1, 60, 30)[0]])
    assert len(results) == 2
    assert letterbox.meter.measure(results[0][0], wide)["aacc"] > 80
    assert letterbox.batch_size == 16 and task_of((512, 512)).evaluations(TaskData(Halves()))[1].batch_size == 1


def test_labels_are_those_of_the_resized_logits_all_classes_at_once() -> None:
    logits = torch.randn(2, 150, 7, 9, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(logits, size=(20, 31), mode="bilinear", align_corners=False).argmax(dim=1)
    found = _LabelPredict(lambda *_: _labels(logits, (20, 31)))(Oracle(), {})
    assert [one.dtype for one in found] == [np.uint8, np.uint8]
    np.testing.assert_array_equal(np.stack(found), whole.numpy())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_noticed(bad: float) -> None:
    logits = torch.zeros(1, 150, 4, 4)
    logits[0, 77, 1, 1] = bad
    with pytest.raises(DivergedError, match="aren't finite") as caught:
        _LabelPredict(lambda *_: _labels(logits, (4, 4)))(Oracle(), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("augment", ["mmseg", "multimae"])
@pytest.mark.parametrize("size", [(32, 32), (32, 64), (96, 96)])
def test_augmented_samples_fit_and_stay_true(
    augment: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "distort", lambda image, rng: image)
    monkeypatch.setattr("croco_bench.tasks.ade20k_seg._JITTER", lambda image, rng: image)
    task, reader = task_of(size, augment=augment), Halves(3)
    samples = [task.augment(reader[index % 3], np.random.default_rng(index)) for index in range(24)]
    batch = default_collate(samples)
    assert batch["image"].shape == (24, 3, *size) and batch["image"].dtype == torch.float32
    assert batch["label"].shape == (24, *size) and batch["label"].dtype == torch.uint8
    red, inside = (batch["image"][:, 0] * 255).round(), batch["label"] < 255
    assert set(batch["label"][inside].unique().tolist()) <= {60, 61, 62, 120, 121, 122}
    # Only at the seam, where the image is blurred, do they differ.
    assert (red[inside] != batch["label"][inside]).float().mean() < 0.08
    sides = {
        bool(label[0, 0] > label[0, -1]) for label in batch["label"] if label[0].max() < 255 and label[0].min() < 255
    }
    assert sides == {True, False} or augment == "multimae"
    assert 0.2 < inside.float().mean() < 0.999


@pytest.mark.parametrize("augment", ["mmseg", "multimae"])
def test_augmentation_is_a_function_of_the_generator(augment: str) -> None:
    task, sample = task_of(augment=augment), Halves()[0]
    before = {key: sample[key].copy() for key in ("image", "label")}
    one, two, other = (task.augment(sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["image"], other["image"])
    for key, values in before.items():
        np.testing.assert_array_equal(sample[key], values)


def test_sizes_of_training_images_are_those_of_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmsegmentation: the shorter side is 0.5 to 2 windows; MultiMAE: the longer one 0.1 to 2."""
    seen: list[tuple[int, int]] = []
    plain = maps.rescale

    def watched(sample: Sample, factor: float) -> Sample:
        moved = plain(sample, factor)
        seen.append(moved["image"].shape[:2])
        return moved

    monkeypatch.setattr(maps, "rescale", watched)
    for augment, side, min_side, max_side in (("mmseg", min, 50, 200), ("multimae", max, 10, 200)):
        seen.clear()
        for seed in range(60):
            task_of((100, 100), augment=augment).augment(Halves(1, 60, 90)[0], np.random.default_rng(seed))
        last = seen if augment == "mmseg" else seen[1::2]
        sides = [side(size) for size in last]
        assert min_side <= min(sides) < min_side + 10 and max_side - 12 < max(sides) <= max_side, augment
        assert all(abs(size[1] / size[0] - 1.5) < 0.11 for size in last)


def test_crops_avoid_a_class_that_fills_them() -> None:
    """Of windows of 40 columns, those that begin at 51 to 60 have more than ten of the second class: one in six."""
    label = np.zeros((30, 100), np.uint8)
    label[:, 80:] = 1
    sample = {"image": np.zeros((30, 100, 3), np.uint8), "label": label}
    shares = []
    for seed in range(60):
        found = maps.varied_crop(sample, (30, 40), np.random.default_rng(seed), max_share=0.75)
        assert found["label"].shape == (30, 40)
        shares.append(float((found["label"] == 0).mean()))
    # So ten tries fail one time in six.
    assert 0.6 < np.mean([share < 0.75 for share in shares]) < 1
    blank = {"image": sample["image"], "label": np.full((30, 100), 255, np.uint8)}
    assert maps.varied_crop(blank, (200, 40), np.random.default_rng(0), max_share=0.75)["label"].shape == (30, 40)


def test_distortion_keeps_what_it_should() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    many = [maps.distort(image, np.random.default_rng(seed)) for seed in range(200)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in many)
    same = sum(np.array_equal(one, image) for one in many)
    assert 3 <= same <= 25  # one in sixteen
    means = [float(one.mean()) for one in many]
    assert min(means) < image.mean() - 30 and max(means) > image.mean() + 30
    gray = np.full((4, 4, 3), 100, np.uint8)
    for seed in range(50):  # no colour comes from none, and brightness and contrast stay in their ranges
        one = maps.distort(gray, np.random.default_rng(seed))
        assert np.ptp(one, axis=2).max() <= 1 and 33 <= one.min() <= one.max() <= 199


def test_selection_is_a_fixed_part_of_training_and_scored_like_the_headline(tmp_path: Path) -> None:
    for part, short, count in (("training", "train", 10), ("validation", "val", 4)):
        for kind, ending, shape in (("images", "jpg", (8, 9, 3)), ("annotations", "png", (8, 9))):
            (tmp_path / kind / part).mkdir(parents=True)
            for number in range(1, count + 1):
                name = f"ADE_{short}_{number:08d}.{ending}"
                assert cv2.imwrite(str(tmp_path / kind / part / name), np.full(shape, number, np.uint8))
    task = task_of(select_fraction=0.2)
    splits = task.open(tmp_path, seed=0)
    assert (len(splits.train), len(splits.select), len(splits.test)) == (8, 2, 4)
    assert not set(splits.train.groups) & set(splits.select.groups)
    assert splits.select.groups == task.open(tmp_path, seed=0).select.groups
    evaluation = task.selection(splits.select)
    assert evaluation.prefix == "" and task.selection_metric in {metric.name for metric in evaluation.meter.metrics}


def test_panels_are_pictures_of_the_annotations_size() -> None:
    task, reader = task_of(), Halves(1, 50, 70)
    for evaluation in task.evaluations(TaskData(reader)):
        ((prediction, sample),) = predicted(evaluation, Oracle(), [reader[0]])
        panels = task.panels(NO_DATA, sample, sample["label"] % 255)
        assert all(panel.shape == (*sample["label"].shape, 3) and panel.dtype == np.uint8 for panel in panels.values())
        names = list(panels)
        assert len(names) == 4 and names[2].startswith("truth: ")
        _, guess, truth, _ = panels.values()
        known = sample["label"] < 255
        np.testing.assert_array_equal(guess[known], truth[known])
        assert len(task.panels(NO_DATA, sample, prediction)) == 4


@pytest.mark.parametrize("overlap", [1.0, -0.1])
def test_impossible_settings_are_refused(overlap: float) -> None:
    with pytest.raises(UsageError, match=rf"^\[task\]: overlap: .* \(given {overlap}\)$"):
        task_of(overlap=overlap)


@pytest.mark.slow
def test_a_run_from_the_files_to_the_numbers_of_every_class(tiny_data: Path, tmp_path: Path) -> None:
    run("ade20k-seg", "random:mini-mae", recipe="smoke", data_root=tiny_data, results=tmp_path, device="cpu")
    slot = ResultPaths(tmp_path, "smoke", "ade20k-seg", "random-mini-mae", 0)
    result, text = read(slot.json), slot.breakdown.read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["class"] for line in lines] == [*NAMES, *NAMES]
    for protocol, prefix in (("headline", ""), ("letterbox", "letterbox/")):
        found = [float(line["iou"]) for line in lines if line["protocol"] == protocol and line["iou"]]
        assert len(found) == result.metrics[f"{prefix}classes"].value < 150
        assert np.mean(found) == pytest.approx(result.metrics[f"{prefix}miou"].value)
    assert slot.sheet.is_file() and str(slot.breakdown) in show(slot.json)
    page = make([tmp_path], format=report_page)
    assert page.count(">breakdown<") == 1 and page.count('<td data-value="">letterbox') == 150


def test_every_recipe_fits_the_task() -> None:
    assert {"convnext", "mini", "paper", "smoke", "dpt-frozen"} <= set(names_of("ade20k-seg"))
    for name in names_of("ade20k-seg"):
        recipe = load_recipe("ade20k-seg", name)
        task = ADE20KSeg(options_of(ADE20KSegOptions, recipe.task, "task"), recipe.train.image_size)
        assert task.out_channels(NO_DATA) == 150
        assert len(recipe.protocol.deviations) >= (6 if name in ("paper", "convnext") else 1)


@pytest.mark.parametrize("words", ["relative position bias", "layer scales", "position table", "341 pixels is a third"])
def test_the_paper_recipe_says_that_mmsegmentation_trains_another_network(words: str) -> None:
    assert any(words in deviation for deviation in load_recipe("ade20k-seg", "paper").protocol.deviations)
