"""MPI-Sintel: scenes of an animated film in two passes: without effects (clean), with blur, haze and grain (final)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.flow import read_flo
from croco_bench.data.formats.layout import (
    base_of,
    check_choice,
    file_names,
    frames_with_successor,
    require,
    require_exactly,
    subfolders,
)
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

Split = Literal["train", "test"]
LINK = "http://files.is.tue.mpg.de/sintel/MPI-Sintel-complete.zip"
PASSES = ("clean", "final")
_SCENES = """
alley_1 alley_2 ambush_2 ambush_4 ambush_5 ambush_6 ambush_7 bamboo_1 bamboo_2 bandage_1 bandage_2 cave_2 cave_4 market_2
market_5 market_6 mountain_1 shaman_2 shaman_3 sleeping_1 sleeping_2 temple_2 temple_3
"""
SCENES = tuple(_SCENES.split())
# CroCo v2 selects by these and trains on the others.
SELECT_SCENES = ("temple_2", "temple_3")
PARTS: dict[Split, str] = {"train": "training", "test": "test"}
# Pairs of one pass, and of the training scenes that don't have 50 frames.
PAIRS: dict[Split, int] = {"train": 1041, "test": 552}
SELECT_PAIRS = 98
_OTHER_MASKS = (
    "training/occlusions has masks of all frames: they are those of the stereo part, unpacked over those of flow; matched and "
    "unmatched pixels aren't told apart"
)
_PAIRS_OF = {"ambush_2": 20, "ambush_4": 32, "ambush_6": 19, "market_6": 39}


def open_split(
    root: Path, split: Split, *, passes: Sequence[str] = PASSES, scenes: Sequence[str] | None = None
) -> MatchingReader:
    """All pairs of the passes, one after the other, or those of some scenes. `test` has no flow: it is for submissions.

    `occluded` and `invalid` are read where their folders are there. The stereo part of the release has a folder `occlusions`
    too: its masks are of all frames, say what the right camera doesn't see, and aren't read.

    Raises:
        DataError: files are missing.
        UsageError: no such pass or scene.
    """
    check_choice("pass of Sintel", passes, PASSES)
    base, present = _base(root, split), scenes_of(root, split)
    if scenes is not None:
        check_choice("scene of Sintel", scenes, sorted({*SCENES, *present}))
        require(base / PARTS[split] / "clean", scenes, present, LINK)
    pairs = [
        pair
        for name in passes
        for scene in (present if scenes is None else scenes)
        for pair in _pairs(base, PARTS[split], name, scene)
    ]
    reader = MatchingReader(
        "sintel",
        split,
        base,
        pairs,
        partial(read_truth_file, "flow_px", read_flo),
        miniature=is_miniature(root),
        released=len(passes) * pairs_in_release(split, scenes),
    )
    if (base / PARTS[split] / "occlusions").is_dir() and any(pair.occluded is None for pair in pairs):
        reader.assumptions = (_OTHER_MASKS,)
    return reader


def pairs_in_release(split: Split, scenes: Sequence[str] | None = None) -> int:
    """Pairs of one pass of all scenes, or of some training scenes; a scene that the release doesn't have counts as none."""
    if scenes is None:
        return PAIRS[split]
    return sum(_PAIRS_OF.get(scene, 49) for scene in scenes if scene in SCENES and split == "train")


class BothPasses:
    """Pairs of frames in both passes at once: `passes` maps each pass to its two images.

    `flow_px`, `valid`, `id` and masks are those of the clean pass, which the final pass shares. A subset of this reader is
    the same subset of both passes. `scenes`: those to read, default all; `wanted`: those that the split has in the release,
    default those to read.
    """

    def __init__(
        self, root: Path, split: Split, scenes: Sequence[str] | None = None, *, wanted: Sequence[str] | None = None
    ) -> None:
        self._readers = {name: open_split(root, split, passes=(name,), scenes=scenes) for name in PASSES}
        clean = self._readers[PASSES[0]]
        self.dataset, self.miniature, self.available = clean.dataset, clean.miniature, clean.available
        self.assumptions = clean.assumptions
        if wanted is not None and not self.miniature:
            self.available = max(len(clean), pairs_in_release(split, wanted))
        self.split = f"{split} ({', '.join(scenes)})" if scenes else split

    @property
    def readers(self) -> tuple[MatchingReader, ...]:
        """One of each pass."""
        return tuple(self._readers.values())

    def __len__(self) -> int:
        return len(self._readers[PASSES[0]])

    @property
    def groups(self) -> Sequence[str]:
        """The scenes."""
        return self._readers[PASSES[0]].groups

    def __getitem__(self, index: int) -> Sample:
        samples = {name: reader[index] for name, reader in self._readers.items()}
        shared = {key: value for key, value in samples[PASSES[0]].items() if key not in ("image1", "image2")}
        return {**shared, "passes": {name: (one["image1"], one["image2"]) for name, one in samples.items()}}

    def fingerprint(self) -> str:
        """Hash of both passes' fingerprints."""
        return fingerprint(",".join(reader.fingerprint() for reader in self._readers.values()))


def scenes_of(root: Path, split: Split) -> list[str]:
    """The scenes that are there.

    Raises:
        DataError: none is.
    """
    return subfolders(_base(root, split) / PARTS[split] / "clean", LINK)


def _base(root: Path, split: Split) -> Path:
    return base_of(root, ("MPI-Sintel-complete", "MPI-Sintel"), PARTS[split], LINK)


def _pairs(base: Path, part: str, name: str, scene: str) -> Iterator[PairPaths]:
    """Pairs of one scene in one pass."""
    folder = f"{part}/{name}/{scene}"
    starts = frames_with_successor(base / folder, "frame_", ".png", LINK)
    kinds = {"flow": ".flo", "occlusions": ".png", "invalid": ".png"} if part == "training" else {}
    kinds = {kind: suffix for kind, suffix in kinds.items() if kind == "flow" or (base / part / kind).is_dir()}
    if (base / part / "occlusions" / scene / f"frame_{starts[-1] + 1:04d}.png").is_file():
        del kinds["occlusions"]
    for kind, suffix in kinds.items():
        kind_folder = base / part / kind / scene
        present = set(file_names(kind_folder, "frame_", suffix, LINK))
        wanted = [f"frame_{start:04d}{suffix}" for start in starts]
        if kind == "invalid":  # the last frame has a mask, but no pair
            require(kind_folder, wanted, present, LINK)
        else:
            require_exactly(kind_folder, wanted, present, LINK)
    for start in starts:
        paths = {kind: f"{part}/{kind}/{scene}/frame_{start:04d}{suffix}" for kind, suffix in kinds.items()}
        yield PairPaths(
            id=f"{name}/{scene}/frame_{start:04d}",
            group=scene,
            image1=f"{folder}/frame_{start:04d}.png",
            image2=f"{folder}/frame_{start + 1:04d}.png",
            truth=paths.get("flow"),
            occluded=paths.get("occlusions"),
            invalid=paths.get("invalid"),
        )


def check(root: Path) -> list[Finding]:
    """Findings on both passes of all scenes, and on CroCo's selection scenes."""
    parts = [
        Part(f"{split}, {name}", partial(open_split, root, split, passes=(name,)), pairs, optional=split == "test")
        for split, pairs in PAIRS.items()
        for name in PASSES
    ]
    select = partial(open_split, root, "train", passes=PASSES[:1], scenes=SELECT_SCENES)
    parts.insert(len(PASSES), Part("the scenes to select by", select, SELECT_PAIRS))
    findings = check_parts(root, LINK, parts)
    with suppress(DataError):
        said = open_split(root, "train", passes=PASSES[:1]).assumptions
        findings += [Finding(False, text, f"unpack {LINK} again, beside the stereo part", stops=False) for text in said]
    return findings
