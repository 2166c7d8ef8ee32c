"""Every reader that has a miniature, on its miniature. A new one joins as a line of `READERS`."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.contracts import Reader
from croco_bench.data.datasets import imagenet, imagenet_c, multimae, nyuv2, seven_scenes, taskonomy
from croco_bench.data.datasets.ade20k import ADE20KReader
from croco_bench.data.datasets.correspondence.hpatches import HPatchesReader
from croco_bench.data.datasets.correspondence.navi import NaviReader
from croco_bench.data.datasets.correspondence.spair71k import SPairReader
from croco_bench.data.datasets.geometry import kitti_depth, nyuv2_normals
from croco_bench.data.datasets.habitat import HabitatPoses
from croco_bench.data.datasets.matching import crestereo, flyingchairs, middlebury, sintel
from croco_bench.data.datasets.megadepth1500 import open_megadepth1500
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.pairs import open_pairs

COLOR, GRAY, KNOWN = "uint8 H W 3", "uint8 H W", "bool H W"
PAIR = {"image1": COLOR, "image2": COLOR, "id": "str"}
FLOW = {**PAIR, "flow_px": "float32 H W 2", "valid": KNOWN}
DISPARITY = {**PAIR, "disparity_px": "float32 H W", "valid": KNOWN}
MASKS = {"occluded": KNOWN, "invalid": KNOWN}
POSES = {
    "image1": COLOR,
    "image2": COLOR,
    "K1": "float64 3 3",
    "K2": "float64 3 3",
    "cam2world1": "float64 4 4",
    "cam2world2": "float64 4 4",
    "relative": "float64 4 4",
    "scene": "str",
    "id": "str",
}
STACKS = {"image1": "uint8 K H W 3", "K1": "float64 K 3 3", "cam2world1": "float64 K 4 4", "relative": "float64 K 4 4"}
BOTH_PASSES = {"flow_px": "float32 H W 2", "valid": KNOWN, "id": "str", **MASKS}
BOTH_PASSES |= {f"passes/{name}/{image}": COLOR for name in sintel.PASSES for image in (0, 1)}


def append_line(path: Path) -> None:
    """Makes a file of any kind longer."""
    with path.open("ab") as stream:
        stream.write(b"\n")


def lengthen(path: Path) -> None:
    """Makes every focal length of NAVI's annotations another."""
    path.write_text(path.read_text(encoding="utf-8").replace('"focal_length": ', '"focal_length": 1'), encoding="utf-8")


def scale(path: Path) -> None:
    """Doubles all numbers but the last of a matrix."""
    matrix = np.loadtxt(path)
    matrix.flat[:-1] *= 2
    np.savetxt(path, matrix)


def move_camera(path: Path) -> None:
    """Changes a pose of 7-Scenes by a metre."""
    pose = np.loadtxt(path)
    pose[0, 3] += 1
    np.savetxt(path, pose)


def turn_around(path: Path) -> None:
    """Reverses the pairs of a list of MegaDepth-1500."""
    content = pickle.loads(path.read_bytes())
    content["pair_infos"].reverse()
    path.write_bytes(pickle.dumps(content))


@dataclass(frozen=True)
class Case:
    """A reader of a dataset: how it is opened, what its samples hold, and files that its fingerprint depends on."""

    dataset: str
    open: Callable[[Path], Reader]
    sample: dict[str, str]
    files: str
    change: Callable[[Path], None] = append_line


def open_training_poses(root: Path) -> Reader:
    return seven_scenes.open_seven_scenes(root).train_pairs()


def open_queries(root: Path) -> Reader:
    return seven_scenes.open_seven_scenes(root).queries()


NYUV2 = {"image": COLOR, "depth_m": "float32 H W", "valid": KNOWN, "id": "str"}
ORIENTED = {"image": COLOR, "normals": "float32 H W 3", "valid": KNOWN, "id": "str"}
NORMALS = {"image": COLOR, "target": "float32 H W 3", "valid": KNOWN, "id": "str"}
LABELS, CLASS = {"image": COLOR, "label": GRAY, "id": "str"}, {"image": COLOR, "label": "int", "id": "str"}
PLANES = {"image1": COLOR, "image2": COLOR, "homography": "float64 3 3", "kind": "str", "scene": "str", "id": "str"}
KEYPOINTS = {"image1": COLOR, "image2": COLOR, "keypoints1": "float64 K 2", "keypoints2": "float64 K 2"}
KEYPOINTS |= {"box2": "float64 4", "difficulty": "int", "scene": "str", "id": "str"}
OBJECTS = {"image1": COLOR, "image2": COLOR, "depth1_m": "float32 H W", "depth2_m": "float32 H W", "K1": "float64 3 3"}
OBJECTS |= {"K2": "float64 3 3", "relative": "float64 4 4", "scene": "str", "id": "str"}
CORRUPTED = {"corruption": "int", "severity": "int"}
MULTIMAE = {"image": COLOR, "depth": "uint16 H W", "semseg": GRAY, "id": "str"}
READERS = {
    "nyuv2": Case("nyuv2", partial(nyuv2.open_split, split="train"), NYUV2, "nyu_depth_v2_labeled.mat"),
    "kitti_depth": Case("kitti_depth", partial(kitti_depth.open_split, split="train"), NYUV2, "*/proj_depth/*/*/*.png"),
    "nyuv2_normals": Case(
        "nyuv2_normals", partial(nyuv2_normals.open_split, split="train"), ORIENTED, "train/*_normal.png"
    ),
    "ade20k": Case("ade20k", partial(ADE20KReader, split="train"), LABELS, "*/annotations/training/*.png"),
    "taskonomy": Case(
        "taskonomy", partial(taskonomy.open_split, split="val", domain="normals"), NORMALS, "normal/*/*.png"
    ),
    "imagenet": Case("imagenet", partial(imagenet.open_split, split="val"), CLASS, "val/*/*"),
    "imagenet_c": Case("imagenet_c", imagenet_c.open_corrupted, CLASS | CORRUPTED, "*/1/*/*"),
    "multimae": Case("multimae", multimae.MultimaeReader, MULTIMAE, "train/depth/*/*.png"),
    "pairs": Case("habitat_release", open_pairs, {"pair": "FilePair"}, "pairs.txt"),
    "habitat": Case("habitat_release", HabitatPoses, POSES, "pairs.txt"),
    "hpatches": Case("hpatches", partial(HPatchesReader, split="test"), PLANES, "v_room0/H_1_2", scale),
    "navi": Case("navi", partial(NaviReader, split="test"), OBJECTS, "*/wild_set/annotations.json", lengthen),
    "spair71k": Case("spair71k", partial(SPairReader, split="test"), KEYPOINTS, "Layout/large/test.txt"),
    "scannet1500": Case(
        "scannet1500",
        partial(open_scannet1500, depth=True),
        POSES | {"depth1_m": "float32 H W", "depth2_m": "float32 H W"},
        "*/scene0707_00/pose/*.txt",
        move_camera,
    ),
    "megadepth1500": Case(
        "megadepth1500",
        partial(open_megadepth1500, depth=True),
        POSES | {"image2": "uint8 H2 W2 3", "depth1_m": "float32 H W", "depth2_m": "float32 H2 W2"},
        "*/0015_*.npz",
        turn_around,
    ),
    "7scenes": Case("7scenes", open_training_poses, POSES, "*/seq-01/*.pose.txt", move_camera),
    "7scenes queries": Case("7scenes", open_queries, POSES | STACKS, "*/seq-02/*.pose.txt", move_camera),
    "sintel": Case("sintel", partial(sintel.open_split, split="train"), FLOW | MASKS, "training/final/*/*.png"),
    "sintel test": Case("sintel", partial(sintel.open_split, split="test"), PAIR, "test/clean/*/*.png"),
    "sintel both": Case("sintel", partial(sintel.BothPasses, split="train"), BOTH_PASSES, "training/final/*/*.png"),
    "flyingchairs": Case("flyingchairs", partial(flyingchairs.open_split, split="val"), FLOW, "data/*_flow.flo"),
    "middlebury": Case(
        "middlebury",
        partial(middlebury.open_evaluation, split="train"),
        DISPARITY | {"occluded": KNOWN},
        "*/train*/*/*.pfm",
    ),
    "crestereo": Case("crestereo", crestereo.open_split, DISPARITY, "*/*.disp.png"),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_keep_their_contract(name: str, tiny_data: Path, tmp_path: Path, reader_contract: Any) -> None:
    case = READERS[name]
    root = Path(shutil.copytree(tiny_data / case.dataset, tmp_path / "elsewhere" / case.dataset))
    contract = reader_contract(case.open, case.sample)
    contract.check(tiny_data / case.dataset, case.dataset)
    assert case.open(tiny_data / case.dataset).miniature
    before = case.open(root).fingerprint()
    assert before == case.open(tiny_data / case.dataset).fingerprint()
    for path in root.glob(case.files):
        case.change(path)
    assert case.open(root).fingerprint() != before
    contract.check_missing(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    contract.check_missing(tmp_path / "empty")
