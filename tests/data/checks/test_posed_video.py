"""Depth of posed video in another unit is noticed before pairs are mined from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.formats.images import read_gray, write_image
from croco_bench.data.mining.mine import make_pairs
from croco_bench.data.posed.overlap import OverlapCriteria
from croco_bench.errors import DataError


@pytest.fixture
def scenes(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data / "7scenes", tmp_path / "7scenes"))


def test_depth_in_another_unit(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.rglob("*.depth.png"):
        write_image(path, (read_gray(path, np.uint16).astype(np.int64) * 5).clip(0, 65534).astype(np.uint16))
    with pytest.raises(DataError, match=r"1/5000 m read as millimeters\? .*; bring the depth maps .* --accept-unusual"):
        make_pairs(scenes, tmp_path / "pairs", every=1)
    assert not (tmp_path / "pairs").exists()
    make_pairs(scenes, tmp_path / "pairs", every=1, workers=1, accept_unusual=True)
    assert "1/5000 m" in json.loads((tmp_path / "pairs/pairs.json").read_text())["notes"][0]
    odd = [finding for finding in dataset_info("7scenes").check(scenes) if not finding.ok]
    assert len(odd) == 1 and not odd[0].stops and "1/5000 m" in odd[0].what


def test_poses_in_another_unit(scenes: Path) -> None:
    for path in scenes.rglob("*.pose.txt"):
        pose = np.loadtxt(path)
        pose[:3, 3] *= 1000
        np.savetxt(path, pose)
    far = OverlapCriteria(distance_m=(0.05, 0.5))
    with pytest.raises(
        DataError, match=r"successive frames are \d\S* m apart in the median; .*bring the poses to meters"
    ):
        open_seven_scenes(scenes).train_pairs(overlap=far)
