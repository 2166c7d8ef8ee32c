"""TartanAir: camera flights through rendered worlds, with the flow of static objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.arrays import read_npy
from croco_bench.data.formats.flow import read_npy_flow
from croco_bench.data.formats.layout import check_choice, file_names, frames_with_successor, require_exactly, subfolders
from croco_bench.errors import DataError
from croco_bench.types import Sample

LINK = "https://theairlab.org/tartanair-dataset"
PAIRS: dict[str, int] = {"train": 306_268}
DIFFICULTIES = ("Easy", "Hard")


def open_split(root: Path, split: str = "train", *, difficulties: Sequence[str] = DIFFICULTIES) -> MatchingReader:
    """Pairs of following frames of the left camera; there is one split. Groups are the worlds.

    `occluded` is where the dataset's mask isn't 0: pixels that leave the view or become hidden, and moving objects, which have
    wrong flow. It is there if all flights have masks.

    Raises:
        DataError: files are missing.
        UsageError: no such split or difficulty.
    """
    check_choice("split of TartanAir", (split,), ("train",))
    check_choice("difficulty of TartanAir", difficulties, DIFFICULTIES)
    flights = [
        (world, folder) for world in subfolders(root, LINK) for folder in _flights(root, world, tuple(difficulties))
    ]
    flow_files = {folder: set(file_names(root / folder / "flow", "", ".npy", LINK)) for _, folder in flights}
    masked = all(any(name.endswith("_mask.npy") for name in names) for names in flow_files.values())
    pairs = [pair for world, folder in flights for pair in _pairs(root, world, folder, flow_files.pop(folder), masked)]
    return MatchingReader("tartanair", split, root, pairs, _truth, miniature=is_miniature(root))


def _flights(root: Path, world: str, difficulties: Sequence[str]) -> list[str]:
    """Folders of a world's trajectories. Its archives unpack into <world>/<world> or into <world>."""
    flights: list[str] = []
    for difficulty in difficulties:
        bases = [base for base in (f"{world}/{world}", world) if (root / base / difficulty).is_dir()]
        if len(bases) > 1:
            raise DataError(
                f"{root / world} holds {difficulty} twice, also in another folder {world}", "keep one of the two"
            )
        flights += [
            f"{base}/{difficulty}/{name}" for base in bases for name in subfolders(root / base / difficulty, LINK)
        ]
    if not flights:
        raise DataError(
            f"{root / world} holds no {' and no '.join(difficulties)}, nor does a folder {world} in it",
            f"unpack {LINK} there, or move away what isn't TartanAir's",
        )
    return flights


def _pairs(root: Path, world: str, folder: str, present: set[str], masked: bool) -> list[PairPaths]:
    """Pairs of one trajectory."""
    starts = frames_with_successor(root / folder / "image_left", "", "_left.png", LINK)
    for kind in ("flow", "mask") if masked else ("flow",):
        wanted = [f"{start:06d}_{start + 1:06d}_{kind}.npy" for start in starts]
        require_exactly(
            root / folder / "flow", wanted, {name for name in present if name.endswith(f"_{kind}.npy")}, LINK
        )
    # Consecutive pairs share the string of an image: there are 306,268 pairs.
    images = {frame: f"{folder}/image_left/{frame:06d}_left.png" for frame in (*starts, starts[-1] + 1)}
    return [
        PairPaths(
            id="/".join([world, *folder.split("/")[-2:], f"{start:06d}"]),
            group=world,
            image1=images[start],
            image2=images[start + 1],
            truth=f"{folder}/flow/{start:06d}_{start + 1:06d}_flow.npy",
            occluded=f"{folder}/flow/{start:06d}_{start + 1:06d}_mask.npy" if masked else None,
        )
        for start in starts
    ]


def _truth(base: Path, pair: PairPaths) -> Sample:
    flow, valid = read_npy_flow(base / str(pair.truth))
    if pair.occluded is None:
        return {"flow_px": flow, "valid": valid}
    return {"flow_px": flow, "valid": valid, "occluded": read_npy(base / pair.occluded, "u") != np.uint8(0)}


def check(root: Path) -> list[Finding]:
    """Findings on all worlds together."""
    return check_splits(root, LINK, open_split, PAIRS)
