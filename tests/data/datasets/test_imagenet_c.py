"""ImageNet-C's folders, and its score."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.imagenet_c import CORRUPTIONS, open_corrupted
from croco_bench.data.formats.images import write_image
from croco_bench.errors import DataError
from croco_bench.metrics.corruption import ALEXNET, CorruptionMeter

CLASSES = ("n01", "n02")


def write(folder: Path, corruptions: tuple[str, ...] = ("fog", "gaussian_noise"), images: int = 2) -> Path:
    """Gray images, whose value tells corruption and severity."""
    for corruption in corruptions:
        for severity in range(1, 6):
            for name in CLASSES:
                for number in range(images):
                    path = folder / corruption / str(severity) / name / f"val_{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    value = 10 * CORRUPTIONS.index(corruption.rpartition("/")[2]) + severity
                    write_image(path, np.full((8, 8, 3), value, np.uint8))
    return folder


def test_images_come_by_corruption_severity_class_and_name(tmp_path: Path) -> None:
    reader = open_corrupted(write(tmp_path / "imagenet_c"), CLASSES)
    assert reader.corruptions == ("gaussian_noise", "fog") and len(reader) == reader.available == 40
    first, last = reader[0], reader[39]
    assert (first["corruption"], first["severity"], first["label"], first["id"]) == (
        0,
        1,
        0,
        "gaussian_noise/1/n01/val_0.png",
    )
    assert (last["corruption"], last["severity"], last["label"]) == (CORRUPTIONS.index("fog"), 5, 1)
    assert first["image"].shape == (8, 8, 3) and first["image"].dtype == np.uint8
    assert all((reader[i]["image"] == 10 * reader[i]["corruption"] + reader[i]["severity"]).all() for i in range(40))
    assert len(set(reader.groups)) == 4  # an image's corruptions aren't independent of each other
    assert reader.fingerprint() == open_corrupted(tmp_path / "imagenet_c").fingerprint()


def test_folders_of_the_archives_may_be_kept(tmp_path: Path) -> None:
    apart = open_corrupted(write(tmp_path / "apart", ("noise/gaussian_noise", "weather/fog")), CLASSES)
    together = open_corrupted(write(tmp_path / "together"), CLASSES)
    assert apart.fingerprint() == together.fingerprint() and [apart[i]["id"] for i in (0, 39)] == [
        together[i]["id"] for i in (0, 39)
    ]


def test_labels_are_those_of_imagenets_folder_though_it_names_classes_in_words(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "LOC_synset_mapping.txt").write_text("n01 zebra\nn02 ant, emmet\n")
    reader = open_corrupted(root, ["ant", "zebra"])
    assert {(reader[i]["label"], reader[i]["id"].split("/")[2]) for i in range(40)} == {(0, "n02"), (1, "n01")}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: [path.unlink() for path in root.glob("fog/3/n02/*")], r"fog/3/n02 holds no image"),
        (lambda root: (root / "fog/3/n02").rename(root / "fog/3/n03"), r"fog/3 lacks the class folder: n02"),
        (lambda root: (root / "fog/3/n00").mkdir(), r"fog/3 has a class folder too many: n00"),
        (lambda root: (root / "fog/3").rename(root / "three"), r"fog/3 is missing"),
        (lambda root: (root / "fog/1/n01/val_0.png").write_bytes(b"no"), r"val_0\.png"),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    root = write(tmp_path)
    damage(root)
    with pytest.raises(DataError, match=words):
        reader = open_corrupted(root, CLASSES)
        [reader[i] for i in range(len(reader))]


def test_no_corruption_at_all_and_another_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="has no folder of a corruption, such as gaussian_noise/1/"):
            open_corrupted(folder, CLASSES)


def test_the_check_says_which_corruptions_are_there(tmp_path: Path) -> None:
    findings = dataset_info("imagenet_c").check(write(tmp_path))
    assert any("2 of 15 corruptions" in one.what and "shot_noise" in one.what and not one.stops for one in findings)
    assert any("40 images of 2 classes" in one.what for one in findings)


def test_alexnet_has_an_error_of_100_and_severities_count_alike() -> None:
    assert tuple(ALEXNET) == CORRUPTIONS
    meter, rows = CorruptionMeter(CORRUPTIONS), []
    draw = np.random.default_rng(0)
    for index, name in enumerate(CORRUPTIONS):
        for severity in range(1, 6):
            wrong = draw.random(400 * severity) < ALEXNET[name] / 100  # harder ones have more images
            scores = np.where(wrong[:, None], [0.0, 1.0], [1.0, 0.0])
            sample = {"label": np.int64(0), "corruption": np.int64(index), "severity": np.int64(severity)}
            rows += [meter.measure(one, sample) for one in scores]  # type: ignore[arg-type]
    stacked = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    scores_ = meter.reduce(stacked)
    assert scores_["corruptions"] == 15 and scores_["mce"] == pytest.approx(100, abs=1)
    assert scores_["top1"] == pytest.approx(100 - np.mean(list(ALEXNET.values())), abs=1)
    lines = meter.breakdown(stacked)
    by_hand = [
        100 - stacked["top1"][(stacked["corruption"] == 9) & (stacked["severity"] == number)].mean()
        for number in range(1, 6)
    ]
    assert lines[9]["corruption"] == "fog" and lines[9]["ce"] == pytest.approx(100 * np.mean(by_hand) / ALEXNET["fog"])


def test_means_are_over_the_corruptions_that_are_there() -> None:
    meter = CorruptionMeter(CORRUPTIONS)
    rows = {"top1": np.array([100.0, 0.0]), "corruption": np.array([2.0, 2.0]), "severity": np.array([1.0, 4.0])}
    assert meter.reduce(rows) == {"mce": pytest.approx(100 * 50 / 92.264), "top1": 50.0, "corruptions": 1.0}
