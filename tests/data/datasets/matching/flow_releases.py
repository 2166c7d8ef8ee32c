"""Small releases of flow datasets in their layouts, and what readers find in them."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np

from croco_bench.data.datasets.matching import (
    autoflow,
    flyingchairs,
    flyingthings,
    hd1k,
    kitti,
    sintel,
    spring,
    tartanair,
)
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.types import Array

H, W = 12, 16


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def save(path: Path, array: Array) -> None:
    """Any image; colours in RGB order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array if array.ndim == 2 else np.ascontiguousarray(array[:, :, ::-1]))


def frame(number: int) -> Array:
    """Colours that slide to the right by 2 and down by 1 pixel a frame."""
    base = np.random.default_rng(7).integers(0, 256, (H, W, 3), dtype=np.uint8)
    return np.roll(base, (number, 2 * number), axis=(0, 1))


def flow_of(mark: float, step: int = 1) -> Array:
    """(2, 1) pixels everywhere; v of the first pixel tells files apart."""
    flow = np.full((H, W, 2), (2.0 * step, 1.0 * step), np.float32)
    flow[0, 0, 1] = mark
    return flow


def flo(flow: Array) -> bytes:
    return b"PIEH" + struct.pack("<ii", W, H) + flow.astype("<f4").tobytes()


def pfm(flow: Array) -> bytes:
    three = np.dstack([flow, np.zeros(flow.shape[:2])])
    return f"PF\n{W} {H}\n-1.0\n".encode() + three[::-1].astype("<f4").tobytes()


def kitti_png(flow: Array, valid: Array) -> Array:
    numbers = np.dstack([flow * 64 + 2**15, valid])
    return np.where(valid[:, :, None], numbers, 0).astype(np.uint16)


def write_sintel(root: Path) -> None:
    """Two scenes of three and two frames, and a test scene of three."""
    for part, scenes in (("training", {"alley_1": 3, "temple_2": 2}), ("test", {"wall": 3})):
        for scene, frames in scenes.items():
            for number in range(1, frames + 1):
                name = f"{scene}/frame_{number:04d}"
                for passed in ("clean", "final"):
                    save(root / part / passed / f"{name}.png", frame(number) // (1 if passed == "clean" else 2))
                if part == "training":
                    invalid = np.zeros((H, W), np.uint8)
                    invalid[number, number + 1] = 255
                    save(root / part / "invalid" / f"{name}.png", invalid)  # there is one for each frame
                    if number < frames:
                        put(root / part / "flow" / f"{name}.flo", flo(flow_of(number)))
                        occluded = np.zeros((H, W), np.uint8)
                        occluded[:, -2:] = 255
                        save(root / part / "occlusions" / f"{name}.png", occluded)


def write_flyingchairs(root: Path) -> None:
    put(root / "chairs_split.txt", b"1\n2\n1\n1\n")
    for number in range(1, 5):
        for which in (1, 2):
            pixels = frame(number + which).tobytes()
            put(root / f"data/{number:05d}_img{which}.ppm", f"P6\n{W} {H}\n255\n".encode() + pixels)
        put(root / f"data/{number:05d}_flow.flo", flo(flow_of(number)))


def write_flyingthings(root: Path) -> None:
    """Each scene has flow in both directions of all its frames, the outermost leading to frames that aren't there."""
    for scene, numbers in (("TRAIN/A/0000", (6, 7, 8)), ("TRAIN/B/0001", (6, 7)), ("TEST/A/0000", (6, 7, 8))):
        for number in numbers:
            for camera in ("left", "right"):
                for passed in ("clean", "final"):
                    save(root / f"frames_{passed}pass/{scene}/{camera}/{number:04d}.png", frame(number))
                for way, step in (("Future", 1), ("Past", -1)):
                    name = f"OpticalFlowInto{way}_{number:04d}_{camera[0].upper()}.pfm"
                    mark = number + (100 if way == "Past" else 0) + (1000 if camera == "right" else 0)
                    put(root / f"optical_flow/{scene}/into_{way.lower()}/{camera}/{name}", pfm(flow_of(mark, step)))


def write_tartanair(root: Path, doubled: bool = True) -> None:
    flights = [("alley", "Easy", "P000", 3), ("alley", "Hard", "P001", 2), ("seaside", "Hard", "P000", 2)]
    for world, difficulty, name, frames in flights:
        folder = root / world / (world if doubled else ".") / difficulty / name
        for number in range(frames):
            save(folder / f"image_left/{number:06d}_left.png", frame(number))
            if number < frames - 1:
                start = f"flow/{number:06d}_{number + 1:06d}"
                (folder / "flow").mkdir(exist_ok=True)
                np.save(folder / f"{start}_flow.npy", flow_of(number))
                mask = np.zeros((H, W), np.uint8)
                mask[0, :3] = 1, 10, 100
                np.save(folder / f"{start}_mask.npy", mask)


def write_autoflow(root: Path) -> None:
    for part, names in (("1", ("table_0_batch_1", "table_1_batch_0")), ("2", ("table_0_batch_7",))):
        for mark, name in enumerate(names):
            folder = root / f"static_40k_png_{part}_of_4" / name
            save(folder / "im0.png", frame(0))
            save(folder / "im1.png", frame(1))
            put(folder / "forward.flo", flo(flow_of(mark)))


def write_kitti(root: Path, images: str = "image_2") -> None:
    known = np.random.default_rng(0).random((H, W)) < 0.5
    seen = known & (np.arange(W) < W - 4)
    for part in ("training", "testing"):
        for number in range(3):
            for which in (10, 11):
                save(root / part / images / f"{number:06d}_{which}.png", frame(number + which))
            if part == "training":
                name = f"{number:06d}_10.png"
                save(root / part / "flow_occ" / name, kitti_png(flow_of(number), known))
                save(root / part / "flow_noc" / name, kitti_png(flow_of(number), seen))


def write_hd1k(root: Path) -> None:
    for sequence, frames in ((0, (10, 11, 12)), (3, (0, 1))):
        for number in frames:
            name = f"{sequence:06d}_{number:04d}.png"
            save(root / "hd1k_input/image_2" / name, frame(number))
            save(root / "hd1k_flow_gt/flow_occ" / name, kitti_png(flow_of(number), np.ones((H, W), bool)))
    for number in range(2):
        save(root / f"hd1k_challenge/image_2/000000_{number:04d}.png", frame(number))


def write_spring(root: Path) -> None:
    """Flow of twice the resolution: v tells which of a pixel's four it is; one of them, and all of another's, are unknown."""
    for part, scene, frames in (("train", "0001", 3), ("train", "0041", 2), ("test", "0003", 3)):
        for camera in ("left", "right"):
            for number in range(1, frames + 1):
                save(root / part / scene / f"frame_{camera}" / f"frame_{camera}_{number:04d}.png", frame(number))
                for way, step in (("FW", 1), ("BW", -1)):
                    if part == "train" and 1 <= number + step <= frames:
                        flow = np.full((2 * H, 2 * W, 2), (2.0 * step, 1.0 * step), np.float32)
                        flow[0:2, 0:2, 1] = [[1, 2], [3, 10]]
                        flow[2:4, 2:4] = np.nan
                        flow[4, 5] = np.nan
                        name = f"flow_{way}_{camera}"
                        path = root / part / scene / name / f"{name}_{number:04d}.flo5"
                        path.parent.mkdir(exist_ok=True)
                        with h5py.File(path, "w") as file:
                            file["flow"] = flow


@dataclass(frozen=True)
class Case:
    """A dataset: how it is written and opened, its pairs in order, their groups if not they, the mark of the last flow.

    `archive` is the folder that it may lie in, `more` what its samples hold beside the flow.
    """

    write: Callable[[Path], None]
    open: Callable[[Path], MatchingReader]
    ids: list[str]
    groups: list[str] | None
    mark: float
    archive: str = ""
    more: dict[str, str] = field(default_factory=dict)


FLOW = {
    "image1": f"uint8 {H} {W} 3",
    "image2": f"uint8 {H} {W} 3",
    "flow_px": f"float32 {H} {W} 2",
    "valid": f"bool {H} {W}",
    "id": "str",
}
OCCLUDED, INVALID = {"occluded": f"bool {H} {W}"}, {"invalid": f"bool {H} {W}"}
CASES = {
    "sintel": Case(
        write_sintel,
        partial(sintel.open_split, split="train"),
        [
            f"{p}/{s}"
            for p in ("clean", "final")
            for s in ("alley_1/frame_0001", "alley_1/frame_0002", "temple_2/frame_0001")
        ],
        ["alley_1", "alley_1", "temple_2"] * 2,
        1,
        "MPI-Sintel-complete",
        OCCLUDED | INVALID,
    ),
    "flyingchairs": Case(
        write_flyingchairs,
        partial(flyingchairs.open_split, split="train"),
        ["00001", "00003", "00004"],
        None,
        4,
        "FlyingChairs_release",
    ),
    "flyingthings": Case(
        write_flyingthings,
        partial(flyingthings.open_split, split="train", passes=("clean",), cameras=("right",)),
        [
            "cleanpass/TRAIN/A/0000/IntoFuture_0006_R",
            "cleanpass/TRAIN/A/0000/IntoFuture_0007_R",
            "cleanpass/TRAIN/B/0001/IntoFuture_0006_R",
            "cleanpass/TRAIN/A/0000/IntoPast_0007_R",
            "cleanpass/TRAIN/A/0000/IntoPast_0008_R",
            "cleanpass/TRAIN/B/0001/IntoPast_0007_R",
        ],
        ["TRAIN/A/0000", "TRAIN/A/0000", "TRAIN/B/0001"] * 2,
        1107,
        "FlyingThings3D",
    ),
    "tartanair": Case(
        write_tartanair,
        tartanair.open_split,
        ["alley/Easy/P000/000000", "alley/Easy/P000/000001", "alley/Hard/P001/000000", "seaside/Hard/P000/000000"],
        ["alley", "alley", "alley", "seaside"],
        0,
        more=OCCLUDED,
    ),
    "autoflow": Case(
        write_autoflow,
        autoflow.open_split,
        ["table_0_batch_1", "table_1_batch_0", "table_0_batch_7"],
        ["table_0", "table_1", "table_0"],
        0,
    ),
    "kitti2012": Case(
        partial(write_kitti, images="colored_0"),
        partial(kitti.open_flow, split="train", year=2012),
        ["000000", "000001", "000002"],
        None,
        2,
        "data_stereo_flow",
        OCCLUDED,
    ),
    "kitti2015": Case(
        write_kitti,
        partial(kitti.open_flow, split="train", year=2015),
        ["000000", "000001", "000002"],
        None,
        2,
        "data_scene_flow",
        OCCLUDED,
    ),
    "hd1k": Case(
        write_hd1k,
        partial(hd1k.open_split, split="train"),
        ["000000_0010", "000000_0011", "000003_0000"],
        ["000000", "000000", "000003"],
        0,
        "hd1k_full_package",
    ),
    "spring": Case(
        write_spring,
        partial(spring.open_split, split="train"),
        [
            f"{scene}/flow_{way}_{camera}_{number:04d}"
            for camera in ("left", "right")
            for way, first in (("FW", 1), ("BW", 2))
            for scene, number in (("0001", first), ("0001", first + 1), ("0041", first))
        ],
        ["0001", "0001", "0041"] * 4,
        4,
        "spring",
        {"flow4_px": f"float32 {H} {W} 4 2", "valid4": f"bool {H} {W} 4"},
    ),
}
