"""7-Scenes: checks of the files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.posed.sequences import PosedSequence, open_posed
from croco_bench.errors import BenchError, DataError

# Training and test frames of each scene.
_FRAMES = {
    "chess": (4000, 2000),
    "fire": (2000, 2000),
    "heads": (1000, 1000),
    "office": (6000, 4000),
    "pumpkin": (4000, 2000),
    "redkitchen": (7000, 5000),
    "stairs": (2000, 1000),
}
_UNPACK = "unpack the scenes and all sequences in them"


def check(root: Path) -> list[Finding]:
    """Findings on the splits' frames, on all poses, on one frame of every sequence, and on retrieval lists."""
    try:
        sequences = open_posed(root)
    except DataError as error:
        return [Finding(False, str(error), _UNPACK)]
    counted = _mini_counts(sequences) if is_miniature(root) else _official_counts(sequences)
    looks = [_look_at(sequence) for sequence in sequences]
    return [*counted, *looks, *([_lists(root)] if all(look.ok for look in looks) else [])]


def _official_counts(sequences: list[PosedSequence]) -> Iterable[Finding]:
    for scene, expected in _FRAMES.items():
        found = tuple(_count(sequences, split, scene) for split in ("train", "test"))
        what = f"{scene}: {found[0]} training and {found[1]} test frames"
        yield Finding(found == expected, what, f"the release has {expected[0]} and {expected[1]}; {_UNPACK}")
    for split, total in zip(("train", "test"), (26_000, 17_000), strict=True):
        count = _count(sequences, split)
        yield Finding(count == total, f"{split}: {count} frames", f"the release has {total}; {_UNPACK}")


def _mini_counts(sequences: list[PosedSequence]) -> Iterable[Finding]:
    for split in ("train", "test"):
        count = _count(sequences, split)
        yield Finding(count > 0, f"{split}: {count} frames", "make the miniature again")


def _count(sequences: list[PosedSequence], split: str, scene: str | None = None) -> int:
    return sum(len(one) for one in sequences if one.split == split and scene in (None, one.scene))


def _look_at(sequence: PosedSequence) -> Finding:
    try:
        sequence.poses()
        frame = sequence.frame(len(sequence) // 2)
        known = 0.0 if frame is None else float((frame.depth_m() > 0).mean())
    except DataError as error:
        return Finding(False, str(error), "unpack this sequence again")
    what = f"{sequence.name}: {len(sequence)} frames, depth known in {known:.0%} of the middle one"
    return Finding(known > 0.2, what, "depth should be in 16-bit millimetres")


def _lists(root: Path) -> Finding:
    try:
        queries = open_seven_scenes(root).queries()
    except BenchError as error:
        return Finding(False, str(error), "relative-pose needs lists; croco-bench data prepare 7scenes makes some")
    return Finding(True, f"{len(queries)} test frames; {queries.notes[0]}")
