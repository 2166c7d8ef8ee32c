"""A real pair of views with its disparity, Middlebury's motorcycle as scikit-image ships it, through readers and checks."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.checks.image_pairs import differences, motion_of
from croco_bench.data.datasets.matching import flyingchairs, kitti, middlebury
from croco_bench.data.formats.disparity import write_kitti_disparity
from croco_bench.data.formats.flow import write_flo, write_kitti_flow
from croco_bench.data.formats.images import read_rgb


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of 2014: both views as they are shipped, the disparity, infinite where unknown, as the release has it."""
    root = tmp_path_factory.mktemp("middlebury")
    folder = root / "2014/Motorcycle-perfect"
    folder.mkdir(parents=True)
    for name, side in (("im0", "left"), ("im1", "right"), ("im1E", "right"), ("im1L", "right")):
        with as_file(files("skimage") / f"data/motorcycle_{side}.png") as path:
            shutil.copy(path, folder / f"{name}.png")
    with as_file(files("skimage") / "data/motorcycle_disp.npz") as path:
        disparity = np.load(path)["arr_0"]
    header = f"Pf\n{disparity.shape[1]} {disparity.shape[0]}\n-0.003922\n".encode()
    (folder / "disp0.pfm").write_bytes(header + disparity[::-1].astype("<f4").tobytes())
    return root


def test_a_real_disparity_leads_from_the_left_view_to_the_right(scene: Path) -> None:
    reader = middlebury.open_scenes(scene, "2014")
    sample = reader[0]
    assert reader.ids == [f"Motorcycle-perfect/{name}" for name in ("im1", "im1E", "im1L")]
    disparity, valid = sample["disparity_px"], sample["valid"]
    assert sample["image1"].shape == (500, 741, 3) and disparity.shape == (500, 741)
    assert valid.mean() == pytest.approx(0.9265, abs=1e-3)
    assert 7 < disparity[valid].min() < 8 and 59 < disparity[valid].max() < 60
    moved, still = differences(sample, motion_of(sample))
    assert moved < still / 3
    # Any other reading of the file fits far worse: to the right, upside down, unscaled or scaled.
    for other in (-disparity, disparity[::-1], disparity[:, ::-1], disparity * 1.1, disparity * 0.9):
        wrong, _ = differences(sample, motion_of({"disparity_px": other}))
        assert wrong > 1.5 * moved
    findings = dataset_info("middlebury").check(scene)
    assert [finding.ok for finding in findings] == [False, True]  # there are 3 pairs, not 138


def test_the_same_pair_as_flow_and_in_kittis_format(scene: Path, tmp_path: Path) -> None:
    sample = middlebury.open_scenes(scene, "2014")[0]
    disparity, valid = sample["disparity_px"], sample["valid"]
    moved, _ = differences(sample, motion_of(sample))
    flow = motion_of(sample)
    (tmp_path / "chairs_split.txt").write_text("1\n")
    (tmp_path / "data").mkdir()
    write_flo(tmp_path / "data/00001_flow.flo", flow, valid)
    for which in (1, 2):
        header = b"P6\n741 500\n255\n"
        (tmp_path / f"data/00001_img{which}.ppm").write_bytes(header + sample[f"image{which}"].tobytes())
    again = flyingchairs.open_split(tmp_path, "train")[0]
    for key in ("image1", "image2", "valid"):
        np.testing.assert_array_equal(again[key], sample[key])
    np.testing.assert_array_equal(again["flow_px"], flow)
    assert differences(again, motion_of(again))[0] == moved
    folder = scene / "2014/Motorcycle-perfect"
    for name in ("image_2", "image_3", "disp_occ_0", "flow_occ"):
        (tmp_path / "training" / name).mkdir(parents=True)
    shutil.copy(folder / "im0.png", tmp_path / "training/image_2/000000_10.png")
    for name in ("image_2/000000_11.png", "image_3/000000_10.png"):
        shutil.copy(folder / "im1.png", tmp_path / "training" / name)
    write_kitti_disparity(tmp_path / "training/disp_occ_0/000000_10.png", disparity, valid)
    write_kitti_flow(tmp_path / "training/flow_occ/000000_10.png", flow, valid)
    stereo, moving = (open_one(tmp_path, "train", year=2015)[0] for open_one in (kitti.open_stereo, kitti.open_flow))
    np.testing.assert_array_equal(stereo["valid"], valid)
    np.testing.assert_array_equal(moving["valid"], valid)
    assert np.abs(stereo["disparity_px"] - disparity).max() <= 1 / 512
    assert np.abs(moving["flow_px"] - flow).max() <= 1 / 128
    np.testing.assert_array_equal(stereo["image2"], read_rgb(folder / "im1.png"))
