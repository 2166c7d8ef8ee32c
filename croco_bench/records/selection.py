"""The choice of results: tasks, metrics and backbones by name or by glob. No torch here.

A glob may have `*` (any text, also none), `?` (one letter) and `[abc]`; small and capital letters are the same. What is
chosen comes in the order of the globs, and in its usual order within one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from croco_bench import registry
from croco_bench.errors import unknown
from croco_bench.records.store import ResultFile

LAST = "last/"


@dataclass(frozen=True)
class Selection:
    """Names or globs; an empty tuple chooses everything, of metrics the headline.

    Attributes:
        tasks: of tasks, or of groups of tasks.
        metrics: of keys in results, such as `eigen/rmse`.
        models: of backbones, or of models in published numbers.
    """

    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def has_task(self, name: str) -> bool:
        """Whether a task is chosen, by its name or by that of its group; or a group, by its name."""
        return not self.tasks or any(matches(one, glob) for glob in self.tasks for one in (name, *_groups_of(name)))

    def has_model(self, *names: str) -> bool:
        """Whether a backbone is chosen, by one of its names."""
        return not self.models or any(matches(name, glob) for glob in self.models for name in names)

    def results(self, found: Iterable[ResultFile]) -> list[ResultFile]:
        """Results of the chosen tasks and backbones, in their order."""
        return [
            file for file in found if self.has_task(file.result.task.name) and self.has_model(file.result.model.name)
        ]


EVERYTHING = Selection()


def matches(name: str, glob: str) -> bool:
    """Whether a glob stands for a name. A name stands for itself, whatever letters it has."""
    return name == glob or fnmatchcase(name.lower(), glob.lower())


def position(name: str, globs: Sequence[str]) -> int:
    """Index of the first glob that stands for a name; of no globs, or of none that does, their number."""
    return next((index for index, glob in enumerate(globs) if matches(name, glob)), len(globs))


def chosen(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    """The names that some glob stands for, in the order of the globs; all of them without globs."""
    known = list(dict.fromkeys(names))
    if not globs:
        return known
    return list(dict.fromkeys(name for glob in globs for name in known if matches(name, glob)))


def metric_keys(keys: Iterable[str], globs: Sequence[str]) -> list[str]:
    """The keys of metrics that some glob stands for; of the last weights only by a glob that begins with `last/`."""
    known = list(keys)
    found = [
        key
        for glob in globs
        for key in known
        if matches(key, glob) and key.startswith(LAST) <= glob.lower().startswith(LAST)
    ]
    return list(dict.fromkeys(found))


def require_known(kind: str, globs: Iterable[str], names: Iterable[str]) -> None:
    """Refuses a name or glob that stands for none of `names`.

    Raises:
        UsageError: the message has the most similar names.
    """
    known = list(names)
    for glob in globs:
        if not any(matches(name, glob) for name in known):
            raise unknown(kind, glob, known)


def tasks_of(globs: Iterable[str], found: Iterable[ResultFile], others: Iterable[str] = ()) -> dict[str, set[str]]:
    """Each glob -> the tasks that it stands for, by their names or by that of their group.

    Args:
        globs: names or globs.
        found: results; their tasks are known even where they aren't installed.
        others: further names of tasks.

    Raises:
        UsageError: a glob stands for no task; the message has the most similar names.
    """
    groups = _groups()
    names = {**dict.fromkeys([*others, *(file.result.task.name for file in found)], ""), **groups}
    wanted: dict[str, set[str]] = {}
    for glob in globs:
        wanted[glob] = {
            task for task, group in names.items() if matches(task, glob) or (group and matches(group, glob))
        }
        if not wanted[glob]:
            raise unknown("task", glob, {*names, *groups.values()} - {""})
    return wanted


def _groups() -> Mapping[str, str]:
    """Task -> its group, or nothing, of all installed tasks."""
    return {entry.name: entry.card.group for entry in registry.tasks()}


def _groups_of(task: str) -> list[str]:
    group = _groups().get(task)
    return [group] if group else []
