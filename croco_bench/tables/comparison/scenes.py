"""A metric of one run per scene, from the values of its images."""

from __future__ import annotations

import numpy as np

from croco_bench import registry
from croco_bench.errors import RecordError
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.sheets import GROUP, read_rows, scenes_of
from croco_bench.types import Array


def values_by_scene(file: ResultFile, metric: str) -> dict[str, float]:
    """The metric over the images of each scene alone, in the order of their names.

    Args:
        file: a result with its values per image.
        metric: key in the result, such as `delta1` or `eigen/delta1`.

    Raises:
        RecordError: the values are missing or damaged, or don't say which images are of one scene.
    """
    prefix, _, name = metric.rpartition("/")
    rows = read_rows(file.paths.rows, prefix)
    scenes = scenes_of(rows)
    if scenes is None or len(set(scenes)) == len(scenes):
        raise RecordError("no two images are of one scene", "leave it out")
    entry = next((e for e in registry.tasks() if e.name == file.result.task.name and e.card.reduction), None)
    if entry is None and name not in rows:
        raise RecordError(f"{file.paths.rows} has no per-image values of {metric}", "make the result again")
    named = np.array(scenes)
    numbers = {key: values for key, values in rows.items() if key != GROUP}
    found = {}
    for scene in sorted(set(scenes)):
        kept = {key: values[named == scene] for key, values in numbers.items()}
        value = entry.load_reduction()(kept)[name] if entry else _mean(kept[name])
        if np.isfinite(value):
            found[_label(scene)] = float(value)
    return found


def _mean(values: Array) -> float:
    """The mean of the images that have a value; NaN, without a warning, where none has."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if scored.size else float("nan")


def _label(scene: str) -> str:
    """Localisation numbers its scenes."""
    return f"scene {float(scene):g}" if scene.replace(".", "", 1).isdigit() else scene
