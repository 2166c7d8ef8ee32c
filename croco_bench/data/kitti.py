"""KITTI 2012 and 2015: streets, with sparse truth from a laser scanner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from croco_bench.contracts import Sample
from croco_bench.data.flow import FlowReader
from croco_bench.data.flow_formats import read_kitti_flow
from croco_bench.data.listing import base_of, match, numbered
from croco_bench.data.matching import ViewPair
from croco_bench.data.places import is_miniature

Split = Literal["train", "test"]
Array = NDArray[Any]
PARTS: dict[Split, str] = {"train": "training", "test": "testing"}


@dataclass(frozen=True)
class Edition:
    """How one of the two benchmarks calls its folders."""

    name: str
    archive: str
    left: str
    link: str


EDITIONS = {
    2012: Edition(
        "kitti2012",
        "data_stereo_flow",
        "colored_0",
        "https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php",
    ),
    2015: Edition(
        "kitti2015",
        "data_scene_flow",
        "image_2",
        "https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
    ),
}
# CroCo v2 selects by the last pairs of 2015: ten for flow, five for stereo.
SELECT_FLOW_2015 = tuple(f"{number:06d}" for number in range(190, 200))


def open_2012(root: Path, split: Split) -> FlowReader:
    """The pairs of KITTI 2012; `occluded` is read where `flow_noc` is there. `test` has no flow: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    return _open_flow(root, split, EDITIONS[2012])


def open_2015(root: Path, split: Split) -> FlowReader:
    """The pairs of KITTI 2015, as `open_2012`.

    Raises:
        DataError: files are missing.
    """
    return _open_flow(root, split, EDITIONS[2015])


def _open_flow(root: Path, split: Split, edition: Edition) -> FlowReader:
    part, link = PARTS[split], edition.link
    base = base_of(root, (edition.archive,), part, link)
    frames = numbered(base / part / edition.left, "", "_10.png", link)
    later = {f"{frame:06d}_11.png" for frame in numbered(base / part / edition.left, "", "_11.png", link)}
    match(base / part / edition.left, (f"{frame:06d}_11.png" for frame in frames), later, link)
    folders = truth_folders(base, split, frames, "flow_occ", "flow_noc", link)
    pairs = [
        ViewPair(
            id=f"{frame:06d}",
            group=f"{frame:06d}",
            image1=f"{part}/{edition.left}/{frame:06d}_10.png",
            image2=f"{part}/{edition.left}/{frame:06d}_11.png",
            **{key: f"{part}/{folder}/{frame:06d}_10.png" for key, folder in folders.items()},
        )
        for frame in frames
    ]
    truth = partial(sparse_truth, read_kitti_flow, "flow_px")
    return FlowReader(edition.name, split, base, pairs, truth, miniature=is_miniature(root))


def truth_folders(base: Path, split: Split, frames: list[int], all_of_it: str, seen: str, link: str) -> dict[str, str]:
    """Folders of the truth of all pixels, and if it is there of those seen in both views; none where it is withheld."""
    if split == "test":
        return {}
    part = base / PARTS[split]
    folders = {"truth": all_of_it, **({"occluded": seen} if (part / seen).is_dir() else {})}
    for folder in folders.values():
        present = {f"{frame:06d}_10.png" for frame in numbered(part / folder, "", "_10.png", link)}
        match(part / folder, (f"{frame:06d}_10.png" for frame in frames), present, link)
    return folders


def sparse_truth(read: Callable[[Path], tuple[Array, Array]], key: str, base: Path, pair: ViewPair) -> Sample:
    """Truth under `key`; occluded is what is known, but not in the file of pixels that both views see."""
    values, valid = read(base / str(pair.truth))
    if pair.occluded is None:
        return {key: values, "valid": valid}
    _, seen = read(base / pair.occluded)
    if seen.shape != valid.shape:  # the reader will say so
        return {key: values, "valid": valid, "occluded": ~seen}
    return {key: values, "valid": valid, "occluded": valid & ~seen}
