"""Rows of methods: several pre-trainings of one method in one row, where each backbone has a row of its own otherwise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from croco_bench.errors import UsageError
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.sides import Side, notes_of_method, runs_of_side
from croco_bench.tables.shape import Runs


def gathered(rows: Sequence[Runs], methods: Sequence[Side]) -> tuple[list[Runs], list[str]]:
    """The rows with those of each method's backbones as one, and what stands behind it.

    Runs that are set apart from those that are ranked keep rows of their own.

    Raises:
        UsageError: a backbone of a method learns nothing.
        RecordError: backbones of a method aren't equally long pre-trainings of one network with one objective.
    """
    made, notes = list(rows), []
    for method in methods:
        members = [row for row in made if row.name in method.backbones and not row.differences]
        if not members:
            continue
        if any(row.classical for row in members):
            raise UsageError(f"{method.name} has a method without learning, of which there are no pre-trainings")
        files = tuple(file for row in members for file in row.files)
        notes += _notes(method, files)
        together = Runs(method.name, (), (), classical=False, files=files, method=True)
        others = {row.name for row in members[1:]}
        made = [
            together if row is members[0] else row
            for row in made
            if row is members[0] or row.differences or row.name not in others
        ]
    return made, notes


def _notes(method: Side, files: Sequence[ResultFile]) -> list[str]:
    """The pre-trainings and seeds of a method, said once where they are the same on all tasks."""
    by_task: dict[str, dict[str, list[ResultFile]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        by_task[file.result.task.name][file.result.model.name].append(file)
    told: dict[str, list[str]] = defaultdict(list)
    for task, by_name in sorted(by_task.items()):
        for note in notes_of_method(runs_of_side(method, by_name)):
            told[note].append(task)
    return [note if len(tasks) == len(by_task) else f"{', '.join(tasks)}: {note}" for note, tasks in told.items()]
