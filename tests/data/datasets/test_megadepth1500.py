"""Pairs of MegaDepth-1500."""

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.megadepth1500 import LISTS, open_megadepth1500
from croco_bench.data.formats.images import write_image
from croco_bench.data.posed.matrices import is_rigid
from croco_bench.data.posed.reader import has_meters
from croco_bench.data.splitting import limit
from croco_bench.errors import DataError
from croco_bench.types import Array

FIRST = "0015_0.1_0.3.npz"


def world2cam(x: float, yaw_deg: float) -> Array:
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    found[:3, 3] = x, 0, 1
    return found


def objects(values: list[Any]) -> Array:
    found = np.empty(len(values), dtype=object)
    found[:] = [None] * len(values)
    for index, value in enumerate(values):
        found[index] = value
    return found


def content(scene: str, pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """A list as LoFTR pickled it: entries of images outside the reconstruction are None; one matrix is stored by columns."""
    K = [np.array([[900.0, 0, 40], [0, 901.0, 29.5], [0, 0, 1]]), np.array([[800.0, 0, 30], [0, 800.0, 45], [0, 0, 1]])]
    poses = [world2cam(0.5, 0), np.asfortranarray(world2cam(2, 30))]
    return {
        "image_paths": objects([None, *(f"Undistorted_SfM/{scene}/images/{name}_o.jpg" for name in "ab")]),
        "depth_paths": objects(
            [None, *(f"phoenix/S6/zl548/MegaDepth_v1/{scene}/dense0/depths/{name}_o.h5" for name in "ab")]
        ),
        "intrinsics": objects([None, *K]),
        "poses": objects([None, *poses]),
        "pair_infos": [(np.array(pair), np.float64(0.2), np.zeros(4)) for pair in pairs],
    }


@pytest.fixture
def megadepth(tmp_path: Path) -> Path:
    """Two scenes with an image of 80x59 and one of 60x90 each, three pairs in two lists."""
    root = tmp_path / "megadepth1500"
    (root / LISTS).mkdir(parents=True)
    for scene, name, pairs in (("0022", "0022_0.5_0.7.npz", [(1, 2)]), ("0015", FIRST, [(2, 1), (1, 2)])):
        listed = content(scene, pairs)
        (root / LISTS / name).write_bytes(pickle.dumps(listed, protocol=4))
        for i, (height, width) in ((1, (59, 80)), (2, (90, 60))):
            image, depth = root / listed["image_paths"][i], root / listed["depth_paths"][i]
            for path in (image, depth):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, np.full((height, width, 3), 60 * i, np.uint8))
            with h5py.File(depth, "w") as file:
                file["depth"] = np.linspace(-1, 7, height * width, dtype=np.float32).reshape(height, width)
    return root


def test_pairs_are_read_in_the_unit_of_each_scene(megadepth: Path) -> None:
    reader = open_megadepth1500(megadepth, depth=True)
    assert reader.groups == ["0015", "0015", "0022"] and len(reader.views) == 4
    assert not has_meters(reader) and not has_meters(limit(reader, 2, 0))
    back, forth = reader[0], reader[1]
    assert forth["id"] == "Undistorted_SfM/0015/images/a_o.jpg Undistorted_SfM/0015/images/b_o.jpg"
    np.testing.assert_allclose(forth["relative"], world2cam(0.5, 0) @ np.linalg.inv(world2cam(2, 30)), atol=1e-12)
    np.testing.assert_allclose(forth["relative"] @ back["relative"], np.eye(4), atol=1e-12)
    assert forth["image1"].shape == (59, 80, 3) and forth["image2"].shape == (90, 60, 3)
    assert forth["K1"].tolist() == [[900, 0, 39.5], [0, 901, 29], [0, 0, 1]], "centers of pixels are at integers"
    depth = forth["depth1_m"]
    assert depth.shape == (59, 80) and depth[-1, -1] == 7 and np.isnan(depth[0]).all(), "0 and below are unknown"


def test_lists_may_lie_beside_the_images(megadepth: Path) -> None:
    for path in (megadepth / LISTS).iterdir():
        path.rename(megadepth / path.name)
    assert len(open_megadepth1500(megadepth)) == 3


def relist(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        listed = content("0015", [(1, 2)])
        change(listed)
        (root / LISTS / FIRST).write_bytes(pickle.dumps(listed, protocol=4))

    return write


def with_entry(key: str, value: Any) -> Callable[[Path], object]:
    return relist(lambda listed: listed[key].__setitem__(1, value))


def as_archive(root: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, name=np.zeros((3, 4), int))
    (root / LISTS / FIRST).write_bytes(stream.getvalue())


def cut(root: Path) -> None:
    path = root / LISTS / FIRST
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: shutil.rmtree(root / LISTS), "holds a list of pairs"),
        (lambda root: (root / LISTS / FIRST).write_bytes(b""), "is no list of LoFTR's"),
        (cut, "is no list of LoFTR's"),
        (as_archive, "is no list of LoFTR's"),
        (lambda root: (root / LISTS / FIRST).write_bytes(pickle.dumps(Path("x"))), "wants to run code"),
        (relist(lambda listed: listed.pop("poses")), "KeyError: 'poses'"),
        (relist(lambda listed: listed.update(pair_infos=[])), "lists no pairs"),
        (relist(lambda listed: listed["pair_infos"].append((np.array([1, 9]), 0.1, 0))), "names image 9 of 3"),
        (relist(lambda listed: listed["pair_infos"].append((np.array([1, -1]), 0.1, 0))), "names image -1 of 3"),
        (
            relist(lambda listed: listed["pair_infos"].append((np.array([0, 1]), 0.1, 0))),
            "the path of an image is 'None'",
        ),
        (with_entry("poses", np.full((4, 4), np.nan)), "isn't a rigid motion"),
        (with_entry("poses", np.diag([2.0, 2, 2, 1])), "isn't a rigid motion"),
        (with_entry("intrinsics", np.zeros((3, 3))), "no pinhole camera"),
        (with_entry("intrinsics", np.eye(2)), "expected an array of shape (3, 3)"),
    ],
)
def test_damaged_lists_are_one_sentence(megadepth: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(megadepth)
    with pytest.raises(DataError) as error:
        open_megadepth1500(megadepth)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_depth_of_another_size_is_one_sentence(megadepth: Path) -> None:
    path = next(megadepth.rglob("0015/dense0/depths/a_o.h5"))
    with h5py.File(path, "w") as file:
        file["depth"] = np.ones((30, 40), np.float32)
    with pytest.raises(DataError, match="has 40x30 pixels, but its camera has 80x59"):
        open_megadepth1500(megadepth, depth=True)[1]


def wrong(root: Path) -> list[str]:
    return [finding.what for finding in dataset_info("megadepth1500").check(root) if not finding.ok]


def test_the_check_of_megadepth(megadepth: Path) -> None:
    assert wrong(megadepth) == ["3 pairs of scenes 0015, 0022"]
    next(megadepth.rglob("0015/images/b_o.jpg")).unlink()
    next(megadepth.rglob("0022/dense0/depths/b_o.h5")).unlink()
    write_image(next(megadepth.rglob("0022/images/a_o.jpg")), np.zeros((40, 40, 3), np.uint8))
    found = wrong(megadepth)
    assert "images: 1 of 4 are missing, such as Undistorted_SfM/0015/images/b_o.jpg" in found
    assert any(text.startswith("depth maps: 1 of 4 are missing") for text in found)
    assert "pair 2: images of (40, 40) and (90, 60)" in found


def test_the_miniature_has_lengths_in_units_of_its_own(tiny_data: Path) -> None:
    reader = open_megadepth1500(tiny_data / "megadepth1500", depth=True)
    assert not wrong(tiny_data / "megadepth1500") and reader.scenes == ("0015", "0022")
    assert is_rigid(reader.views.cam2world).all()
    depths = {scene: [] for scene in reader.scenes}  # type: dict[str, list[float]]
    near = []
    for index in range(len(reader)):
        sample = reader[index]
        height, width = sample["depth1_m"].shape
        x, y = width // 2, height // 2
        surface = np.linalg.inv(sample["K1"]) @ (x, y, 1) * sample["depth1_m"][y, x]
        moved = sample["relative"][:3, :3].T @ (surface - sample["relative"][:3, 3])
        column, row = np.rint((sample["K2"] @ moved)[:2] / moved[2]).astype(int)
        if 0 <= column < sample["depth2_m"].shape[1] and 0 <= row < sample["depth2_m"].shape[0]:
            near.append(abs(sample["depth2_m"][row, column] / moved[2] - 1) < 0.05)
        depths[sample["scene"]].append(float(np.nanmedian(sample["depth1_m"])))
    assert near and np.mean(near) > 0.5
    assert min(depths["0015"]) > max(depths["0022"]), "0.4 and 2.5 m per unit"
