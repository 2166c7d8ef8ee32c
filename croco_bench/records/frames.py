"""Results as pandas tables."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from croco_bench.errors import RecordError
from croco_bench.files import check_unpacked_size
from croco_bench.records.changes import changes_of
from croco_bench.records.schema import Result
from croco_bench.records.selection import LAST, Selection, metric_keys, require_known, tasks_of
from croco_bench.records.store import ResultFile, ResultPaths, read, read_all, reading_rows

if TYPE_CHECKING:
    import pandas

_RUN = ("task", "model", "family", "recipe", "fingerprint", "seed")
_METRIC = ("metric", "value", "ci_low", "ci_high", "unit", "higher_is_better")
_DATA = ("dataset", "miniature", "images", "images_available", "path", "comparable", "changes")
_ROW = ("task", "model", "recipe", "seed", "metric", "image", "scene", "value", "comparable", "path")


def load_results(folder: str | Path) -> pandas.DataFrame:
    """A table with one row per metric per result.

    Columns: task, model, family, recipe, fingerprint, seed, metric, value, ci_low, ci_high, unit, higher_is_better, dataset,
    miniature, images, images_available, path, comparable, changes. Values of one metric may be compared where `comparable`
    is equal: one task and version, the same images, one recipe with the same settings. `changes` says in words what a run
    changed in its recipe, and that it saw a part of its data; it is empty for a run as the recipe says.

    Args:
        folder: of results, or one result file.

    Raises:
        RecordError: the folder is missing, or no file in it can be read; a warning names one among others that can't.
    """
    import pandas

    found = _read(folder)
    keys = _comparable(found)
    rows = [row for file, key in zip(found, keys, strict=True) for row in _metric_rows(file, key)]
    return pandas.DataFrame(rows, columns=[*_RUN, *_METRIC, *_DATA])


def load_rows(
    folder: str | Path, *, tasks: Sequence[str] = (), metrics: Sequence[str] = (), models: Sequence[str] = ()
) -> pandas.DataFrame:
    """A table with one row per image (or pair) per metric per result: what intervals and tests are made of.

    Columns: task, model, recipe, seed, metric, image, scene, value, comparable, path. `image` is its index in the split;
    `scene` is empty where the result doesn't name it; `comparable` is that of `load_results`. Metrics that are no mean of
    values of images (mIoU, say) have the value of each image alone.

    Args:
        folder: of results, or one result file.
        tasks: only these tasks, or groups; names or globs.
        metrics: keys such as `eigen/delta1`, or globs; default: all of the selected weights.
        models: only these backbones; names or globs.

    Raises:
        UsageError: a name or glob stands for nothing; the message has the nearest names.
        RecordError: the folder is missing, or no file in it can be read; a warning names one among others that can't.
    """
    import pandas

    every = _read(folder)
    tasks_of(tasks, every)
    require_known("backbone", models, {file.result.model.name for file in every})
    keys = {str(file.paths.json): key for file, key in zip(every, _comparable(every), strict=True)}
    found = Selection(tuple(tasks), (), tuple(models)).results(every)
    require_known("metric", metrics, {key for file in found for key in file.result.metrics})
    parts = [
        pandas.DataFrame({**facts, **values}, columns=list(_ROW))
        for file in found
        for facts, values in _image_rows(file, metrics, keys[str(file.paths.json)])
    ]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=list(_ROW))


def _read(folder: str | Path) -> list[ResultFile]:
    path = Path(folder)
    if path.is_file():
        full = path.absolute()
        return [ResultFile(ResultPaths.of(full), read(full))]
    found, complaints = read_all([path])
    if complaints and not found:
        raise RecordError(complaints[0])
    for complaint in complaints:
        warnings.warn(f"left out: {complaint}", stacklevel=4)  # the caller of the public function
    return found


def _metric_rows(file: ResultFile, key: str) -> Iterator[tuple[Any, ...]]:
    slot, result = file
    data, model = result.dataset, result.model
    changes = "; ".join([*changes_of(result), *_parts(result)])
    for name, metric in result.metrics.items():
        low, high = metric.ci95 or (None, None)
        yield (
            *(result.task.name, model.name, model.family, result.recipe.name, result.recipe.fingerprint, result.seed),
            *(name, metric.value, low, high, metric.unit, metric.higher_is_better),
            *(data.name, data.miniature, data.images, data.images_available, str(slot.json), key, changes),
        )


def _parts(result: Result) -> list[str]:
    data, limit = result.dataset, result.settings.get("limit")
    part = [f"{data.images} of {data.images_available} images"] if data.images < data.images_available else []
    return [
        *part,
        *([f"limit={limit}"] if limit is not None else []),
        *(["evaluation only"] if result.only_scored else []),
    ]


def _image_rows(
    file: ResultFile, globs: Sequence[str], key: str
) -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
    """For each metric with a value per image, what all its rows share, and the columns of these."""
    slot, result = file
    arrays = _arrays(slot.rows)
    own = (
        metric_keys(result.metrics, globs) if globs else [name for name in result.metrics if not name.startswith(LAST)]
    )
    for name in own:
        values = arrays.get(name)
        if values is None or values.ndim != 1:
            continue
        prefix = name.removeprefix(LAST).rpartition("/")[0]
        scenes = next((arrays[at] for at in (f"{prefix}/group", "group", "scene") if at in arrays), None)
        facts = {
            "task": result.task.name,
            "model": result.model.name,
            "recipe": result.recipe.name,
            "seed": result.seed,
        }
        columns = {
            "image": _indices(arrays.get("index"), len(values)),
            "scene": [str(scene) for scene in scenes] if scenes is not None and len(scenes) == len(values) else "",
            "value": values,
        }
        yield {**facts, "metric": name, "comparable": key, "path": str(slot.json)}, columns


def _indices(found: Any, count: int) -> Any:
    """The index of each of `count` images: those of the file, or in order where it has none that fit."""
    fitting = found is not None and found.dtype.kind in "iuf" and found.shape == (count,)
    return found.astype(int) if fitting else range(count)


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with reading_rows(path):
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def _comparable(found: Sequence[ResultFile]) -> list[str]:
    """A key for each result, equal where values may be compared.

    A classical method takes no settings of training: it has the key of the learned runs on its images, of several settings
    of the most usual. So has a run of an earlier version, which doesn't say on how many images it was trained.
    """
    learned: dict[tuple[object, ...], Counter[tuple[str, int]]] = defaultdict(Counter)
    for file in found:
        count = _train_images(file.result)
        if not file.result.classical and count is not None:
            learned[_scored(file.result)][file.result.recipe.fingerprint, count] += 1
    return [_key(file.result, learned[_scored(file.result)]) for file in found]


def _key(result: Result, learned: Mapping[tuple[str, int], int]) -> str:
    settings: tuple[str, int | None] = (result.recipe.fingerprint, _train_images(result))
    like = [other for other in sorted(learned) if result.classical or other[0] == settings[0]]
    if settings[1] is None and like:
        settings = max(like, key=lambda other: learned[other])
    text = json.dumps([_scored(result), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _scored(result: Result) -> tuple[object, ...]:
    """What was scored, and under which recipe."""
    data = result.dataset
    part = (data.images, data.images_available, result.settings.get("limit"))
    return (result.task.name, result.task.version, result.recipe.name, data.name, data.split, data.fingerprint, *part)


def _train_images(result: Result) -> int | None:
    count: int | None = result.settings.get("resolved", {}).get("train", {}).get("train_images")
    return count
