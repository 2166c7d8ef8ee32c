"""KITTI's depth by BTS's lists: units, where drives may lie, and what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.geometry.kitti_depth import LIST, open_split
from croco_bench.data.formats.images import read_gray, read_rgb, write_image
from croco_bench.data.splitting import assumptions_of
from croco_bench.errors import AbsentError, DataError


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the miniature, without the sign of a miniature."""
    shutil.copytree(tiny_data / "kitti_depth", tmp_path / "kitti_depth")
    (tmp_path / "kitti_depth/MINIATURE.json").unlink()
    return tmp_path / "kitti_depth"


def test_depth_is_in_256_units_a_metre_and_unknown_where_0(root: Path) -> None:
    reader = open_split(root, "test")
    first = (root / LIST.format("test")).read_text().split()
    units = read_gray(root / first[1], np.uint16)
    sample = reader[0]
    np.testing.assert_array_equal(sample["valid"], units > 0)
    np.testing.assert_allclose(sample["depth_m"], units / 256, rtol=1e-6)
    np.testing.assert_array_equal(sample["image"], read_rgb(root / first[0]))
    assert 0.05 < sample["valid"].mean() < 0.5 and 3 < np.median(sample["depth_m"][sample["valid"]]) < 60
    assert len(reader) == 6 and reader.available == 652


def test_images_without_depth_are_left_out_and_told(root: Path) -> None:
    notes = assumptions_of(open_split(root, "test"))
    assert "kitti_depth: 1 listed images of test have no depth and are left out" in notes
    assert len(assumptions_of(open_split(root, "train"))) == 1


def test_drives_lie_where_kittis_archives_unpack(root: Path) -> None:
    """Raw data in a folder of its own, depth of both kinds of drives apart, lists in BTS's folder, JPEG images."""
    before = [open_split(root, "train")[i] for i in range(4)]
    (root / "train_test_inputs").mkdir()
    for path in root.glob("eigen_*"):
        text = "".join(f"/{line}\n" for line in path.read_text().splitlines())
        (root / "train_test_inputs" / path.name).write_text(text)
        path.unlink()
    (root / "raw").mkdir()
    (root / "2011_09_26").rename(root / "raw/2011_09_26")
    for number, drive in enumerate(sorted(root.glob("*_sync"))):
        target = root / "data_depth_annotated" / ("train", "val")[number % 2]
        target.mkdir(parents=True, exist_ok=True)
        drive.rename(target / drive.name)
    image = next((root / "raw").rglob("0000000000.png"))
    write_image(image.with_suffix(".jpg"), read_rgb(image))
    image.unlink()
    reader = open_split(root, "train")
    for i, sample in enumerate(before):
        np.testing.assert_array_equal(reader[i]["depth_m"], sample["depth_m"])
        assert reader[i]["id"] == sample["id"] and reader[i]["image"].shape == sample["image"].shape
    assert len(set(reader.groups)) == 4 and all("drive" in group for group in reader.groups)


def test_what_is_missing_is_named(root: Path) -> None:
    path = next(root.glob("*_sync/proj_depth/groundtruth/image_02/0000000001.png"))
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}; 1 of \d+ files that .*eigen_.*txt names are absent"):
        [open_split(root, split) for split in ("train", "test")]
    (root / LIST.format("test")).unlink()
    with pytest.raises(AbsentError, match="eigen_test_files_with_gt"):
        open_split(root, "test")


@pytest.mark.parametrize("text", ["", "a.png\n", "../../a.png b.png 7\n", "a/b.png None 7\n"])
def test_lists_that_are_none(text: str, root: Path) -> None:
    (root / LIST.format("train")).write_text(text)
    with pytest.raises(DataError, match=r"eigen_train_files_with_gt\.txt"):
        open_split(root, "train")


def test_the_check_compares_with_the_release(root: Path) -> None:
    findings = dataset_info("kitti_depth").check(root)
    assert [finding.what for finding in findings if not finding.ok] == [
        "train: 12 images with depth in 4 drives",
        "test: 6 images with depth in 2 drives",
    ]
    (root / LIST.format("train")).unlink()
    findings = dataset_info("kitti_depth").check(root)
    assert sum(finding.absent for finding in findings) == 1 and not any(f.stops and not f.ok for f in findings)
