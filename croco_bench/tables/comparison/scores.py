"""Scores of one backbone under one metric: a value per seed and block of images, read from the files beside results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from croco_bench.errors import RecordError
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.leave_one_out import LeftOut, assign_blocks, pseudo_values_of_mean
from croco_bench.tables.comparison.sheets import Division, load_sheet, metrics_by
from croco_bench.tables.comparison.variance import Spread, spread_of
from croco_bench.types import Array

# A value made again from rows may differ from the recorded one by rounding alone.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class SeedScores:
    """All seeds of one backbone under one metric.

    Attributes:
        name: of the backbone.
        value: mean over seeds of the metric, in its unit.
        parts: pseudo-values (seeds, blocks); see `croco_bench.tables.comparison.leave_one_out`.
        blocks: the block of each image (n,).
        scenes: how many scenes, films or buildings the images belong to; None where the results don't say.
        learned: whether the backbone was trained, so that another seed would give another value.
    """

    name: str
    value: float
    parts: Array
    blocks: Array
    scenes: int | None
    learned: bool = True

    @cached_property
    def spread(self) -> Spread:
        """What the variances of differences from other backbones are made of."""
        return spread_of(self.parts, learned=self.learned)

    @property
    def centered(self) -> Array:
        """`parts`, shifted so that their mean is `value`: pseudo-values of a metric that isn't a mean are slightly off."""
        return np.asarray(self.parts - self.parts.mean() + self.value)

    @classmethod
    def of_values(
        cls, name: str, values: Array, *, groups: Sequence[str] | None = None, learned: bool = True
    ) -> SeedScores:
        """Scores whose metric is the mean over images of `values` (seeds, n); `groups` names each image's scene."""
        blocks = assign_blocks(groups or [str(image) for image in range(values.shape[1])])
        wholes, parts = zip(*(pseudo_values_of_mean(row, blocks) for row in values), strict=True)
        return cls(name, float(np.mean(wholes)), np.stack(parts), blocks, _count(groups), learned)


def require_paired(first: SeedScores, second: SeedScores) -> None:
    """Raises `RecordError` unless both were scored on the same images in the same blocks."""
    if first.blocks is not second.blocks and not np.array_equal(first.blocks, second.blocks):
        raise RecordError(
            f"{first.name} ({len(first.blocks)} images) and {second.name} ({len(second.blocks)} images) were not scored on "
            "the same images",
            "run both on the same data",
        )


def load_column(
    members: Mapping[str, Sequence[ResultFile]], metric: str, methods: Collection[str] = ()
) -> dict[str, SeedScores]:
    """Scores of several backbones or methods under one metric of one task, ready to be compared.

    Results of one backbone differ by the seed alone; all were made on one dataset. The scenes of the images are read from
    whichever file names them: files of older versions don't, and if none does, each image counts as a scene of its own.

    Args:
        members: backbone -> its results, one per seed; method -> those of all its pre-trainings.
        metric: key in the results, such as `delta1` or `eigen/delta1`.
        methods: the members that are methods. A pre-training, the mean over its seeds, stands there where a seed does otherwise.

    Raises:
        RecordError: a file of per-image values is missing or damaged, or doesn't give the value that was recorded.
    """
    prefix = metric.rpartition("/")[0]
    divisions = [load_sheet(file, prefix).division for several in members.values() for file in several]
    counts = {len(division.blocks) for division in divisions}
    if len(counts) != 1:
        raise RecordError(
            f"results of {metric} were made on {' and '.join(map(str, sorted(counts)))} images",
            "compare like with like",
        )
    division = next((division for division in divisions if division.scenes is not None), divisions[0])
    return {
        name: (_method_scores if name in methods else _seed_scores)(name, several, metric, division)
        for name, several in members.items()
    }


def _method_scores(name: str, several: Sequence[ResultFile], metric: str, division: Division) -> SeedScores:
    of_each: dict[str, list[ResultFile]] = defaultdict(list)
    for file in several:
        of_each[file.result.model.name].append(file)
    scores = [_seed_scores(model, files, metric, division) for model, files in of_each.items()]
    return replace(
        scores[0],
        name=name,
        value=float(np.mean([one.value for one in scores])),
        parts=np.stack([one.parts.mean(axis=0) for one in scores]),
    )


def _seed_scores(model: str, several: Sequence[ResultFile], metric: str, division: Division) -> SeedScores:
    wholes, parts = zip(*(_values(model, file, metric, division) for file in several), strict=True)
    trained = any(not file.result.classical for file in several)
    return SeedScores(model, float(np.mean(wholes)), np.stack(parts), division.blocks, division.scenes, trained)


def _values(model: str, file: ResultFile, metric: str, division: Division) -> LeftOut:
    """The metric of one result, if it is the recorded one, and its pseudo-values."""
    prefix, _, name = metric.rpartition("/")
    paths, result = file
    known = metrics_by(division, file, prefix)
    if name not in known:
        raise RecordError(f"{paths.rows} has no per-image values of {name}", "make the result again")
    whole, parts = known[name]
    recorded = result.metrics[metric].value
    if not abs(whole - recorded) <= _TOLERANCE * max(1.0, abs(recorded)):
        raise RecordError(
            f"{paths.rows} gives {metric}={whole:.6g} where {paths.json.name} has {recorded:.6g}",
            "the two files belong to different runs: make the result again",
        )
    if not np.isfinite(parts).all():
        raise RecordError(
            f"{metric} of {model} has no value without some of the scenes", "too few images have what it needs"
        )
    return whole, parts


def _count(groups: Sequence[str] | None) -> int | None:
    return None if groups is None else len(set(groups))
