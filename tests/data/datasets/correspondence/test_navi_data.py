"""NAVI as it unpacks: splits, smaller copies, turned images, and annotations that are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.correspondence.navi import (
    NaviReader,
    Split,
    read_annotations,
    read_depth_m,
    read_upright,
)
from croco_bench.data.formats.images import read_any, write_image
from croco_bench.errors import DataError

WILD = "chair_00/wild_set"
SPLITS: tuple[Split, ...] = ("train", "select", "test")


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the miniature in the archive's folder, without the sign of a miniature."""
    shutil.copytree(tiny_data / "navi", tmp_path / "navi_v1.5")
    (tmp_path / "navi_v1.5/MINIATURE.json").unlink()
    return tmp_path


def test_splits_are_collections(root: Path) -> None:
    folders = [NaviReader(root, split)[0]["id"].split("/")[1] for split in SPLITS]
    assert folders == ["multiview-00-rooms", "multiview-01-rooms", "wild_set"]
    shutil.rmtree(root / "navi_v1.5/chair_00/wild_set")
    assert set(NaviReader(root, "train").groups) == {"sofa_01"}, "an object needs both kinds"


def test_poses_of_the_miniature_have_nine_decimals(root: Path) -> None:
    """Further ones, which the processor decides, would give equal data another fingerprint."""
    for path in (root / "navi_v1.5").glob("*/*/annotations.json"):
        for view in json.loads(path.read_text()):
            numbers = [*view["camera"]["q"], *view["camera"]["t"], view["camera"]["focal_length"]]
            assert numbers == [round(number, 9) for number in numbers] and "-0.0" not in map(str, numbers)


def test_points_of_the_object_agree_in_both_views(root: Path) -> None:
    """Surface points of view 1, mapped into camera 2, have the depth that view 2 shows, where it shows them."""
    reader, agree = NaviReader(root, "test"), []
    for index in range(len(reader)):
        sample = reader[index]
        rows, columns = np.nonzero(np.isfinite(sample["depth1_m"]))
        surface = np.stack([columns, rows, np.ones_like(rows)]) * sample["depth1_m"][rows, columns]
        surface = np.linalg.inv(sample["K1"]) @ surface
        moved = sample["relative"][:3, :3].T @ (surface - sample["relative"][:3, 3:])
        x, y = np.rint((sample["K2"] @ moved)[:2] / moved[2]).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < sample["depth2_m"].shape[1]) & (y < sample["depth2_m"].shape[0])
        found = sample["depth2_m"][y[inside], x[inside]]
        agree.append(np.nanmean(np.abs(found - moved[2][inside]) < 0.03))
    assert np.mean(agree) > 0.3


def test_smaller_copies_are_read_where_both_are_there(root: Path) -> None:
    folder = root / "navi_v1.5" / WILD
    whole = NaviReader(root, "test")[0]
    for path in [*folder.glob("images/*.jpg"), *folder.glob("depth/*.png")]:
        write_image(path.with_name(f"downsampled_{path.name}"), np.ascontiguousarray(read_any(path)[::2, ::2]))
    small = NaviReader(root, "test")[0]
    assert small["image1"].shape == (20, 28, 3) and small["depth1_m"].shape == (20, 28)
    assert small["K1"][0, 0] == whole["K1"][0, 0] / 2 and small["K1"][0, 2] == 13.5
    for path in folder.glob("depth/downsampled_*"):
        path.unlink()
    assert NaviReader(root, "test")[0]["image1"].shape == whole["image1"].shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_data_say(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "000.png", exif=exif)
    with Image.open(tmp_path / "000.png") as stored:
        np.testing.assert_array_equal(read_upright(tmp_path / "000.png"), np.array(ImageOps.exif_transpose(stored)))


def test_depth_is_a_disparity(tmp_path: Path) -> None:
    write_image(tmp_path / "d.png", np.array([[0, 1311, 65535]], np.uint16))
    np.testing.assert_allclose(read_depth_m(tmp_path / "d.png"), [[np.nan, 655.35 / 1311, 0.01]], rtol=1e-6)


def entry(**changes: Any) -> dict[str, Any]:
    camera = {"q": [1, 0, 0, 0], "t": [0, 0, 500], "focal_length": 100.0} | changes.pop("camera", {})
    return {"camera": camera, "filename": "000.jpg", "image_size": [30, 40], **changes}


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1},
        [1],
        [entry(camera={"q": [0, 0, 0, 0]})],
        [entry(camera={"t": [0, float("inf"), 0]})],
        [entry(camera={"focal_length": 0})],
        [entry(image_size=[30])],
        [entry(filename="../x.jpg")],
        [entry(camera={"q": "one"})],
    ],
)
def test_annotations_that_are_none(content: Any, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotations\.json holds no annotations of views"):
        read_annotations(tmp_path, "")


def test_the_check_names_what_is_missing_or_of_another_size(root: Path) -> None:
    findings = dataset_info("navi").check(root)
    assert [finding.advice for finding in findings if not finding.ok] == ["the release has 35"]
    folder = root / "navi_v1.5" / WILD
    (folder / "depth/001.png").unlink()
    bad = [finding for finding in dataset_info("navi").check(root) if not finding.ok and finding.stops]
    assert bad[0].what.startswith("test: 1 files are missing, such as chair_00/wild_set/depth/001.png")
    for path in folder.glob("depth/*.png"):
        write_image(path, np.ones((7, 9), np.uint16))
    with pytest.raises(DataError, match=r"is of 56x40 pixels, but .* of 9x7"):
        NaviReader(root, "test")[0]
    for path in folder.glob("images/*.jpg"):
        write_image(path, np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(DataError, match="is of 9x7 pixels, but its annotation says 56x40"):
        NaviReader(root, "test")[0]
