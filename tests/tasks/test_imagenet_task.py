"""The linear probe as a task: crops, scores, both protocols."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from croco_bench import registry, run
from croco_bench.metrics.classification import ClassificationMeter
from croco_bench.metrics.meter import stack


@pytest.fixture
def task() -> Any:
    kind = registry.tasks()["imagenet-linear"].load()
    return kind(kind.Options(select_fraction=0.25), (32, 32))


def picture(height: int, width: int) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": pixels, "label": 1}


@pytest.mark.parametrize("size", [(40, 40), (50, 90), (61, 33)])
def test_test_images_are_torchvisions_center_crops(task: Any, size: tuple[int, int], tiny_data: Path) -> None:
    from PIL import Image

    sample = picture(*size)
    ready = task.evaluations(task.open_test(tiny_data / "imagenet"))[0].prepare(sample)["image"]
    usual = Compose([Resize(37, interpolation=InterpolationMode.BICUBIC), CenterCrop(32)])
    expected = torch.from_numpy(np.array(usual(Image.fromarray(sample["image"])))).permute(2, 0, 1) / 255
    assert ready.shape == expected.shape == (3, 32, 32)
    assert (ready - expected).abs().mean() < 0.02


def test_training_crops_are_drawn_from_the_generator_alone(task: Any) -> None:
    one, two, other = (task.augment(picture(50, 70), np.random.default_rng(seed))["image"] for seed in (1, 1, 2))
    assert one.shape == (3, 32, 32)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_selection_never_sees_the_validation_images(task: Any, tiny_data: Path) -> None:
    splits = task.open(tiny_data / "imagenet", seed=0)
    names = [set(part.groups) for part in (splits.train, splits.select, splits.test)]
    assert [len(part) for part in names] == [18, 6, 12]
    assert not names[0] & names[1]
    assert [part.split for part in (splits.train, splits.select, splits.test)] == ["train", "select (of train)", "val"]
    assert task.out_channels(splits) == 3


def test_top1_and_top5_by_hand() -> None:
    meter = ClassificationMeter()
    scores = np.array([0.1, 0.9, 0.3, 0.3, 0.2, 0.6, 0.0])
    rows = [meter.measure(scores, {"label": np.array(label)}) for label in (1, 0, 2, 6)]
    assert [row["top1"] for row in rows] == [100.0, 0.0, 0.0, 0.0]
    assert [row["top5"] for row in rows] == [100.0, 0.0, 100.0, 0.0]
    assert meter.reduce(stack(rows)) == {"top1": 25.0, "top5": 50.0}


@pytest.mark.parametrize(("classes", "names"), [(2, ["top1"]), (5, ["top1"]), (6, ["top1", "top5"])])
def test_top5_of_five_classes_says_nothing(classes: int, names: list[str]) -> None:
    meter = ClassificationMeter(classes)
    row = meter.measure(np.arange(float(classes)), {"label": np.array(0)})
    assert [metric.name for metric in meter.metrics] == list(meter.reduce(stack([row]))) == names
    assert meter.measure(np.zeros(3), {"label": np.array(0)})["top1"] == 0.0  # a constant knows nothing


@pytest.mark.parametrize("label", [0, 1])
def test_a_class_without_a_number_is_never_right(label: int) -> None:
    scores = np.array([np.nan, 2.0, 1.0])
    assert ClassificationMeter().measure(scores, {"label": np.array(label)})["top1"] == 0.0


def test_pictures_name_what_is_seen_and_what_it_is(task: Any, tiny_data: Path) -> None:
    sample = {"image": torch.rand(3, 32, 32), "label": 1}
    data = task.open_test(tiny_data / "imagenet")
    panels = task.panels(data, sample, np.array([0.0, 1.0, 3.0]))
    assert list(panels) == ["image", "box, bed (is bed)"]
    image, bars = panels.values()
    assert image.shape == bars.shape == (32, 32, 3)
    green = (bars == (60, 160, 80)).all(axis=2)
    assert green[8:12].any() and not green[:7].any() and not green[13:].any()  # the second of five bars


@pytest.mark.slow
def test_both_protocols_run(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    options: dict[str, Any] = {"data_root": tiny_data, "results": tmp_path / "results", "device": "cpu"}
    cached = run("imagenet-linear", "random:mini-mae", recipe="smoke", **options)
    assert cached is not None
    assert {"top1", "last/top1", "logistic/top1", "knn/top1"} <= cached.metrics.keys()
    assert cached.settings["resolved"]["probe"]["grid"]["rate"] in (0.1, 1.0)
    small = ["train.image_size=32", "train.batch_size=8", "train.epochs=2", "train.accumulate=1", "train.workers=0"]
    small += ["train.precision=fp32", "train.select_every=1", "optim.warmup=1", "task.select_fraction=0.25"]
    augmented = run("imagenet-linear", "random:mini-croco", recipe="paper", changes=small, **options)
    assert augmented is not None
    assert augmented.settings["resolved"]["head"] == {"pool": "mean"}
    assert 0 <= augmented.metrics["top1"].value <= 100
