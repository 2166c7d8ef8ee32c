"""Mining of one sequence: reads every n-th frame, selects pairs, and writes one file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from croco_bench.data.mining.covisibility import Matching, Surface, surface_of
from croco_bench.data.mining.selection import PairCriteria, select_pairs
from croco_bench.data.posed.video import PosedFrame, PosedSequence
from croco_bench.errors import DataError
from croco_bench.files import atomic
from croco_bench.seeding import make_rng
from croco_bench.types import Array

Split = Literal["train", "test", "all"]
# Frames with known depth on a smaller share of their pixels are skipped.
_MIN_VALID = 0.5


@dataclass(frozen=True)
class MiningSettings:
    """Settings that determine the pairs. Field names are keys of `settings.json`; see `make_pairs`."""

    every: int
    wanted: PairCriteria
    matching: Matching
    split: Split
    seed: int
    focal_px: float
    crop: int | None


@dataclass
class _Frames:
    """The usable frames of a sequence, their surfaces, and the numbers of frames skipped."""

    frames: list[PosedFrame] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    without_pose: int = 0
    without_depth: int = 0


def mine_sequence(source: Path, sequence: PosedSequence, path: Path, settings: MiningSettings) -> str:
    """Writes the pairs of one sequence and statistics to the JSON file `path`; returns a text for the progress bar.

    Raises:
        DataError: a depth map or a pose can't be read.
    """
    read = _read(sequence, settings)
    rng = make_rng(settings.seed, "pairs", sequence.name)
    selected = select_pairs(read.surfaces, settings.wanted, settings.matching, rng)
    pairs = []
    for *views, share1, share2 in selected.pairs:
        shares = [share1, share2]
        # The network reconstructs the first view, which shouldn't always be the earlier frame.
        if rng.random() < 0.5:
            views, shares = views[::-1], shares[::-1]
        pairs.append(_pair(source, read, views, shares))
    part = {
        "sequence": sequence.name,
        "scene": _place(sequence),
        "frames": len(read.frames),
        "frames_without_pose": read.without_pose,
        "frames_without_depth": read.without_depth,
        "pairs_estimated": selected.estimated,
        "pairs_compared": selected.compared,
        "covisibility_seen": selected.estimates,
        "pairs": pairs,
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")
    return f"{sequence.name}: {len(pairs)}"


def _place(sequence: PosedSequence) -> str:
    """The place that a sequence shows. ScanNet numbers the scans of one place: scene0000_00, scene0000_01."""
    return re.sub(r"_\d\d$", "", sequence.scene) if sequence.layout == "ScanNet" else sequence.scene


def _read(sequence: PosedSequence, settings: MiningSettings) -> _Frames:
    """Reads every n-th frame."""
    read = _Frames()
    for index in range(0, len(sequence), settings.every):
        frame = sequence.frame(index)
        if frame is None:
            read.without_pose += 1
            continue
        surface = surface_of(frame.depth_m(), frame.K, frame.cam2world, settings.matching)
        if surface.valid < _MIN_VALID:
            read.without_depth += 1
            continue
        read.frames.append(frame)
        read.surfaces.append(surface)
    return read


def _pair(source: Path, read: _Frames, views: list[int], shares: list[float]) -> dict[str, Any]:
    """The JSON object of a pair of frames with their shares of co-visible pixels."""
    frames = [read.frames[view] for view in views]
    pose1, pose2 = (frame.cam2world for frame in frames)
    images = [frame.image.relative_to(source).as_posix() for frame in frames]
    for image in images:
        if len(image.split()) != 1:
            raise DataError(f"{source / image} has a space in its path, which a list of pairs can't hold", "rename it")
    return {
        "images": images,
        "covisibility": [round(share, 4) for share in shares],
        "baseline_m": round(float(np.linalg.norm(pose1[:3, 3] - pose2[:3, 3])), 4),
        "rotation_deg": round(_angle_deg(pose1[:3, :3].T @ pose2[:3, :3]), 3),
        "valid": [round(read.surfaces[view].valid, 4) for view in views],
    }


def _angle_deg(rotation: Array) -> float:
    """The angle of a rotation (3, 3), 0 to 180 degrees."""
    axis = [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(rotation) - 1)))
