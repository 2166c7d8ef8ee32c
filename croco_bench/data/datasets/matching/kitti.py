"""KITTI 2012 and 2015: streets, with sparse ground truth from a laser scanner, for optical flow and stereo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_kitti_disparity
from croco_bench.data.formats.flow import read_kitti_flow
from croco_bench.data.formats.layout import base_of, numbered, require_exactly
from croco_bench.types import Array, Sample

Split = Literal["train", "test"]
Year = Literal[2012, 2015]
PARTS: dict[Split, str] = {"train": "training", "test": "testing"}


@dataclass(frozen=True)
class Edition:
    """Names of one of the two benchmarks' folders, and its number of pairs.

    `disparity`: the folders of all pixels, and of non-occluded pixels.
    """

    name: str
    archive: str
    left: str
    right: str
    disparity: tuple[str, str]
    link: str
    pairs: Mapping[Split, int]


EDITIONS: dict[Year, Edition] = {
    2012: Edition(
        name="kitti2012",
        archive="data_stereo_flow",
        left="colored_0",
        right="colored_1",
        disparity=("disp_occ", "disp_noc"),
        link="https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php",
        pairs={"train": 194, "test": 195},
    ),
    2015: Edition(
        name="kitti2015",
        archive="data_scene_flow",
        left="image_2",
        right="image_3",
        disparity=("disp_occ_0", "disp_noc_0"),
        link="https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
        pairs={"train": 200, "test": 200},
    ),
}
# CroCo v2 selects by the last pairs of 2015: ten for flow, five for stereo.
SELECT_FLOW_2015 = tuple(f"{number:06d}" for number in range(190, 200))
SELECT_STEREO_2015 = SELECT_FLOW_2015[5:]


def open_flow(root: Path, split: Split, *, year: Year) -> MatchingReader:
    """Pairs of following frames; `occluded` is read where `flow_noc` is there. `test` has no flow: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    edition = EDITIONS[year]
    base, pairs = _pairs(root, split, edition, (edition.left, "11"), ("flow_occ", "flow_noc"))
    read_truth = partial(_truth, "flow_px", read_kitti_flow)
    mini, released = is_miniature(root), edition.pairs[split]
    return MatchingReader(edition.name, split, base, pairs, read_truth, miniature=mini, released=released)


def open_stereo(root: Path, split: Split, *, year: Year) -> MatchingReader:
    """Left and right views; `occluded` is read where `disp_noc` is there. `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    edition = EDITIONS[year]
    base, pairs = _pairs(root, split, edition, (edition.right, "10"), edition.disparity)
    read_truth = partial(_truth, "disparity_px", read_kitti_disparity)
    mini, released = is_miniature(root), edition.pairs[split]
    return MatchingReader(edition.name, split, base, pairs, read_truth, miniature=mini, released=released)


def _pairs(
    root: Path, split: Split, edition: Edition, second: tuple[str, str], truth: tuple[str, str]
) -> tuple[Path, list[PairPaths]]:
    """The base folder and its pairs: the left first frame, and the image of equal number in the folder `second`."""
    part, (folder, which) = PARTS[split], second
    base = base_of(root, (edition.archive,), part, edition.link)
    frames = numbered(base / part / edition.left, "", "_10.png", edition.link)
    _match(base / part / folder, frames, which, edition.link)
    names = {"truth": truth[0], "occluded": truth[1]} if split == "train" else {}
    names = {key: name for key, name in names.items() if key == "truth" or (base / part / name).is_dir()}
    for name in names.values():
        _match(base / part / name, frames, "10", edition.link)
    return base, [
        PairPaths(
            id=f"{frame:06d}",
            group=f"{frame:06d}",
            image1=f"{part}/{edition.left}/{frame:06d}_10.png",
            image2=f"{part}/{folder}/{frame:06d}_{which}.png",
            **{key: f"{part}/{name}/{frame:06d}_10.png" for key, name in names.items()},
        )
        for frame in frames
    ]


def _match(folder: Path, frames: list[int], which: str, link: str) -> None:
    """Refuses a folder with missing or other frames."""
    present = {f"{frame:06d}_{which}.png" for frame in numbered(folder, "", f"_{which}.png", link)}
    require_exactly(folder, (f"{frame:06d}_{which}.png" for frame in frames), present, link)


def _truth(key: str, read: Callable[[Path], tuple[Array, Array]], base: Path, pair: PairPaths) -> Sample:
    """Truth under `key`; `occluded` are pixels known in it, but not in the file of non-occluded pixels."""
    values, valid = read(base / str(pair.truth))
    if pair.occluded is None:
        return {key: values, "valid": valid}
    _, seen = read(base / pair.occluded)
    # The reader refuses files of two sizes.
    return {key: values, "valid": valid, "occluded": valid & ~seen if seen.shape == valid.shape else ~seen}


def check_2012(root: Path) -> list[Finding]:
    """Findings on both splits of 2012 for flow, and for stereo where the right camera's images are there."""
    return _check(root, 2012)


def check_2015(root: Path) -> list[Finding]:
    """Findings on both splits of 2015 for flow, and for stereo where the right camera's images are there."""
    return _check(root, 2015)


def _check(root: Path, year: Year) -> list[Finding]:
    edition = EDITIONS[year]
    parts = [Part(split, partial(open_flow, root, split, year=year), n) for split, n in edition.pairs.items()]
    if _holds(root, edition, edition.right):
        parts += [
            Part(f"{split}, stereo", partial(open_stereo, root, split, year=year), n)
            for split, n in edition.pairs.items()
        ]
    return check_parts(root, edition.link, parts)


def _holds(root: Path, edition: Edition, folder: str) -> bool:
    """Whether the training part has this folder: flow and stereo are complete without each other."""
    return any((root / base / PARTS["train"] / folder).is_dir() for base in (".", edition.archive))
