"""KITTI 2012 and 2015: streets, with sparse truth from a laser scanner, for optical flow and for stereo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.flow import FlowReader
from croco_bench.data.datasets.matching.image_pairs import ViewPair
from croco_bench.data.datasets.matching.stereo import DisparityReader
from croco_bench.data.formats.disparity import read_kitti_disparity
from croco_bench.data.formats.flow import read_kitti_flow
from croco_bench.data.formats.layout import base_of, match, numbered
from croco_bench.types import Array, Sample

Split = Literal["train", "test"]
Year = Literal[2012, 2015]
PARTS: dict[Split, str] = {"train": "training", "test": "testing"}


@dataclass(frozen=True)
class Edition:
    """How one of the two benchmarks calls its folders; of truth, first that of all pixels, then of those seen twice."""

    name: str
    archive: str
    left: str
    right: str
    disparity: tuple[str, str]
    link: str


EDITIONS: dict[Year, Edition] = {
    2012: Edition(
        *("kitti2012", "data_stereo_flow", "colored_0", "colored_1"),
        ("disp_occ", "disp_noc"),
        "https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php",
    ),
    2015: Edition(
        *("kitti2015", "data_scene_flow", "image_2", "image_3"),
        ("disp_occ_0", "disp_noc_0"),
        "https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
    ),
}
# CroCo v2 selects by the last pairs of 2015: ten for flow, five for stereo.
SELECT_FLOW_2015 = tuple(f"{number:06d}" for number in range(190, 200))
SELECT_STEREO_2015 = SELECT_FLOW_2015[5:]


def open_flow(root: Path, split: Split, *, year: Year) -> FlowReader:
    """Pairs of following frames; `occluded` is read where `flow_noc` is there. `test` has no flow: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    edition = EDITIONS[year]
    base, pairs = _pairs(root, split, edition, (edition.left, "11"), ("flow_occ", "flow_noc"))
    truth = partial(_truth, "flow_px", read_kitti_flow)
    return FlowReader(edition.name, split, base, pairs, truth, miniature=is_miniature(root))


def open_stereo(root: Path, split: Split, *, year: Year) -> DisparityReader:
    """Left and right views; `occluded` is read where `disp_noc` is there. `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    edition = EDITIONS[year]
    base, pairs = _pairs(root, split, edition, (edition.right, "10"), edition.disparity)
    truth = partial(_truth, "disparity_px", read_kitti_disparity)
    return DisparityReader(edition.name, split, base, pairs, truth, miniature=is_miniature(root))


def _pairs(
    root: Path, split: Split, edition: Edition, second: tuple[str, str], truth: tuple[str, str]
) -> tuple[Path, list[ViewPair]]:
    """The folder, and the pairs in it: the left first frame, and one of the same number in the folder `second`."""
    part, (folder, which) = PARTS[split], second
    base = base_of(root, (edition.archive,), part, edition.link)
    frames = numbered(base / part / edition.left, "", "_10.png", edition.link)
    _match(base / part / folder, frames, which, edition.link)
    names = {"truth": truth[0], "occluded": truth[1]} if split == "train" else {}
    names = {key: name for key, name in names.items() if key == "truth" or (base / part / name).is_dir()}
    for name in names.values():
        _match(base / part / name, frames, "10", edition.link)
    return base, [
        ViewPair(
            id=f"{frame:06d}",
            group=f"{frame:06d}",
            image1=f"{part}/{edition.left}/{frame:06d}_10.png",
            image2=f"{part}/{folder}/{frame:06d}_{which}.png",
            **{key: f"{part}/{name}/{frame:06d}_10.png" for key, name in names.items()},
        )
        for frame in frames
    ]


def _match(folder: Path, frames: list[int], which: str, link: str) -> None:
    """Refuses a folder that hasn't exactly these frames."""
    present = {f"{frame:06d}_{which}.png" for frame in numbered(folder, "", f"_{which}.png", link)}
    match(folder, (f"{frame:06d}_{which}.png" for frame in frames), present, link)


def _truth(key: str, read: Callable[[Path], tuple[Array, Array]], base: Path, pair: ViewPair) -> Sample:
    """Truth under `key`; occluded is what is known, but not in the file of pixels that both views see."""
    values, valid = read(base / str(pair.truth))
    if pair.occluded is None:
        return {key: values, "valid": valid}
    _, seen = read(base / pair.occluded)
    # Of two sizes, the reader will say so.
    return {key: values, "valid": valid, "occluded": valid & ~seen if seen.shape == valid.shape else ~seen}
