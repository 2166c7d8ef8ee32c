"""MPI-Sintel: scenes of an animated film, rendered twice: without effects (clean), and with blur, haze and grain (final)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.flow import FlowReader
from croco_bench.data.datasets.matching.image_pairs import ViewPair, plain
from croco_bench.data.formats.flow import read_flo
from croco_bench.data.formats.layout import base_of, chosen, file_names, match, require, steps, subfolders

Split = Literal["train", "test"]
LINK = "http://files.is.tue.mpg.de/sintel/MPI-Sintel-complete.zip"
PASSES = ("clean", "final")
SCENES = (
    *("alley_1", "alley_2", "ambush_2", "ambush_4", "ambush_5", "ambush_6", "ambush_7", "bamboo_1", "bamboo_2"),
    *("bandage_1", "bandage_2", "cave_2", "cave_4", "market_2", "market_5", "market_6", "mountain_1", "shaman_2"),
    *("shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3"),
)
# CroCo v2 selects by these and trains on the others.
SELECT_SCENES = ("temple_2", "temple_3")
PARTS: dict[Split, str] = {"train": "training", "test": "test"}


def open_split(
    root: Path, split: Split, *, passes: Sequence[str] = PASSES, scenes: Sequence[str] | None = None
) -> FlowReader:
    """All pairs of the passes, one after the other, or those of some scenes. `test` has no flow: it is for submissions.

    `occluded` and `invalid` are read where their folders are there.

    Raises:
        DataError: files are missing.
        UsageError: no such pass or scene.
    """
    chosen("pass of Sintel", passes, PASSES)
    base, present = _base(root, split), scenes_of(root, split)
    if scenes is not None:
        chosen("scene of Sintel", scenes, sorted({*SCENES, *present}))
        require(base / PARTS[split] / "clean", scenes, present, LINK)
    pairs = [
        pair
        for name in passes
        for scene in (present if scenes is None else scenes)
        for pair in _pairs(base, PARTS[split], name, scene)
    ]
    return FlowReader("sintel", split, base, pairs, plain("flow_px", read_flo), miniature=is_miniature(root))


def scenes_of(root: Path, split: Split) -> list[str]:
    """The scenes that are there.

    Raises:
        DataError: none is.
    """
    return subfolders(_base(root, split) / PARTS[split] / "clean", LINK)


def _base(root: Path, split: Split) -> Path:
    return base_of(root, ("MPI-Sintel-complete", "MPI-Sintel"), PARTS[split], LINK)


def _pairs(base: Path, part: str, name: str, scene: str) -> Iterator[ViewPair]:
    """Pairs of one scene in one pass."""
    folder = f"{part}/{name}/{scene}"
    starts = steps(base / folder, "frame_", ".png", LINK)
    kinds = {"flow": ".flo", "occlusions": ".png", "invalid": ".png"} if part == "training" else {}
    kinds = {kind: suffix for kind, suffix in kinds.items() if kind == "flow" or (base / part / kind).is_dir()}
    for kind, suffix in kinds.items():
        place = base / part / kind / scene
        present = set(file_names(place, "frame_", suffix, LINK))
        wanted = [f"frame_{start:04d}{suffix}" for start in starts]
        # There is a mask of what is invalid for the last frames too.
        (require if kind == "invalid" else match)(place, wanted, present, LINK)
    for start in starts:
        paths = {kind: f"{part}/{kind}/{scene}/frame_{start:04d}{suffix}" for kind, suffix in kinds.items()}
        yield ViewPair(
            id=f"{name}/{scene}/frame_{start:04d}",
            group=scene,
            image1=f"{folder}/frame_{start:04d}.png",
            image2=f"{folder}/frame_{start + 1:04d}.png",
            truth=paths.get("flow"),
            occluded=paths.get("occlusions"),
            invalid=paths.get("invalid"),
        )
