"""Values that a format can't mean end a run before it trains; a setting accepts them, and the result says so."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.data.checks.values import require_usual, unit_of, unusual_values
from croco_bench.data.datasets.nyuv2 import open_split
from croco_bench.data.formats.images import read_gray, write_image
from croco_bench.data.pairs import open_pairs
from croco_bench.errors import DataError
from croco_bench.pretraining.pretrain import pretrain
from croco_bench.runs.runner import run
from croco_bench.types import Array, Sample

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
K = np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
SHORT = ["train.steps=1", "train.select_every=1", "optim.warmup=0"]


class Few:
    """A reader of given samples."""

    dataset, split, miniature, usual = "few", "train", False, {"depth_m": (0.8, 8.0)}

    def __init__(self, *samples: Sample) -> None:
        self.samples, self.available = samples, len(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return {"id": f"f{index}", **self.samples[index]}

    @property
    def groups(self) -> Sequence[str]:
        return [str(index) for index in range(len(self))]

    def fingerprint(self) -> str:
        return "few"


def depth(*values: float) -> Sample:
    known = np.array([values], dtype=np.float32)
    return {"image": IMAGE, "depth_m": known, "valid": known > 0}


def pair(relative: Array, camera: Array = K) -> Sample:
    return {"image1": IMAGE, "image2": IMAGE, "K1": camera, "K2": K, "relative": relative}


def moved(x: float, scale: float = 1.0) -> Array:
    pose = np.diag([scale, scale, scale, 1.0])
    pose[0, 3] = x
    return pose


def camera(fx: float, fy: float, cx: float) -> Array:
    return np.array([[fx, 0, cx], [0, fy, 12], [0, 0, 1]])


def said(*samples: Sample, classes: int | None = None) -> str:
    return "; ".join(one.what for one in unusual_values(Few(*samples), classes))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            (2500.0, 2400, 2600),
            "few: depth in m of f0 is 2500 in the median, but 0.8 to 8 is usual (millimeters read as meters? Then it is 2.5)",
        ),
        ((0.0025, 0.0024), "(meters read as millimeters? Then it is 2.45)"),
        ((12.5, 13.0), "(1/5000 m read as millimeters? Then it is 2.55)"),
        ((0.5, 0.4), "(millimeters read as 1/5000 m? Then it is 2.25)"),
    ],
)
def test_depth_in_another_unit_is_named(values: Sequence[float], words: str) -> None:
    assert words in said(depth(*values))


def test_depth_that_says_nothing_is_named() -> None:
    assert "none of the images f0, f1 has a known value" in said(depth(0, 0), depth(0, 0))
    assert "depth in m of f0, f1 is 2 everywhere" in said(depth(2, 2), depth(2, 2))
    assert not said(depth(2, 0), depth(0, 0), depth(3, 4))


def test_only_a_unit_that_fits_is_guessed() -> None:
    assert unit_of(70.0, (0.8, 8.0)) == " (centimeters read as meters, then it is 0.7?)" or not unit_of(
        70.0, (0.8, 8.0)
    )
    assert not unit_of(1e9, (0.8, 8.0))


@pytest.mark.parametrize(
    ("relative", "where", "words"),
    [
        (moved(np.nan), K, "isn't finite"),
        (moved(0.3, scale=1.1), K, "isn't a rigid motion"),
        (moved(300.0), K, "300 m apart in the median (millimeters read as meters? Then it is 0.3)"),
        (
            moved(0.3),
            camera(30, 30, 60),
            "view 1 of f0 don't fit its image of 32x24: the principal point (60, 12) is outside",
        ),
        (moved(0.3), camera(-30, 30, 16), "focal lengths of -30 and 30 pixels"),
        (moved(0.3), camera(0.5, 0.5, 16), "it would show"),
        (moved(0.3), camera(30, 3, 16), "focal lengths of 30 and 3 pixels"),
        (moved(0.3), camera(np.inf, 30, 16), "they aren't finite"),
    ],
)
def test_poses_and_cameras_that_make_no_sense_are_named(relative: Array, where: Array, words: str) -> None:
    assert words in said(pair(relative, where))
    stack = {**pair(relative), "image1": IMAGE[None], "K1": where[None], "relative": relative[None]}
    assert words in said(stack)


def test_usual_poses_pass() -> None:
    assert not said(pair(moved(0.3)), pair(moved(5.0)))


def test_labels_are_classes() -> None:
    label = np.array([[0, 4, 255]], dtype=np.uint8)
    assert not said({"image": IMAGE, "label": label}, classes=5)
    assert "up to 4, but there are 4 classes, 0 to 3" in said({"image": IMAGE, "label": label}, classes=4)
    assert "no pixel of the annotations f0 has a label" in said({"image": IMAGE, "label": np.full_like(label, 255)})
    assert "up to 7" in said({"image": IMAGE, "label": 7}, classes=7)


def test_images_of_one_color_are_named_where_all_are() -> None:
    blank = np.zeros_like(IMAGE)
    assert "of one color" in said({"image": blank}, {"image": blank})
    assert not said({"image": blank}, {"image": IMAGE})


def in_millimeters(tiny_data: Path, root: Path) -> Path:
    """NYUv2 as BTS's lists, with depths of 1/5000 m instead of millimeters."""
    reader = open_split(tiny_data / "nyuv2", "train")
    for split in ("train", "test"):
        lines = []
        for i in range(len(reader)):
            sample, scene = reader[i], f"{split}_room_{i:04d}"
            (root / "nyuv2" / scene).mkdir(parents=True, exist_ok=True)
            write_image(root / "nyuv2" / scene / "rgb.jpg", sample["image"])
            depths = np.where(sample["valid"], sample["depth_m"] * 5000, 0).clip(0, 65535).astype(np.uint16)
            write_image(root / "nyuv2" / scene / "depth.png", depths)
            lines.append(f"{scene}/rgb.jpg {scene}/depth.png 518.8\n")
        (root / f"nyuv2/nyudepthv2_{split}_files_with_gt.txt").write_text("".join(lines))
    return root


def test_a_run_stops_before_it_trains_and_a_setting_accepts(tiny_data: Path, tmp_path: Path) -> None:
    root = in_millimeters(tiny_data, tmp_path / "data")
    given: dict[str, Any] = {"recipe": "smoke", "data_root": root, "results": tmp_path / "r", "device": "cpu"}
    with pytest.raises(
        DataError, match=r"nyuv2: depth in m of .*rgb.* is 1\d\.\d+ in the median, but 0\.8 to 8"
    ) as caught:
        run("nyuv2-depth", "random:mini-mae", changes=SHORT, **given)
    assert "1/5000 m read as millimeters" in str(caught.value)
    assert "--set data.unusual=note" in str(caught.value) and not (tmp_path / "r").exists()
    result = run("nyuv2-depth", "random:mini-mae", changes=[*SHORT, "data.unusual=note"], **given)
    assert result is not None
    notes = [text for text in result.protocol.deviations if text.startswith("data: nyuv2: depth in m")]
    assert len(notes) == 2 and all("accepted by data.unusual=note" in note for note in notes)
    usual = run(
        "nyuv2-depth", "random:mini-mae", changes=SHORT, **{**given, "data_root": tiny_data, "results": tmp_path}
    )
    assert usual is not None and usual.recipe.fingerprint == result.recipe.fingerprint


def test_pre_training_looks_at_its_pairs(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "habitat_release", tmp_path / "pairs"))
    require_usual([open_pairs(root)])
    lines = [line.split()[0] for line in (root / "pairs.txt").read_text().splitlines()]
    (root / "pairs.txt").write_text("".join(f"{first} {first}\n" for first in lines))
    changes = ["train.steps=1", "data.holdout=2"]
    with pytest.raises(DataError, match=r"both views of all pairs looked at, .*_1\.jpeg, are the same image"):
        pretrain("mini", tmp_path / "out", pairs=[str(root)], changes=changes, device="cpu")
    assert not (tmp_path / "out").exists()
    assert require_usual([open_pairs(root)], accept=True)


def test_depth_of_pre_training_that_is_zero_everywhere_is_named(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "multimae", tmp_path / "multimae"))
    for path in (root / "train/depth").rglob("*.png"):
        write_image(path, np.zeros_like(read_gray(path, np.uint16)))
    with pytest.raises(DataError, match=r"multimae: depth of .* is 0 everywhere"):
        pretrain("mini", tmp_path / "out", objective="multimae", pairs=[str(root)], device="cpu")
