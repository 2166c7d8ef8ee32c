"""Relative poses of ScanNet-1500."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.errors import DataError
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


@pytest.fixture
def scannet(tmp_path: Path) -> Path:
    """Two scenes as LoFTR's archive has them; images are larger than depth maps."""
    root = tmp_path / "scannet1500"
    for scene in ("scene0707_00", "scene0806_01"):
        folder = root / "scannet_test_1500" / scene
        for number, frame in enumerate((15, 585)):
            write_image(folder / f"color/{frame}.jpg", 968, 1296, 40 + 100 * number)
            (folder / "pose").mkdir(exist_ok=True)
            np.savetxt(folder / f"pose/{frame}.txt", pose(number, 0, 10 * number), fmt="%f")
        (folder / "intrinsic").mkdir()
        K = np.array([[577.870605, 0, 319.5, 0], [0, 577.870605, 239.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        np.savetxt(folder / "intrinsic/intrinsic_depth.txt", K, fmt="%f")
        np.savetxt(folder / "intrinsic/intrinsic_color.txt", 2 * K, fmt="%f")
    names = np.array([[707, 0, 15, 585], [806, 1, 585, 15], [707, 0, 585, 15]], dtype=np.uint16)
    np.savez(root / "test.npz", name=names)
    return root


def test_scannet_is_read_at_the_size_of_its_depth(scannet: Path) -> None:
    reader = open_scannet1500(scannet)
    assert len(reader) == 3 and reader.groups == ["scene0707_00", "scene0806_01", "scene0707_00"]
    assert (reader.dataset, reader.split, len(reader.views)) == ("scannet1500", "test", 4)
    forth, _, back = (reader[index] for index in range(3))
    assert forth["id"] == "scannet_test_1500/scene0707_00/color/15.jpg scannet_test_1500/scene0707_00/color/585.jpg"
    assert forth["image1"].shape == forth["image2"].shape == (480, 640, 3)
    assert np.abs(forth["image1"][400, 300].astype(int) - 40).max() <= 2
    assert np.abs(forth["image2"][400, 300].astype(int) - 140).max() <= 2
    assert forth["K1"][0].tolist() == [577.870605, 0, 319.5]
    assert np.allclose(forth["relative"], pose(1, 0, 10), atol=1e-5)
    assert np.allclose(forth["relative"] @ back["relative"], np.eye(4), atol=1e-9)


def resave(name: str, array: Array) -> Callable[[Path], object]:
    return lambda root: np.savez(root / "test.npz", allow_pickle=True, **{name: array})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "test.npz").unlink(), "there is no"),
        (lambda root: (root / "test.npz").write_bytes(b"PK\x03\x04junk"), "can't be read"),
        (lambda root: (root / "test.npz").write_bytes(b""), "can't be read"),
        (resave("pairs", np.zeros((1, 4), int)), "no array called name"),
        (resave("name", np.zeros((3, 4))), "found float64 (3, 4)"),
        (resave("name", np.zeros((3, 2), int)), "found int64 (3, 2)"),
        (resave("name", np.array([[9, 9, 1, 2]])), "there is no readable"),
        (lambda root: shutil.rmtree(root / "scannet_test_1500/scene0806_01/pose"), "there is no readable"),
        (
            lambda root: np.savetxt(root / "scannet_test_1500/scene0806_01/pose/15.txt", np.full((4, 4), -np.inf)),
            "tracking was lost",
        ),
        (
            lambda root: np.savetxt(
                root / "scannet_test_1500/scene0806_01/intrinsic/intrinsic_depth.txt", np.zeros((4, 4))
            ),
            "no pinhole camera",
        ),
    ],
)
def test_damaged_scannet_is_one_sentence(scannet: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(scannet)
    with pytest.raises(DataError) as error:
        open_scannet1500(scannet)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_check_of_scannet(scannet: Path) -> None:
    wrong = [finding.what for finding in dataset_info("scannet1500").check(scannet) if not finding.ok]
    assert wrong == ["test.npz: 3 pairs", "2 scenes"]
    (scannet / "scannet_test_1500/scene0806_01/color/15.jpg").unlink()
    write_image(scannet / "scannet_test_1500/scene0707_00/color/585.jpg", 480, 500, 0)
    wrong = [finding.what for finding in dataset_info("scannet1500").check(scannet) if not finding.ok]
    assert "images: 1 of 4 are missing, such as scannet_test_1500/scene0806_01/color/15.jpg" in wrong
    assert any(text.startswith("pair 0: images of (968, 1296, 3) and (480, 500, 3)") for text in wrong)


def test_depth_maps_are_asked_for_by_correspondence_alone(tiny_data: Path, tmp_path: Path) -> None:
    assert all(finding.ok for finding in dataset_info("scannet1500").check(tiny_data / "scannet1500"))
    root = Path(shutil.copytree(tiny_data / "scannet1500", tmp_path / "scannet1500"))
    (root / "scannet_test_1500/scene0708_00/depth/0.png").unlink()
    (finding,) = [finding for finding in dataset_info("scannet1500").check(root) if not finding.ok]
    assert finding.what.startswith("depth maps: 1 of 6 are missing, such as scannet_test_1500/scene0708_00/depth/0.png")
    assert not finding.stops and "correspondence" in finding.advice


def test_depth_of_both_views_agrees_in_the_miniature(tiny_data: Path) -> None:
    """The middle of view 1 has the depth in camera 2 that view 2 shows there, where it is in the image and not hidden."""
    reader, near = open_scannet1500(tiny_data / "scannet1500", depth=True), []
    for index in range(len(reader)):
        sample = reader[index]
        surface = np.linalg.inv(sample["K1"]) @ (320, 240, 1) * sample["depth1_m"][240, 320]
        moved = sample["relative"][:3, :3].T @ (surface - sample["relative"][:3, 3])
        x, y = np.rint((sample["K2"] @ moved)[:2] / moved[2]).astype(int)
        if 0 <= x < 640 and 0 <= y < 480:
            near.append(abs(sample["depth2_m"][y, x] - moved[2]) < 0.05)
    assert near and np.mean(near) > 0.5
