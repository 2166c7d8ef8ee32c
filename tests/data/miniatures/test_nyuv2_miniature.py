"""The miniature of NYUv2: MATLAB's layout, depths with holes, labels and splits."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.data.miniatures.nyuv2 import NYUv2Mini, room_jobs

MAT = "nyu_depth_v2_labeled.mat"

TINY: NYUv2Mini = MINIATURES["nyuv2"].tiny

COUNT, SIZE = TINY.train + TINY.test, (TINY.width, TINY.height)


def arrays(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in ("images", "depths", "rawDepths", "labels", "instances")}


def cells(path: Path, key: str) -> list[str]:
    """A cell array of strings, the way MATLAB reads it."""
    with h5py.File(path) as file:
        assert file[key].shape[0] == 1 and file[key].attrs["MATLAB_class"] == b"cell"
        return [file[one][()].astype("<u2").tobytes().decode("utf-16-le") for one in file[key][0]]


def test_the_mat_file_is_matlab_73_with_reversed_axes(tiny_data: Path) -> None:
    path = tiny_data / "nyuv2" / MAT
    head = path.read_bytes()[:520]
    assert head.startswith(b"MATLAB 7.3 MAT-file, Platform: ") and head[124:128] == b"\x00\x02IM"
    assert head[128:512] == bytes(384) and head[512:] == b"\x89HDF\r\n\x1a\n"
    maps = arrays(path)
    kinds = {"images": "uint8", "depths": "float32", "rawDepths": "float32", "labels": "uint16", "instances": "uint8"}
    assert {key: value.dtype.name for key, value in maps.items()} == kinds
    for key, value in maps.items():
        assert value.shape == ((COUNT, 3, *SIZE) if key == "images" else (COUNT, *SIZE))
    # Upright: the floor (label 2) is in the lower half of an image, the ceiling (label 3) in the upper.
    heights = np.broadcast_to(np.arange(SIZE[1]), maps["labels"].shape)
    names = cells(path, "names")
    low, high = (heights[maps["labels"] == names.index(name) + 1].mean() for name in ("floor", "ceiling"))
    assert high < SIZE[1] / 3 < SIZE[1] / 2 < low


def test_raw_depths_have_holes_and_are_else_the_depths(tiny_data: Path) -> None:
    maps = arrays(tiny_data / "nyuv2" / MAT)
    depths, raw = maps["depths"], maps["rawDepths"]
    assert np.isfinite(depths).all() and depths.min() > 0.2 and depths.max() < 10
    holes = raw == 0
    assert np.array_equal(raw[~holes], depths[~holes])
    for image in holes:
        assert 0.01 < image.mean() < 0.5
        assert image[0].all() and image[-1].all() and image[:, 0].all() and image[:, -1].all()
    # Where depth jumps, one of the two pixels is a hole.
    jumps = np.abs(np.diff(depths, axis=1)) > 1
    assert jumps.sum() > 50 and (holes[:, 1:] | holes[:, :-1])[jumps].mean() > 0.97


def test_labels_scenes_and_names_decode(tiny_data: Path) -> None:
    path = tiny_data / "nyuv2" / MAT
    scenes, kinds, names = (cells(path, key) for key in ("scenes", "sceneTypes", "names"))
    assert len(scenes) == len(kinds) == COUNT
    assert {"wall", "floor", "ceiling"} < set(names) and len(set(names)) == len(names)
    for scene, kind in zip(scenes, kinds, strict=True):
        assert scene.rpartition("_")[0] == kind and len(scene.rpartition("_")[2]) == 4
    assert len(set(scenes)) == COUNT // TINY.views_per_scene
    maps = arrays(path)
    assert maps["labels"].min() >= 1 and maps["labels"].max() <= len(names)
    for label, instance in zip(maps["labels"], maps["instances"], strict=True):
        assert all(len(set(label[instance == number])) == 1 for number in np.unique(instance))


def test_the_splits_are_columns_from_one_and_share_no_scene(tiny_data: Path) -> None:
    splits = scipy.io.loadmat(tiny_data / "nyuv2" / "splits.mat")
    train, test = splits["trainNdxs"], splits["testNdxs"]
    assert train.shape == (TINY.train, 1) and test.shape == (TINY.test, 1)
    assert sorted([*train.ravel().tolist(), *test.ravel().tolist()]) == list(range(1, COUNT + 1))
    scenes = np.array(cells(tiny_data / "nyuv2" / MAT, "scenes"))
    assert not set(scenes[train.ravel() - 1]) & set(scenes[test.ravel() - 1])


def test_no_file_holds_the_time_of_its_making(tiny_data: Path) -> None:
    assert (tiny_data / "nyuv2" / "splits.mat").read_bytes()[:116].rstrip() == b"MATLAB 5.0 MAT-file"


def test_no_number_of_rooms_gives_one_name_to_both_splits() -> None:
    spec = NYUv2Mini(train=12000, test=3000, views_per_scene=1)
    train, test = ({job.name for job in room_jobs(spec, split, 0)} for split in ("train", "test"))
    assert len(train) == 12000 and len(test) == 3000 and not train & test


def test_each_test_image_is_of_its_own_room_by_default() -> None:
    train, test = (room_jobs(NYUv2Mini(), split, 0) for split in ("train", "test"))
    assert [job.views for job in test] == [1] * 100
    assert {job.views for job in train} == {5}
