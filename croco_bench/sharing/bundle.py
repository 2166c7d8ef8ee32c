"""`croco-bench bundle`: results, the rows behind them, recipes and pictures in one file. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from croco_bench.config.recipe import text_of
from croco_bench.errors import RecordError
from croco_bench.progress import log
from croco_bench.records.changes import has_builtin
from croco_bench.records.selection import EVERYTHING, Selection, require_known, tasks_of
from croco_bench.records.store import ResultFile, read_all
from croco_bench.sharing.archive import BESIDE, WEIGHTS, write


def bundle(
    results: Path, out: Path, *, recipe: str | None = None, selection: Selection = EVERYTHING, weights: bool = False
) -> int:
    """Writes a bundle of results.

    Args:
        results: folder of results.
        out: the bundle.
        recipe: only results of this recipe; a name or a glob.
        selection: only these tasks and backbones.
        weights: with the fine-tuned weights, so that others can score them on their data.

    Returns:
        The number of results.

    Raises:
        UsageError: a name stands for nothing.
        RecordError: there are no results, one can't be read, or the bundle can't be written.
    """
    every, complaints = read_all([results], recipe)
    if complaints:
        raise RecordError(f"nothing is bundled: {complaints[0]}")
    tasks_of(selection.tasks, every)
    require_known("backbone", selection.models, {file.result.model.name for file in every})
    found = selection.results(every)
    if not found:
        raise RecordError(f"there are no such results in {results}", "croco-bench table shows what there is")
    files: dict[str, Path] = {}
    for file in found:
        files |= _files_of(file, weights=weights)
    write(out, files, _recipes(found))
    return len(found)


def _files_of(file: ResultFile, *, weights: bool) -> dict[str, Path]:
    """Name in the bundle -> file, of one result.

    Raises:
        RecordError: the rows, or weights that are asked for, are missing.
    """
    slot = file.paths
    home = f"results/{slot.recipe}/{slot.task}/{slot.model}/seed{slot.seed}"
    if not slot.rows.is_file():
        raise RecordError(f"there are no per-image values {slot.rows}", "run again, or leave this result out")
    found = {f"{home}.json": slot.json, f"{home}.npz": slot.rows}
    found |= {f"{home}/{name}": slot.folder / name for name in BESIDE if (slot.folder / name).is_file()}
    fine_tuned = slot.folder / WEIGHTS
    if weights and fine_tuned.is_file():
        found[f"{home}/{WEIGHTS}"] = fine_tuned
    elif weights and file.result.selected is not None and file.result.selected.step:
        log(f"{slot.json} has no fine-tuned weights beside it")
    return found


def _recipes(found: Sequence[ResultFile]) -> dict[str, str]:
    """The files of built-in recipes. Settings of all recipes, others' too, are in the results."""
    texts = {}
    for task, recipe in sorted({(file.result.task.name, file.result.recipe.name) for file in found}):
        if has_builtin(task, recipe):
            texts[f"recipes/{task}/{recipe}.toml"] = text_of(task, recipe)
    return texts
