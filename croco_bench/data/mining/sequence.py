"""Mines one sequence: reads every so many frames, chooses pairs, and writes one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from croco_bench.data.mining.covisibility import Matching, Surface, surface_of
from croco_bench.data.mining.selection import PairCriteria, select_pairs
from croco_bench.data.posed.sequences import PosedFrame, PosedSequence
from croco_bench.errors import DataError
from croco_bench.files import atomic
from croco_bench.seeding import make_rng

Split = Literal["train", "test", "all"]
# Frames with less known depth than this share of their pixels are left out.
_MIN_VALID = 0.5


@dataclass(frozen=True)
class MiningSettings:
    """What decides which pairs are found; kept in `settings.json`."""

    every: int
    wanted: PairCriteria
    matching: Matching
    split: Split
    seed: int
    focal_px: float
    crop: int | None


def mine_sequence(source: Path, sequence: PosedSequence, path: Path, settings: MiningSettings) -> str:
    """Writes the pairs of one sequence, with their numbers, to the JSON file `path`; returns a word on it.

    Raises:
        DataError: a depth map or a pose can't be read.
    """
    frames, surfaces, lost, blind = _read(sequence, settings)
    rng = make_rng(settings.seed, "pairs", sequence.name)
    chosen = select_pairs(surfaces, settings.wanted, settings.matching, rng)
    pairs = []
    for first, second, share1, share2 in chosen.pairs:
        # The network reconstructs the first view: it shouldn't always be the earlier one.
        views, both = ((first, second), (share1, share2))
        if rng.random() < 0.5:
            views, both = views[::-1], both[::-1]
        pairs.append(_pair(source, [frames[view] for view in views], both, [surfaces[view].valid for view in views]))
    part = {
        "sequence": sequence.name,
        "scene": sequence.scene,
        "frames": len(frames),
        "frames_without_pose": lost,
        "frames_without_depth": blind,
        "pairs_estimated": chosen.estimated,
        "pairs_compared": chosen.compared,
        "covisibility_seen": chosen.estimates,
        "pairs": pairs,
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")
    return f"{sequence.name}: {len(pairs)}"


def _read(sequence: PosedSequence, settings: MiningSettings) -> tuple[list[PosedFrame], list[Surface], int, int]:
    """The usable frames and what they saw, and how many have no pose and how many too little depth."""
    frames: list[PosedFrame] = []
    surfaces: list[Surface] = []
    lost = blind = 0
    for index in range(0, len(sequence), settings.every):
        frame = sequence.frame(index)
        if frame is None:
            lost += 1
            continue
        surface = surface_of(frame.depth_m(), frame.K, frame.cam2world, settings.matching)
        if surface.valid < _MIN_VALID:
            blind += 1
            continue
        frames.append(frame)
        surfaces.append(surface)
    return frames, surfaces, lost, blind


def _pair(source: Path, views: list[PosedFrame], both: tuple[float, float], valid: list[float]) -> dict[str, Any]:
    pose1, pose2 = (view.cam2world for view in views)
    turn = pose1[:3, :3].T @ pose2[:3, :3]
    angle = np.arctan2(
        np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]), np.trace(turn) - 1
    )
    images = [view.image.relative_to(source).as_posix() for view in views]
    for image in images:
        if len(image.split()) != 1:
            raise DataError(f"{source / image} has a space in its path, which a list of pairs can't hold", "rename it")
    return {
        "images": images,
        "covisibility": [round(share, 4) for share in both],
        "baseline_m": round(float(np.linalg.norm(pose1[:3, 3] - pose2[:3, 3])), 4),
        "rotation_deg": round(float(np.degrees(angle)), 3),
        "valid": [round(share, 4) for share in valid],
    }
