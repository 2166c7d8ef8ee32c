"""The sides of a comparison: a backbone, or a method of which several pre-trainings are there.

Two files of weights differ by more than their methods: another pre-training of the same kind ends elsewhere. Where a method
has several pre-trainings, they are drawn at random as seeds are, and a side's score is the mean over them. Seeds of
fine-tuning lie within a pre-training: they are averaged first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from croco_bench.errors import RecordError, UsageError, unknown
from croco_bench.records.schema import Result
from croco_bench.records.selection import chosen, require_known
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.alike import Runs, require_alike, runs_of_one_setting
from croco_bench.tables.comparison.scores import SeedScores, load_column


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: of the backbone or method, as the comparison shows it.
        backbones: as results name them; of a method, each is another pre-training.
        method: whether other pre-trainings are asked about, too.
    """

    name: str
    backbones: tuple[str, ...]
    method: bool = False

    def is_in(self, names: Collection[str]) -> bool:
        """Whether one of its backbones is among `names`."""
        return any(name in names for name in self.backbones)


@dataclass(frozen=True)
class SideRuns:
    """The runs of a side on one task and recipe: each backbone's seeds, in the order of the side."""

    side: Side
    runs: Mapping[str, Runs]

    @property
    def result(self) -> Result:
        """One of them: what matters for a comparison is the same in all."""
        return next(iter(self.runs.values())).result

    @property
    def files(self) -> list[ResultFile]:
        """All result files."""
        return [file for runs in self.runs.values() for file in runs.files]


def parse_sides(given: Sequence[str], known: Collection[str]) -> list[Side]:
    """Reads names of backbones, and methods written `NAME=BACKBONE,…` with names or globs.

    Args:
        given: what the user named.
        known: backbones of which there are results.

    Raises:
        UsageError: a name is unknown, two sides share a name or a backbone, or there are fewer than two sides.
    """
    sides = [_side(text, known) for text in dict.fromkeys(given)]
    if len(sides) < 2:
        if len(given) > 1:
            raise UsageError(f"{given[0]} can't be compared with itself", "name two backbones")
        named = sides[0].name if sides else "none"
        raise UsageError(f"a comparison needs two backbones, but {named} is named", "name another")
    _require_apart(sides)
    return sides


def parse_methods(given: Sequence[str], known: Collection[str]) -> list[Side]:
    """Reads methods written `NAME=BACKBONE,…`, for rows of a table.

    Args:
        given: what the user wrote.
        known: backbones of which there are results.

    Raises:
        UsageError: a text isn't of this form, a name is unknown or a backbone's, or two methods share a name or a backbone.
    """
    methods = [_method(text, known) for text in dict.fromkeys(given)]
    for method in methods:
        if method.name in known and method.name not in method.backbones:
            raise UsageError(f"{method.name} is a backbone of its own", "give the method another name")
    _require_apart(methods)
    return methods


def _require_apart(sides: Sequence[Side]) -> None:
    for index, side in enumerate(sides):
        for other in sides[:index]:
            if side.name == other.name:
                raise UsageError(f"two of them are called {side.name}", "give them different names")
            for shared in sorted(set(side.backbones) & set(other.backbones)):
                raise UsageError(f"{shared} is in both, {other.name} and {side.name}", "leave it out of one")


def _side(text: str, known: Collection[str]) -> Side:
    if text in known:
        return Side(text, (text,))
    if "=" not in text:
        if any(letter in text for letter in "*?["):
            raise UsageError(
                f"no backbone is called {text!r}",
                f"name several pre-trainings of one method like this: 'NAME={text}'",
            )
        raise unknown("backbone", text, known)
    return _method(text, known)


def _method(text: str, known: Collection[str]) -> Side:
    name, _, patterns = text.partition("=")
    globs = [glob.strip() for glob in patterns.split(",") if glob.strip()]
    if not name or not globs:
        raise UsageError(f"{text!r} isn't NAME=BACKBONE,…", "write, for instance, 'croco=croco-1,croco-2,croco-3'")
    require_known("backbone", globs, known)
    return Side(name, tuple(chosen(sorted(known), globs)), method=True)


def runs_of_side(side: Side, by_name: Mapping[str, Sequence[ResultFile]]) -> SideRuns:
    """The runs of a side on one task and recipe, of those of its backbones that have some.

    Args:
        side: the side.
        by_name: backbone -> its results on the task.

    Raises:
        RecordError: results of a backbone differ in more than their seeds, or the backbones aren't equally long pre-trainings
            of one network with one objective.
    """
    runs = {name: runs_of_one_setting(by_name[name]) for name in side.backbones if name in by_name}
    names = list(runs)
    for index, name in enumerate(names):
        for earlier in names[:index]:
            _require_pretrainings(side, runs[earlier].result, runs[name].result)
    return SideRuns(side, runs)


def _require_pretrainings(side: Side, one: Result, two: Result) -> None:
    """Refuses two results unless they are of different weights of one network, and alike otherwise."""
    require_alike(one, two)
    names = f"{one.model.name} and {two.model.name}"
    if one.model.identity == two.model.identity:
        raise RecordError(
            f"{names} of {side.name} are the same weights ({one.model.identity[:12]}), not two pre-trainings",
            "name one of them",
        )
    for fact in ("family", "parameters", "binocular", "positions"):
        first, second = (getattr(result.model, fact) for result in (one, two))
        if first != second:
            raise RecordError(
                f"{names} of {side.name} aren't pre-trainings of one network: {fact} {first} and {second}",
                "compare them as two backbones",
            )
    lengths = one.model.pretraining, two.model.pretraining
    if None not in lengths and lengths[0] != lengths[1]:
        raise RecordError(
            f"{names} of {side.name} were pre-trained otherwise: {lengths[0]} and {lengths[1]}",
            "name those of one method that are alike, or compare them as two backbones",
        )


def scores_of_sides(sides: Iterable[SideRuns], metric: str) -> dict[str, SeedScores]:
    """Scores of each side by its name; of a method, a pre-training stands where a seed does otherwise.

    Raises:
        RecordError: as `load_column`.
    """
    sides = list(sides)
    methods = {side.side.name for side in sides if side.side.method}
    return load_column({side.side.name: side.files for side in sides}, metric, methods)


def one_of_each(sides: Iterable[SideRuns]) -> str:
    """ "One seed of a and of b", or pre-training where a method is meant."""
    names: dict[str, list[str]] = {}
    for runs in sides:
        names.setdefault("pre-training" if runs.side.method else "seed", []).append(f"of {runs.side.name}")
    return " and ".join(f"one {unit} {' and '.join(several)}" for unit, several in names.items())


def notes_of_pretrainings(pair: Sequence[SideRuns]) -> list[str]:
    """What a reader must know where a method stands on a side."""
    if not any(runs.side.method for runs in pair):
        return []
    methods = [note for runs in pair if runs.side.method for note in notes_of_method(runs)]
    files = [runs for runs in pair if not runs.side.method and not runs.result.classical and len(runs.files) > 1]
    return methods + [
        f"{runs.side.name} is one file of weights: other pre-trainings of it may differ by more than its seeds do"
        for runs in files
    ]


def notes_of_method(side: SideRuns) -> list[str]:
    """Which pre-trainings and how many seeds stand behind a method, and whether they are known to be equally long."""
    counts = [len(runs.files) for runs in side.runs.values()]
    low, high = min(counts), max(counts)
    seeds = "one seed" if high == 1 else f"{low} seeds" if low == high else f"{low} to {high} seeds"
    kind = "pre-training" if len(counts) == 1 else "pre-trainings"
    unknown = [name for name, runs in side.runs.items() if _is_of_unknown_length(runs.result)]
    named = "they" if len(unknown) == len(counts) else ", ".join(unknown)
    return [
        f"{side.side.name}: {len(counts)} {kind} ({', '.join(side.runs)}), {seeds} of each{_shared_seeds(side)}",
        *(
            [f"{side.side.name}: how long {named} learned isn't recorded, so unlike ones are not refused"]
            if unknown
            else []
        ),
    ]


def notes_of_row(method: Side, files: Sequence[ResultFile]) -> list[str]:
    """What `notes_of_method` says of results on several tasks, once where it is the same on all.

    Raises:
        RecordError: as `runs_of_side`.
    """
    by_task: dict[str, dict[str, list[ResultFile]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        by_task[file.result.task.name][file.result.model.name].append(file)
    told: dict[str, list[str]] = defaultdict(list)
    for task, by_name in sorted(by_task.items()):
        for note in notes_of_method(runs_of_side(method, by_name)):
            told[note].append(task)
    return [note if len(tasks) == len(by_task) else f"{', '.join(tasks)}: {note}" for note, tasks in told.items()]


def _is_of_unknown_length(result: Result) -> bool:
    return result.model.pretraining is None and not result.model.source.startswith("random:")


def _shared_seeds(side: SideRuns) -> str:
    """What the seed does to all pre-trainings alike can't be seen where all of them have the same ones."""
    seeds = {tuple(file.result.seed for file in runs.files) for runs in side.runs.values()}
    selected = side.result.selected
    trained = selected is not None and selected.step > 0
    if len(side.runs) == 1 or len(seeds) > 1 or not trained:
        return ""
    return f", the same ({', '.join(map(str, seeds.pop()))}): what a seed does to all alike isn't in the interval"
