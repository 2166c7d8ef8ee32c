"""Scores of one backbone under one metric: a value per seed and block of images, read from the files beside results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench import registry
from croco_bench.errors import RecordError
from croco_bench.files import check_unpacked_size
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.leave_one_out import (
    assign_blocks,
    pseudo_values,
    pseudo_values_of_mean,
    pseudo_values_of_sums,
)
from croco_bench.types import Array

Reduction = Callable[[Mapping[str, Array]], Mapping[str, float]]

# A value made again from rows may differ from the recorded one by rounding alone.
_TOLERANCE = 1e-6
# Keys of rows that say which image a row belongs to.
GROUP, INDEX = "group", "index"


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
    if not np.array_equal(first.blocks, second.blocks):
        raise RecordError(
            f"{first.name} ({len(first.blocks)} images) and {second.name} ({len(second.blocks)} images) were not scored on "
            "the same images",
            "run both on the same data",
        )


def load_column(members: Mapping[str, Sequence[ResultFile]], metric: str) -> dict[str, SeedScores]:
    """Scores of several backbones under one metric of one task, ready to be compared.

    Results of one backbone differ by the seed alone; all were made on one dataset. The scenes of the images are read from
    whichever file names them: files of older versions don't, and if none does, each image counts as a scene of its own.

    Args:
        members: backbone -> its results, one per seed.
        metric: key in the results, such as `delta1` or `eigen/delta1`.

    Raises:
        RecordError: a file of per-image values is missing or damaged, or doesn't give the value that was recorded.
    """
    prefix, _, name = metric.rpartition("/")
    loaded = {model: [(item, read_rows(item.paths.rows, prefix)) for item in found] for model, found in members.items()}
    every = [rows for several in loaded.values() for _, rows in several]
    counts = {len(next(iter(rows.values()))) for rows in every}
    if len(counts) != 1:
        raise RecordError(
            f"results of {metric} were made on {' and '.join(map(str, sorted(counts)))} images",
            "compare like with like",
        )
    groups = next((named for rows in every if (named := scenes_of(rows)) is not None), None)
    blocks = assign_blocks(groups or [str(image) for image in range(counts.pop())])
    return {
        model: _seed_scores(model, several, name, metric, blocks, _count(groups)) for model, several in loaded.items()
    }


def _seed_scores(
    model: str,
    several: Sequence[tuple[ResultFile, dict[str, Array]]],
    name: str,
    metric: str,
    blocks: Array,
    scenes: int | None,
) -> SeedScores:
    wholes, parts = [], []
    for (paths, result), rows in several:
        whole, part = _values(result.task.name, rows, name, blocks, paths.rows)
        recorded = result.metrics[metric].value
        if not abs(whole - recorded) <= _TOLERANCE * max(1.0, abs(recorded)):
            raise RecordError(
                f"{paths.rows} gives {metric}={whole:.6g} where {paths.json.name} has {recorded:.6g}",
                "the two files belong to different runs: make the result again",
            )
        if not np.isfinite(part).all():
            raise RecordError(
                f"{metric} of {model} has no value without some of the scenes", "too few images have what it needs"
            )
        wholes.append(whole)
        parts.append(part)
    trained = any(not result.classical for (_, result), _ in several)
    return SeedScores(model, float(np.mean(wholes)), np.stack(parts), blocks, scenes, trained)


def _values(task: str, rows: dict[str, Array], name: str, blocks: Array, path: Path) -> tuple[float, Array]:
    """The metric of all images and its pseudo-values (G,)."""
    entry = next((entry for entry in registry.tasks() if entry.name == task and entry.card.reduction), None)
    try:
        if entry is None:  # a mean over images; also of a task that isn't installed here
            return pseudo_values_of_mean(rows[name], blocks)
        reduce: Reduction = entry.load_reduction()
        numbers = {key: values for key, values in rows.items() if key != GROUP}
        way = pseudo_values_of_sums if entry.card.pooled else pseudo_values
        return way(numbers, blocks, lambda kept: reduce(kept)[name])
    except KeyError as error:
        raise RecordError(f"{path} has no per-image values of {name}", "make the result again") from error


def read_rows(path: Path, prefix: str) -> dict[str, Array]:
    """Arrays of one protocol, by their names without its prefix, and the names of scenes.

    Raises:
        RecordError: the file is missing or damaged.
    """
    start = f"{prefix}/" if prefix else ""
    try:
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as file:
            keys = [key for key in file.files if key.startswith(start) and "/" not in key.removeprefix(start)]
            rows = {key.removeprefix(start): file[key] for key in keys}
            rows.pop(INDEX, None)
            own = f"{start.removeprefix('last/')}{GROUP}"
            shared = next((file[key] for key in (own, GROUP) if key in file.files), None)
    except FileNotFoundError as error:
        raise RecordError(
            f"there are no per-image values {path}", "keep the .npz files beside the .json files, or run again"
        ) from error
    except Exception as error:  # NumPy and zipfile raise all kinds of errors for damaged files
        raise RecordError(f"{path} can't be read: {error}", "make the result again") from error
    if not rows:
        raise RecordError(f"{path} has no per-image values of {prefix or 'the headline protocol'}", "run again")
    count = next(iter(rows.values())).shape[:1]
    numbers = [row for name, row in rows.items() if name not in (GROUP, "scene")]
    if not count or any(row.shape[:1] != count or row.dtype.kind not in "biuf" for row in numbers):
        raise RecordError(f"{path} should have numbers, as many per metric, but has others", "make the result again")
    if shared is not None and shared.shape == count:
        rows[GROUP] = shared
    return rows


def scenes_of(rows: Mapping[str, Array]) -> list[str] | None:
    """Names of the images' scenes; localisation's rows have always had the scene's number."""
    names = rows.get(GROUP, rows.get("scene"))
    return None if names is None else [str(name) for name in names]


def _count(groups: Sequence[str] | None) -> int | None:
    return None if groups is None else len(set(groups))
