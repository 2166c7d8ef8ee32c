"""Small releases of stereo datasets in their layouts, and what readers find in them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np

from croco_bench.data.datasets.matching import booster, crestereo, eth3d, kitti, middlebury, sceneflow, spring
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.types import Array

H, W, D = 12, 16, 3


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def view(mark: int, camera: int) -> Array:
    """Left (0) or right (1); `mark` tells scenes and lights apart."""
    base = np.random.default_rng(mark).integers(0, 256, (H // 2, W // 2, 3), dtype=np.uint8)
    whole = cv2.resize(base, (W, H), interpolation=cv2.INTER_LINEAR)
    return np.roll(whole, -D * camera, axis=1)


def truth(mark: float, unknown: float) -> Array:
    """D everywhere, but unknown in a corner, and a mark in another."""
    disparity = np.full((H, W), D, np.float32)
    disparity[0, :2], disparity[-1, -1] = unknown, mark
    return disparity


def write_pfm(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"Pf\n{W} {H}\n-1\n".encode() + values[::-1].astype("<f4").tobytes())


def write_views(folder: Path, mark: int, names: Iterable[str] = ("im0.png", "im1.png")) -> None:
    for name, camera in zip(names, (0, 1), strict=True):
        save(folder / name, view(mark, camera))


def write_2005(root: Path, folder: str = "2005/train") -> None:
    for mark, scene in enumerate(("Art", "Reindeer")):
        save(root / folder / scene / "disp1.png", truth(mark + 1, 0).astype(np.uint8))
        for light in (1, 2, 3):
            for exposure in (0, 1, 2):
                inside = root / folder / scene / f"Illum{light}/Exp{exposure}"
                write_views(inside, 9 * mark + 3 * light + exposure, ("view1.png", "view5.png"))
                save(inside / "view3.png", view(99, 0))


def write_2014(root: Path) -> None:
    for mark, scene in enumerate(("Backpack-perfect", "Umbrella-imperfect")):
        folder = root / "2014" / scene
        write_pfm(folder / "disp0.pfm", truth(mark + 1, np.inf))
        write_views(folder, mark)
        for right in ("im1E", "im1L"):
            save(folder / f"{right}.png", view(mark, 1))


def write_2021(root: Path) -> None:
    for mark, scene in enumerate(("artroom1", "traproom1")):
        folder = root / "2021/data" / scene
        write_pfm(folder / "disp0.pfm", truth(mark + 1, np.inf))
        write_views(folder, mark)
        for light, exposures in (("F0", ("",)), ("L1", ("e0", "e1"))):
            for exposure in exposures:
                write_views(folder / "ambient" / light, mark, (f"im0{exposure}.png", f"im1{exposure}.png"))


def write_evaluation(
    root: Path, train: str = "MiddEval3_H/train", test: str = "MiddEval3_H/test", gt: str = ""
) -> None:
    for mark, (folder, scene) in enumerate(((train, "Adirondack"), (train, "Vintage"), (test, "Australia"))):
        write_views(root / folder / scene, mark)
        if folder == train:
            write_pfm(root / (gt or train) / scene / "disp0GT.pfm", truth(mark + 1, np.inf))
            seen = np.full((H, W), 255, np.uint8)
            seen[3, 4], seen[0, :2] = 128, 0
            save(root / (gt or train) / scene / "mask0nocc.png", seen)


def write_crestereo(root: Path) -> None:
    for mark, (kind, name) in enumerate((("hole", "b"), ("shapenet", "a"), ("tree", "c"))):
        write_views(root / kind, mark, (f"{name}_left.jpg", f"{name}_right.jpg"))
        for camera in ("left", "right"):
            save(root / kind / f"{name}_{camera}.disp.png", (truth(mark + 1, 0) * 32).astype(np.uint16))


def write_booster(root: Path) -> None:
    for mark, (part, scene, lights) in enumerate(
        (("train", "Bathroom", 2), ("train", "Window", 1), ("test", "Bar", 2))
    ):
        folder = root / part / "balanced" / scene
        for light in range(lights):
            for camera in (0, 1):
                save(folder / f"camera_0{2 * camera}" / f"im{light}.png", view(mark, camera))
        if part == "train":
            np.save(folder / "disp_00.npy", truth(mark + 1, 0))


def write_sceneflow(root: Path) -> None:
    scenes = (
        "Driving/{}/15mm_focallength/scene_backwards/fast",
        "Driving/{}/35mm_focallength/scene_forwards/slow",
        "Monkaa/{}/a_rain_of_stones_x2",
        "FlyingThings/{}/TRAIN/A/0000",
        "FlyingThings/{}/TEST/B/0003",
    )
    for mark, scene in enumerate(scenes):
        for name in ("frames_cleanpass", "frames_finalpass"):
            for camera, side in enumerate(("left", "right")):
                save(root / scene.format(name) / side / "0006.png", view(mark, camera))
        write_pfm(root / scene.format("disparity") / "left/0006.pfm", truth(mark + 1, 0))


def write_kitti(root: Path, left: str = "image_2", right: str = "image_3", end: str = "_0") -> None:
    for part in ("training", "testing"):
        for mark in range(2):
            name = f"{mark:06d}_10.png"
            for camera, folder in enumerate((left, right)):
                save(root / part / folder / name, view(mark, camera))
            if part == "training":
                numbers = (truth(mark + 1, 0) * 256).astype(np.uint16)
                save(root / part / f"disp_occ{end}" / name, numbers)
                numbers[3, 4] = 0
                save(root / part / f"disp_noc{end}" / name, numbers)


def write_spring(root: Path) -> None:
    for part, scene in (("train", "0001"), ("train", "0041"), ("test", "0003")):
        for mark in (1, 2):
            for camera, side in enumerate(("left", "right")):
                save(root / part / scene / f"frame_{side}/frame_{side}_{mark:04d}.png", view(mark, camera))
                if part == "train":
                    values = truth(mark, np.nan).repeat(2, axis=0).repeat(2, axis=1)
                    values[4:6, 4:6] = [[0, 1], [np.nan, 2]]
                    path = root / part / scene / f"disp1_{side}/disp1_{side}_{mark:04d}.dsp5"
                    path.parent.mkdir(exist_ok=True)
                    with h5py.File(path, "w") as file:
                        file["disparity"] = values


@dataclass(frozen=True)
class Case:
    """A dataset: its name, how it is written and opened, its pairs in order, and the mark of the last one."""

    dataset: str
    write: Callable[[Path], None]
    open: Callable[[Path], MatchingReader]
    ids: list[str]
    mark: float


def grid(scenes: Iterable[str]) -> list[str]:
    return [f"{scene}/Illum{light}/Exp{exposure}" for scene in scenes for light in (1, 2, 3) for exposure in (0, 1, 2)]


CASES = {
    "2005": Case(
        "middlebury", write_2005, partial(middlebury.open_scenes, edition="2005"), grid(("Art", "Reindeer")), 2
    ),
    "2006": Case(
        "middlebury",
        partial(write_2005, folder="2006"),
        partial(middlebury.open_scenes, edition="2006", scenes=("Reindeer",)),
        grid(("Reindeer",)),
        2,
    ),
    "2014": Case(
        "middlebury",
        write_2014,
        partial(middlebury.open_scenes, edition="2014"),
        [
            f"{scene}/{right}"
            for scene in ("Backpack-perfect", "Umbrella-imperfect")
            for right in ("im1", "im1E", "im1L")
        ],
        2,
    ),
    "2021": Case(
        "middlebury",
        write_2021,
        partial(middlebury.open_scenes, edition="2021"),
        [f"{scene}/ambient/{im}" for scene in ("artroom1", "traproom1") for im in ("F0/im0", "L1/im0e0", "L1/im0e1")],
        2,
    ),
    "MiddEval3": Case(
        "middlebury",
        write_evaluation,
        partial(middlebury.open_evaluation, split="train", resolution="H"),
        ["Adirondack", "Vintage"],
        2,
    ),
    "eth3d": Case(
        "eth3d",
        partial(write_evaluation, train="train", test="test", gt="train_gt"),
        partial(eth3d.open_split, split="train"),
        ["Adirondack", "Vintage"],
        2,
    ),
    "crestereo": Case("crestereo", write_crestereo, crestereo.open_split, ["hole/b", "shapenet/a", "tree/c"], 3),
    "booster": Case(
        "booster",
        write_booster,
        partial(booster.open_split, split="train"),
        ["Bathroom/im0", "Bathroom/im1", "Window/im0"],
        2,
    ),
    "sceneflow": Case(
        "sceneflow",
        write_sceneflow,
        partial(sceneflow.open_split, split="train", passes=("final",)),
        [
            "finalpass/Driving/15mm_focallength/scene_backwards/fast/0006",
            "finalpass/Driving/35mm_focallength/scene_forwards/slow/0006",
            "finalpass/Monkaa/a_rain_of_stones_x2/0006",
            "finalpass/FlyingThings/TRAIN/A/0000/0006",
        ],
        4,
    ),
    "kitti2012": Case(
        "kitti2012",
        partial(write_kitti, left="colored_0", right="colored_1", end=""),
        partial(kitti.open_stereo, split="train", year=2012),
        ["000000", "000001"],
        2,
    ),
    "kitti2015": Case(
        "kitti2015", write_kitti, partial(kitti.open_stereo, split="train", year=2015), ["000000", "000001"], 2
    ),
    "spring": Case(
        "spring",
        write_spring,
        partial(spring.open_stereo, split="train"),
        [f"{scene}/disp1_left_{frame}" for scene in ("0001", "0041") for frame in ("0001", "0002")],
        2,
    ),
}


# What samples hold: images, disparity, and what some datasets add.
DISPARITY = {
    "image1": f"uint8 {H} {W} 3",
    "image2": f"uint8 {H} {W} 3",
    "disparity_px": f"float32 {H} {W}",
    "valid": f"bool {H} {W}",
    "id": "str",
}
OCCLUDED = {"occluded": f"bool {H} {W}"}
MORE = dict.fromkeys(("MiddEval3", "eth3d", "kitti2012", "kitti2015"), OCCLUDED)
MORE["spring"] = {"disparity4_px": f"float32 {H} {W} 4", "valid4": f"bool {H} {W} 4"}
