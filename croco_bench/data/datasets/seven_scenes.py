"""7-Scenes for relative pose: pairs of training frames, and test frames with the training frames that retrieval lists name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.checks.posed_video import unusual_depth
from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.posed.overlap import OverlapCriteria, sample_pairs
from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.data.posed.retrieval_lists import find_lists, retrieved_rows
from croco_bench.data.posed.sequences import SEVEN_SCENES_FOCAL, open_posed
from croco_bench.data.posed.video import PosedSequence
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

# Training and test frames of each scene in the release.
FRAMES: Mapping[str, tuple[int, int]] = {
    "chess": (4000, 2000),
    "fire": (2000, 2000),
    "heads": (1000, 1000),
    "office": (6000, 4000),
    "pumpkin": (4000, 2000),
    "redkitchen": (7000, 5000),
    "stairs": (2000, 1000),
}
# Names of the random sequences that draw pairs.
_PURPOSE: Mapping[str, tuple[str, ...]] = {"train": ("pose pairs",), "test": ("pose pairs", "test")}
_UNPACK = "unpack the scenes and all sequences in them"


class SevenScenes:
    """All frames of 7-Scenes with their poses, which are read once.

    Attributes:
        views: the frames, sorted by scene, sequence and number.
        test: (n,) bool, whether each is a test frame.
    """

    def __init__(self, root: Path, views: PosedViews, test: Array) -> None:
        self.root, self.views, self.test = root, views, test

    @property
    def scenes(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(set(self.views.scenes)))

    def train_pairs(self, *, per_frame: int = 10, overlap: OverlapCriteria | None = None, seed: int = 0) -> PoseReader:
        """Pairs of each training frame, as the query, with up to `per_frame` others of its scene; `seed` determines them.

        Raises:
            UsageError: a setting is out of range.
            DataError: no two frames overlap.
        """
        return self.pairs("train", per_frame=per_frame, overlap=overlap, seed=seed)

    def pairs(
        self,
        split: Literal["train", "test"],
        *,
        per_frame: int,
        overlap: OverlapCriteria | None = None,
        seed: int = 0,
        depth: bool = False,
    ) -> PoseReader:
        """The same for either split, with depth maps if asked.

        Raises:
            UsageError: a setting is out of range.
            DataError: no two frames overlap.
        """
        overlap = overlap or OverlapCriteria()
        words = "training" if split == "train" else "test"
        if per_frame < 1 or not 0 <= overlap.distance_m[0] < overlap.distance_m[1] or overlap.depth_m <= 0:
            raise UsageError(
                f"pairs of {words} frames: {per_frame} per frame, {overlap.distance_m[0]:g} to {overlap.distance_m[1]:g} m "
                f"apart, a point {overlap.depth_m:g} m ahead",
                "all should be above 0, and distances rise",
            )
        drawn = [
            sample_pairs(self.views, rows, overlap, per_frame, make_rng(seed, *_PURPOSE[split], scene))
            for scene in self.scenes
            if (rows := self.rows(scene, test=split == "test")).size
        ]
        if not sum(len(queries) for _, queries in drawn):
            raise DataError(
                f"{self.root}: no two {words} frames of a scene are {overlap.distance_m[0]:g} to "
                f"{overlap.distance_m[1]:g} m apart, less than {overlap.angle_deg:g} degrees turned, and see each other's "
                f"middle; successive frames are {self._step_m():.3g} m apart in the median",
                "allow more distance and turn, or bring the poses to meters",
            )
        references, queries = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        return self._reader(references, queries, split, (), depth=depth)

    def _step_m(self) -> float:
        """The median distance of successive training frames of a scene."""
        rows = [self.rows(scene, test=False) for scene in self.scenes]
        steps = [np.linalg.norm(np.diff(self.views.cam2world[some][:, :3, 3], axis=0), axis=1) for some in rows]
        return float(np.nanmedian(np.concatenate(steps))) if sum(map(len, steps)) else 0.0

    def queries(self, *, neighbours: int = 10, lists: str = "auto") -> PoseReader:
        """Every test frame with the `neighbours` training frames that retrieval lists name first; see `find_lists`.

        Raises:
            DataError: there are no lists, or they don't fit the frames.
            UsageError: `neighbours` isn't positive.
        """
        if neighbours < 1:
            raise UsageError(f"{neighbours} neighbours per query leave nothing to compare with", "give at least 1")
        retrieval = find_lists(self.root, lists)
        references, queries = [], []
        for scene in self.scenes:
            rows = self.rows(scene, test=True)
            if rows.size:
                database = {self.name(row): int(row) for row in self.rows(scene, test=False)}
                names = [self.name(row) for row in rows]
                references.append(retrieved_rows(retrieval.of(scene), names, database, neighbours, scene))
                queries.append(rows)
        if not queries:
            raise DataError(f"{self.root} has no test frames", "the TestSplit.txt of a scene says which sequences are")
        note = f"database images by retrieval: the first {neighbours} of {retrieval.maker}"
        released = sum(test for _, test in FRAMES.values())
        return self._reader(np.concatenate(references), np.concatenate(queries), "test", (note,), released)

    def _reader(
        self,
        references: Array,
        queries: Array,
        split: str,
        notes: tuple[str, ...],
        released: int | None = None,
        *,
        depth: bool = False,
    ) -> PoseReader:
        return PoseReader(
            self.views,
            references,
            queries,
            dataset="7scenes",
            split=split,
            miniature=is_miniature(self.root),
            notes=notes,
            available=size_of_release(self.root, len(queries), released),
            depth=depth,
        )

    def rows(self, scene: str, *, test: bool) -> Array:
        """Rows of `views` of one scene's training or test frames."""
        return np.flatnonzero((np.array(self.views.scenes) == scene) & (self.test == test))

    def name(self, row: int) -> str:
        """The name in retrieval lists: relative to the scene."""
        return self.views.names[row].removeprefix(f"{self.views.scenes[row]}/")


def open_seven_scenes(root: str | Path, *, focal_px: float = SEVEN_SCENES_FOCAL) -> SevenScenes:
    """Lists the frames of all scenes below `root` and reads their poses, but no image.

    Sequences that neither `TrainSplit.txt` nor `TestSplit.txt` of their scene lists are left out.

    Raises:
        DataError: nothing is there, or a sequence or a pose is damaged.
    """
    root = Path(root)
    sequences = [one for one in open_posed(root, focal_px=focal_px) if one.layout == "7-Scenes" and one.split]
    if not sequences:
        raise DataError(
            f"{root} holds no sequence of 7-Scenes that a TrainSplit.txt or TestSplit.txt beside it lists",
            "unpack the scenes, each into a folder of its name",
        )
    return SevenScenes(root, _table(root, sequences), _repeat([one.split == "test" for one in sequences], sequences))


def _table(root: Path, sequences: list[PosedSequence]) -> PosedViews:
    return PosedViews(
        root,
        tuple(one.image(index).relative_to(root).as_posix() for one in sequences for index in range(len(one))),
        tuple(one.scene for one in sequences for _ in range(len(one))),
        _repeat([one.K for one in sequences], sequences),
        _repeat([one.size for one in sequences], sequences),
        np.concatenate([one.poses() for one in sequences]),
        tuple(one.depth(index).relative_to(root).as_posix() for one in sequences for index in range(len(one))),
    )


def _repeat(values: list[object], sequences: list[PosedSequence]) -> Array:
    """A value per sequence -> one per frame."""
    per_frame: Array = np.repeat(np.array(values), [len(one) for one in sequences], axis=0)
    return per_frame


def check(root: Path) -> list[Finding]:
    """Findings on the splits' frames, on all poses, on one frame of every sequence, and on retrieval lists."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    try:
        sequences = open_posed(root)
    except DataError as error:
        yield Finding.from_error(error, _UNPACK)
        return
    yield from _mini_counts(sequences) if is_miniature(root) else _official_counts(sequences)
    looks = [_look_at(sequence) for sequence in sequences]
    yield from looks
    if all(look.ok for look in looks) and (unusual := unusual_depth(sequences)):
        yield Finding(False, unusual, "make-pairs refuses it unless --accept-unusual is given", stops=False)
    if all(look.ok for look in looks):
        yield _look_at_lists(root)


def _official_counts(sequences: Sequence[PosedSequence]) -> Iterator[Finding]:
    for scene, (train, test) in FRAMES.items():
        counts = tuple(_count(sequences, split, scene) for split in ("train", "test"))
        what = f"{scene}: {counts[0]} training and {counts[1]} test frames"
        yield Finding.count(counts == (train, test), what, f"the release has {train} and {test}; {_UNPACK}")
    for i, split in enumerate(("train", "test")):
        count, total = _count(sequences, split), sum(counts[i] for counts in FRAMES.values())
        yield Finding.count(count == total, f"{split}: {count} frames", f"the release has {total}; {_UNPACK}")


def _mini_counts(sequences: Sequence[PosedSequence]) -> Iterator[Finding]:
    for split in ("train", "test"):
        count = _count(sequences, split)
        yield Finding(count > 0, f"{split}: {count} frames", "make the miniature again")


def _count(sequences: Sequence[PosedSequence], split: str, scene: str | None = None) -> int:
    return sum(len(one) for one in sequences if one.split == split and scene in (None, one.scene))


def _look_at(sequence: PosedSequence) -> Finding:
    try:
        sequence.poses()
        frame = sequence.frame(len(sequence) // 2)
        known = 0.0 if frame is None else float((frame.depth_m() > 0).mean())
    except DataError as error:
        return Finding.from_error(error)
    what = f"{sequence.name}: {len(sequence)} frames, depth known in {known:.0%} of the middle one"
    return Finding(known > 0.2, what, "pairs can be mined where depth is known", stops=False)


def _look_at_lists(root: Path) -> Finding:
    try:
        queries = open_seven_scenes(root).queries()
    except BenchError as error:
        return Finding.from_error(error, "relative-pose needs lists; croco-bench data prepare 7scenes makes some")
    return Finding(True, f"{len(queries)} test frames; {queries.notes[0]}", reader=queries)
