"""Habitat's pairs with their cameras: what relative pose can be trained on beside 7-Scenes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.datasets.habitat import HabitatPoses
from croco_bench.data.rooms.camera import FIELD_OF_VIEW_DEG
from croco_bench.errors import DataError
from croco_bench.tasks.relative_pose.task import RelativePose, RelativePoseOptions


def test_poses_are_those_of_the_scenes_metadata(tiny_data: Path) -> None:
    root = tiny_data / "habitat_release"
    pairs = HabitatPoses(root)
    assert (pairs.dataset, pairs.split, pairs.miniature, len(pairs)) == ("habitat_release", "train", True, 6)
    for index in range(len(pairs)):
        sample = pairs[index]
        facts = json.loads((root / sample["scene"] / "metadata.json").read_text(encoding="utf-8"))
        stem = sample["id"].split()[0].rpartition("/")[2].removesuffix("_1.jpeg")
        view = facts["multiviews"][stem]
        turns = [Rotation.from_quat([*parts[1:], parts[0]]).as_matrix() for parts in view["orientations"]]
        moved = turns[0].T @ np.subtract(view["positions"][1], view["positions"][0])
        np.testing.assert_allclose(sample["relative"][:3, :3], turns[0].T @ turns[1], atol=1e-6)
        np.testing.assert_allclose(sample["relative"][:3, 3], moved, atol=1e-9)
        assert np.linalg.norm(moved) > 0.05
        assert sample["image1"].shape == sample["image2"].shape == (40, 40, 3)
        assert sample["K1"][0, 0] == pytest.approx(20 / np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2))
    assert pairs.groups == [pairs[index]["scene"] for index in range(len(pairs))]


def test_the_task_trains_on_them_and_selects_on_7scenes(tiny_data: Path) -> None:
    options = RelativePoseOptions(train_on="habitat_release", neighbours=2, select_pairs=5)
    task = RelativePose(options, (24, 32))
    splits = task.open(tiny_data / "7scenes", seed=0)
    assert (splits.train.dataset, splits.select.dataset, splits.test.dataset) == (
        "habitat_release",
        "7scenes",
        "7scenes",
    )
    assert len(splits.select) == 5 and splits.select.split == "select (of train)"
    task.measure_state(splits.train)
    lengths = [np.linalg.norm(splits.train[index]["relative"][:3, 3]) for index in range(len(splits.train))]
    assert task.state["scale_m"] == pytest.approx(float(np.mean(lengths)))
    augmented = task.augment(splits.train[0], np.random.default_rng(0))
    assert augmented["image1"].shape == (3, 24, 32)
    again = task.open(tiny_data / "7scenes", seed=0)
    assert again.select.fingerprint() == splits.select.fingerprint() != splits.test.fingerprint()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no"),
        ("{", "should hold camera_intrinsics 3x3"),
        ("[1, 2]", "should hold camera_intrinsics 3x3"),
        ({"t_cam2world": [1.0, 2.0]}, "should hold camera_intrinsics 3x3"),
        ({"t_cam2world": [float("nan")] * 3}, "no pinhole camera with a rigid pose"),
        ({"R_cam2world": np.diag([1, 1, -1]).tolist()}, "no pinhole camera with a rigid pose"),
        ({"camera_intrinsics": np.zeros((3, 3)).tolist()}, "no pinhole camera with a rigid pose"),
    ],
)
def test_damaged_cameras_are_one_sentence(
    tiny_data: Path, tmp_path: Path, content: str | dict[str, object] | None, says: str
) -> None:
    root = tmp_path / "habitat_release"
    shutil.copytree(tiny_data / "habitat_release", root)
    name = (root / "pairs.txt").read_text(encoding="utf-8").split()[0]
    camera = root / name.replace(".jpeg", "_camera_params.json")
    if content is None:
        camera.unlink()
    elif isinstance(content, str):
        camera.write_text(content, encoding="utf-8")
    else:
        facts = json.loads(camera.read_text(encoding="utf-8"))
        camera.write_text(json.dumps(facts | content), encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        HabitatPoses(root)[0]
    assert "\n" not in str(caught.value) and str(camera) in str(caught.value)
