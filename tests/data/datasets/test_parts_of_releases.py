"""A folder that holds a part of a release says how many items the whole has, so that tables don't rank its results."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from croco_bench.contracts import Reader
from croco_bench.data.datasets import ade20k, imagenet, nyuv2, taskonomy
from croco_bench.data.datasets.matching import eth3d, kitti, middlebury, sintel
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.folders import MARKER, size_of_release
from croco_bench.data.formats.images import write_image
from croco_bench.data.mixtures.stereo import open_reported
from croco_bench.tasks.sintel_flow import SintelFlow, SintelFlowOptions

SINTEL = [
    f"training/{kind}/alley_1/frame_{number}"
    for kind, numbers in (("clean", "12"), ("final", "12"), ("flow", "1"))
    for number in (f"000{digit}{'.flo' if kind == 'flow' else '.png'}" for digit in numbers)
]
KITTI = ["training/image_2/000000_10.png", "training/image_3/000000_10.png", "training/disp_occ_0/000000_10.png"]
VINTAGE = [f"MiddEval3_F/train/Vintage/{name}" for name in ("im0.png", "im1.png", "disp0GT.pfm")]
ETH3D = ["train/electro_3l/im0.png", "train/electro_3l/im1.png", "train_gt/electro_3l/disp0GT.pfm"]
_VIEW = "ihlen/point_0_view_0_domain"
TASKONOMY = [
    f"rgb/{_VIEW}_rgb.png",
    f"depth_zbuffer/{_VIEW}_depth_zbuffer.png",
    f"mask_valid/{_VIEW}_depth_zbuffer.png",
]
IMAGENET = [f"{split}/n{number:08d}/one.JPEG" for split in ("train", "val") for number in range(1000)]

Open = Callable[[Path], Reader]
PARTS: dict[str, tuple[list[str], Open, int, int]] = {
    "sintel": (SINTEL, partial(sintel.open_split, split="train"), 2, 2 * 1041),
    "sintel, both passes": (SINTEL, partial(sintel.BothPasses, split="train"), 1, 1041),
    "sintel, a whole scene": (SINTEL, partial(sintel.BothPasses, split="train", scenes=["alley_1"]), 1, 49),
    "kitti2015": (KITTI, partial(kitti.open_stereo, split="train", year=2015), 1, 200),
    "middeval3": (VINTAGE, partial(middlebury.open_evaluation, split="train"), 1, 15),
    "eth3d": (ETH3D, partial(eth3d.open_split, split="train"), 1, 27),
    "nyuv2": (
        [f"test/{kind}/data/0001.png" for kind in ("rgb", "depth")],
        partial(nyuv2.open_split, split="test"),
        1,
        654,
    ),
    "ade20k": (
        ["images/validation/ADE_val_00000001.jpg", "annotations/validation/ADE_val_00000001.png"],
        partial(ade20k.ADE20KReader, split="test"),
        1,
        2_000,
    ),
    "imagenet": (IMAGENET, partial(imagenet.open_split, split="val"), 1_000, 50_000),
    "imagenet, other classes": ([*IMAGENET[:2], *IMAGENET[1000:1002]], partial(imagenet.open_split, split="val"), 2, 2),
}


def write(root: Path, names: list[str]) -> Path:
    """Files without content: readers list them and open none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize("name", PARTS)
def test_a_part_knows_the_size_of_the_release(name: str, tmp_path: Path) -> None:
    names, open_split, found, release = PARTS[name]
    reader = open_split(write(tmp_path, names))
    assert (len(reader), reader.available) == (found, release)


@pytest.mark.parametrize("name", PARTS)
def test_a_miniature_is_whole(name: str, tmp_path: Path) -> None:
    names, open_split, found, _ = PARTS[name]
    reader = open_split(write(tmp_path, [MARKER, *names]))
    assert (len(reader), reader.available) == (found, found)


def test_a_shorter_list_of_taskonomy_is_a_part(tmp_path: Path) -> None:
    write(tmp_path, TASKONOMY)
    for name in TASKONOMY:  # files that end before their format's end are left out
        write_image(tmp_path / name, np.zeros((4, 4), np.uint16))
    (tmp_path / "test.csv").write_text("building,point,view\nihlen,0,0\n")
    reader = taskonomy.open_split(tmp_path, "test", domain="depth")
    assert (len(reader), reader.available) == (1, 54_514)


def test_some_scenes_of_7scenes_are_a_part(tmp_path: Path, tiny_data: Path) -> None:
    shutil.copytree(tiny_data / "7scenes", tmp_path, dirs_exist_ok=True)
    frames = len(open_seven_scenes(tmp_path).queries())
    assert open_seven_scenes(tmp_path).queries().available == frames
    (tmp_path / MARKER).unlink()
    assert open_seven_scenes(tmp_path).queries().available == 17_000 > frames


def test_more_than_the_release_is_no_part_of_it(tmp_path: Path) -> None:
    assert [size_of_release(tmp_path, 700, size) for size in (654, None)] == [700, 700]


def test_sintels_scenes_add_up() -> None:
    assert sintel.pairs_in_release("train", sintel.SCENES) == sintel.pairs_in_release("train") == 1041
    assert sintel.pairs_in_release("train", sintel.SELECT_SCENES) == sintel.SELECT_PAIRS


def test_one_of_the_scenes_to_report_is_a_part_of_them(tmp_path: Path) -> None:
    names = [name.replace("alley_1", "market_2") for name in SINTEL]
    data = SintelFlow(SintelFlowOptions(), (320, 384)).open_test(write(tmp_path, names))
    assert (len(data.test), data.test.available) == (1, 4 * 49 + 20)  # ambush_2 has 21 frames


def test_scenes_that_a_report_chooses_are_whole(tmp_path: Path) -> None:
    write(tmp_path / "middlebury", VINTAGE)
    reader = open_reported(tmp_path, "middlebury-subval", "F")
    assert (len(reader), reader.available) == (1, 1)
    assert open_reported(tmp_path, "middlebury", "F").available == 15
