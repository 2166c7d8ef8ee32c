"""Lists of pairs in SuperGlue's format."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.posed.pair_list import open_pair_list
from croco_bench.errors import BenchError, DataError
from croco_bench.types import Array


def pose(x: float, y: float, yaw_deg: float) -> Array:
    """A camera at (x, y, 0) that looks along z, turned about the vertical axis."""
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    found[:3, 3] = x, y, 0
    return found


def write_image(path: Path, height: int, width: int, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((height, width, 3), value, np.uint8)
    picture[: height // 2, :, 0] = 255 - value  # blue above: OpenCV's order is BGR
    cv2.imwrite(str(path), picture)


def gt_line(*words: str, motion: Array, turns: str = "0 0") -> str:
    K = "577.87 0 319.5 0 577.87 239.5 0 0 1"
    return " ".join([*words, turns, K, K.replace("577.87", "1169.6"), *(f"{value:.8f}" for value in motion.ravel())])


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    for scene, frame in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        write_image(tmp_path / f"scans/{scene}/{frame}.jpg", 48, 64, 50 * frame)
    lines = [
        gt_line("scans/a/1.jpg", "scans/a/2.jpg", motion=pose(1, 2, 30)),
        "# a remark",
        "",
        gt_line("scans/b/2.jpg", "scans/b/1.jpg", motion=pose(0, 0, 0)),
    ]
    path = tmp_path / "pairs_with_gt.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_superglues_lines(listing: Path, tmp_path: Path) -> None:
    """`T_0to1` maps camera 0 into camera 1; view 1 is image 0, so that `relative` is its inverse."""
    reader = open_pair_list(listing)
    assert (len(reader), reader.groups, reader.dataset) == (2, ["scans/a", "scans/b"], "pairs_with_gt")
    sample = reader[0]
    assert np.allclose(sample["relative"], np.linalg.inv(pose(1, 2, 30)), atol=1e-7)
    assert np.allclose(sample["cam2world1"], np.eye(4)) and np.allclose(sample["cam2world2"], sample["relative"])
    assert (sample["K1"][0, 0], sample["K2"][0, 0]) == (577.87, 1169.6)
    assert sample["image1"].shape == (48, 64, 3) and sample["image2"][40, 0, 0] == pytest.approx(100, abs=2)
    moved = tmp_path / "lists" / "elsewhere.txt"
    moved.parent.mkdir()
    shutil.move(listing, moved)
    assert np.array_equal(open_pair_list(moved, tmp_path)[1]["image1"], reader[1]["image1"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.jpg b.jpg 0 0 1 2 3", "line 5 holds 7 words; expected 38"),
        (
            gt_line("a.jpg", "b.jpg", motion=pose(0, 0, 0)).replace("577.87", "x", 1),
            "could not convert string to float: 'x'",
        ),
        (gt_line("a.jpg", "b.jpg", motion=pose(0, 0, 0), turns="0 1"), "an image should be turned (rot0 rot1 = 0 1)"),
        (gt_line("a.jpg", "b.jpg", motion=np.full((4, 4), np.nan)), "T_0to1 isn't a rigid motion"),
        (gt_line("a.jpg", "b.jpg", motion=2 * np.eye(4)), "T_0to1 isn't a rigid motion"),
        (gt_line("a.jpg", "b.jpg", motion=np.eye(4)).replace("577.87", "0"), "no pinhole camera"),
    ],
)
def test_damaged_lists_are_one_sentence(listing: Path, line: str, words: str) -> None:
    listing.write_text(listing.read_text() + line)
    with pytest.raises(DataError) as error:
        open_pair_list(listing)
    assert words in str(error.value) and "line 5" in str(error.value) and "\n" not in str(error.value)


def test_lists_that_are_none(listing: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.txt", tmp_path / "scans/a/1.jpg", tmp_path):
        with pytest.raises(BenchError, match="can't be read as a list of pairs"):
            open_pair_list(path)
    listing.write_text("# nothing\n")
    with pytest.raises(BenchError, match="lists no pairs"):
        open_pair_list(listing)
