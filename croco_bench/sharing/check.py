"""`croco-bench bundle check`: scores of a bundle made again, from its rows, and on request from its fine-tuned weights."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from croco_bench import registry
from croco_bench.errors import BenchError, RecordError
from croco_bench.records.changes import declared_changes, has_builtin
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile, read_all
from croco_bench.sharing.archive import WEIGHTS, unpack
from croco_bench.tables.comparison.sheets import GROUP, read_rows
from croco_bench.types import Array

# Rounding of sums; and of other processors, GPUs and versions of libraries.
_OF_ROWS, _OF_WEIGHTS = 1e-6, 2e-3


@dataclass
class Checked:
    """What a check found in one bundle.

    Attributes:
        results: number of results.
        again: metrics that were made again from rows and agree.
        unscored: keys of metrics that rows don't give.
        scored: results whose weights were scored again and agree.
        faults: a sentence for everything that doesn't agree.
        notes: a sentence for every result whose weights weren't scored.
    """

    results: int = 0
    again: int = 0
    unscored: set[str] = field(default_factory=set)
    scored: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def unpacked(bundle: Path) -> Iterator[list[ResultFile]]:
    """The results of a bundle in a temporary folder.

    Raises:
        RecordError: it is no whole bundle, or a result in it can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="croco-bench-bundle-") as name:
        unpack(bundle, Path(name))
        found, complaints = read_all([Path(name) / "results"])
        if complaints or not found:
            raise RecordError(f"{bundle}: {complaints[0] if complaints else 'it has no results'}")
        yield found


def check(bundle: Path, *, data_root: Path | None = None, device: str = "auto") -> Checked:
    """Makes all metrics of a bundle again.

    Args:
        bundle: the file. Its checksums are compared first.
        data_root: also score fine-tuned weights in it on this data.
        device: for that.

    Raises:
        RecordError: it is no whole bundle.
    """
    checked = Checked()
    with unpacked(bundle) as found:
        checked.results = len(found)
        for file in found:
            _check_place(file, checked)
            _check_rows(file, checked)
            if data_root is not None:
                _check_weights(file, data_root, device, checked)
    return checked


def _where(file: ResultFile) -> str:
    slot = file.paths
    return f"{slot.recipe}/{slot.task}/{slot.model}/seed{slot.seed}"


def _check_place(file: ResultFile, checked: Checked) -> None:
    """A result says itself what the names of its folders say."""
    slot, result = file
    said = (result.recipe.name, result.task.name, result.model.name, result.seed)
    if said != (slot.recipe, slot.task, slot.model, slot.seed):
        checked.faults.append(f"{_where(file)} holds a result of {'/'.join(map(str, said))}")


def _check_rows(file: ResultFile, checked: Checked) -> None:
    """Compares every metric with that of the rows."""
    by_prefix: dict[str, Mapping[str, float]] = {}
    for key, metric in file.result.metrics.items():
        prefix, _, name = key.rpartition("/")
        try:
            if prefix not in by_prefix:
                by_prefix[prefix] = _reduced(file.result.task.name, read_rows(file.paths.rows, prefix))
        except RecordError as error:
            checked.faults.append(f"{_where(file)}: {error}")
            return
        value = by_prefix[prefix].get(name)
        if value is None:
            checked.unscored.add(key)
        elif math.isclose(value, metric.value, rel_tol=_OF_ROWS, abs_tol=_OF_ROWS):
            checked.again += 1
        else:
            checked.faults.append(f"{_where(file)}: {key} is {metric.value:.6g}, but {value:.6g} from its rows")


def _reduced(task: str, rows: Mapping[str, Array]) -> Mapping[str, float]:
    """Metrics of all images: the task's own reduction, or means over the images that have a value."""
    numbers = {key: values for key, values in rows.items() if key != GROUP and values.dtype.kind in "biuf"}
    means = {
        key: float(np.nanmean(values))
        for key, values in numbers.items()
        if np.isfinite(values).any() and values.ndim == 1
    }
    entry = next((entry for entry in registry.tasks() if entry.name == task and entry.card.reduction), None)
    if entry is None:
        return means
    try:
        reduced: Mapping[str, float] = entry.load_reduction()(numbers)
    except KeyError as error:
        raise RecordError(f"its rows have no {error}", "make the result again") from error
    return reduced


def _check_weights(file: ResultFile, data_root: Path, device: str, checked: Checked) -> None:
    """Scores the fine-tuned weights of a result on the data and compares all metrics of the selected weights."""
    from croco_bench.runs.runner import run  # torch

    slot, result = file
    weights = slot.folder / WEIGHTS
    if not weights.is_file():
        checked.notes.append(f"{_where(file)} comes without fine-tuned weights")
        return
    if not has_builtin(result.task.name, result.recipe.name):
        checked.notes.append(f"{_where(file)} follows a recipe that isn't installed here")
        return
    try:
        with tempfile.TemporaryDirectory(prefix="croco-bench-again-") as folder:
            again = run(
                result.task.name,
                str(weights),
                recipe=result.recipe.name,
                data_root=data_root,
                results=folder,
                name=slot.model,
                seed=result.seed,
                limit=result.settings.get("limit"),
                changes=declared_changes(result),
                device=device,
                eval_only=True,
            )
    except BenchError as error:
        checked.faults.append(f"{_where(file)}: its weights can't be scored: {error}")
        return
    assert again is not None
    _compare(file, again, checked)


def _compare(file: ResultFile, again: Result, checked: Checked) -> None:
    """Notes where metrics differ by more than rounding, or belong to other images."""
    before = file.result
    if before.dataset.fingerprint != again.dataset.fingerprint:
        checked.faults.append(f"{_where(file)} was scored on other images of {before.dataset.name}")
        return
    for key, metric in again.metrics.items():
        known = before.metrics.get(key)
        if known is not None and not math.isclose(known.value, metric.value, rel_tol=_OF_WEIGHTS, abs_tol=1e-6):
            checked.faults.append(
                f"{_where(file)}: {key} is {known.value:.6g}, but its weights give {metric.value:.6g}"
            )
            return
    checked.scored += 1
