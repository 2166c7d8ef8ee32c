"""The tables of docs/study.md and docs/study-tables.md: which protocols tell networks apart, and whether CroCo's claims hold.

    python benchmarks/study.py verdicts [--results results]  of each claim: number of rows by verdict, and all rows that have one
    python benchmarks/study.py power [--results results]     who is told from random weights, and in what time
    python benchmarks/study.py limits [--results results]    what keeps them from it: other images, or other seeds
    python benchmarks/study.py claims [--results results]    every row of each claim: differences, 95 % intervals, verdict

All print Markdown. Tests are those of `croco-bench compare`, with Holm's correction over all rows of a protocol, or of a claim.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Literal

from croco_bench.errors import BenchError
from croco_bench.records.store import ResultFile, read_all
from croco_bench.tables.comparison.compare import ComparedRow, compare
from croco_bench.tables.comparison.difference import Verdict
from croco_bench.tables.comparison.multiple import holm

# Random weights of the same kind of positions as each network: absolute ones are a cue to depth and normals by themselves.
UNTRAINED = {
    "mini-croco": "random",
    "mini-croco-cat": "random",
    "mini-mae": "random-mae",
    "mini-multimae": "random-mae",
}
NAMES = (*UNTRAINED, *dict.fromkeys(UNTRAINED.values()))
# Columns of the table of power: random weights before the networks that are held against them.
COLUMNS = ("random", "mini-croco", "mini-croco-cat", "random-mae", "mini-mae", "mini-multimae")
SIGNS: Mapping[Verdict, str] = {"holds": "better", "does not hold": "worse", "undecided": "·"}
# Recipe, task and metric of a column.
Column = tuple[str, str, str]
# Confounded: the networks differ in their positions, and random weights alone make a difference then.
Outcome = Verdict | Literal["confounded"]
OUTCOMES: tuple[Outcome, ...] = ("holds", "does not hold", "undecided", "confounded")
# Of a column, the rows of the compared networks, and their verdicts.
Judged = Mapping[Column, Mapping[str, tuple[ComparedRow, Verdict]]]


@dataclass(frozen=True)
class Claim:
    """`first` is better than every one of `others` on `tasks` (names or globs)."""

    name: str
    title: str
    first: str
    others: tuple[str, ...]
    tasks: tuple[str, ...]


CLAIMS = (
    Claim(
        name="geometry",
        title="CroCo is better than pre-training on single images, and than none",
        first="mini-croco",
        others=("mini-mae", "mini-multimae", "random"),
        tasks=("nyuv2-*", "kitti-depth", "taskonomy-*"),
    ),
    Claim(
        name="semantics",
        title="MAE is better than CroCo, and than none",
        first="mini-mae",
        others=("mini-croco", "random-mae"),
        tasks=("ade20k-seg", "imagenet-linear"),
    ),
    Claim(
        name="pairs",
        title="CroCo is better than networks without a pre-trained decoder, and than none",
        first="mini-croco",
        others=("mini-mae", "mini-multimae", "random"),
        tasks=("sintel-flow", "stereo", "relative-pose", "correspondence*"),
    ),
    Claim(
        name="decoder",
        title="cross-attention is better than concatenated tokens",
        first="mini-croco",
        others=("mini-croco-cat",),
        tasks=("*",),
    ),
)


@dataclass(frozen=True)
class ClaimedRow:
    """A column as a claim sees it: its network against every rival that was run, by the rival's name, and the outcome."""

    found: Mapping[str, tuple[ComparedRow, Verdict]]
    outcome: Outcome

    @property
    def first(self) -> ComparedRow:
        """Any of the rows: network, recipe, task and metric are the same in all."""
        return next(iter(self.found.values()))[0]


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--results", type=Path, action="append", help="folder of result files; may be repeated")
    options = parser.parse_args()
    try:
        print(TABLES[options.table](options.results or [Path("results")]))
    except BenchError as error:
        parser.exit(1, f"{error}\n")


def power(folders: Sequence[Path]) -> str:
    """A row for each protocol and metric: the value of random weights, and of every network, with its verdict."""
    files = _files(folders)
    seconds, seeds = _seconds(files), _seeds(files)
    every = _rows(NAMES, folders)
    compared = [row for row in every if UNTRAINED.get(row.names[0]) == row.names[1]]
    means: dict[Column, dict[str, str]] = defaultdict(dict)
    for row in every:
        means[row.recipe, row.task, row.metric.name] |= {name: _mean(row, i) for i, name in enumerate(row.names)}
    lines = [f"| recipe | task | {' | '.join(COLUMNS)} | told apart | seeds | s |"]
    lines.append("| --- | --- |" + " --- |" * len(COLUMNS) + " ---: | ---: | ---: |")
    for recipe in sorted({row.recipe for row in compared}):
        against = [row for row in compared if row.recipe == recipe]
        for column, found in sorted(_judged(against, by=0).items()):
            row = next(iter(found.values()))[0]
            told = sum(verdict != "undecided" for _, verdict in found.values())
            time = seconds.get(column[:2])
            lines.append(
                f"| {recipe} | {heading_of(row)} | {' | '.join(_values(means[column], found))} | {told} of {len(found)} "
                f"| {seeds[column[:2]]} | {'–' if time is None else f'{time:.0f}'} |"
            )
    return "\n".join(lines)


def _values(means: Mapping[str, str], found: Mapping[str, tuple[ComparedRow, Verdict]]) -> list[str]:
    """The cells of `COLUMNS`: networks with their verdicts, those without random weights of their kind as they are."""
    signs = {name: f" {SIGNS[verdict]}" for name, (_, verdict) in found.items()}
    return [means[name] + signs.get(name, "") if name in means else "–" for name in COLUMNS]


def _mean(row: ComparedRow, which: int) -> str:
    return f"{row.means[which].value:.{row.metric.digits}f}"


def limits(folders: Sequence[Path]) -> str:
    """A row for each protocol and metric: medians, over networks, of the difference from random weights and of its chance."""
    rows = [row for row in _rows(NAMES, folders) if UNTRAINED.get(row.names[0]) == row.names[1]]
    of_column: dict[Column, list[ComparedRow]] = defaultdict(list)
    for row in rows:
        of_column[row.recipe, row.task, row.metric.name].append(row)
    lines = ["| recipe | task | difference | ± | from seeds (%) | independent images | seeds |"]
    lines.append("| --- | --- |" + " ---: |" * 5)
    for column, found in sorted(of_column.items()):
        digits, shares = found[0].metric.digits, [row.difference.seed_share for row in found]
        known = [share for share in shares if share is not None]
        lines.append(
            f"| {column[0]} | {heading_of(found[0])} | {median(abs(row.difference.value) for row in found):.{digits}f} "
            f"| {median((row.difference.ci95[1] - row.difference.ci95[0]) / 2 for row in found):.{digits}f} "
            f"| {f'{100 * median(known):.0f}' if known else '–'} | {found[0].difference.blocks} "
            f"| {min(min(row.difference.seeds) for row in found)} |"
        )
    return "\n".join(lines)


def claims(folders: Sequence[Path]) -> str:
    """For each claim a table: the difference from every rival with its 95 % interval, and the verdict of the row."""
    return "\n\n".join(_claim(claim, rows) for claim, rows in _of_claims(folders))


def verdicts(folders: Sequence[Path]) -> str:
    """A table of all claims, with the number of rows by verdict, and one of the rows in which a claim holds or doesn't."""
    counted = ["| claim | rows | " + " | ".join(OUTCOMES) + " |", "| --- |" + " ---: |" * (1 + len(OUTCOMES))]
    decided = ["| claim | recipe | task | verdict | differences |", "| --- | --- | --- | --- | --- |"]
    for claim, rows in _of_claims(folders):
        counts = " | ".join(map(str, _tally(rows).values()))
        counted.append(f"| {claim.name}: {claim.title} | {len(rows)} | {counts} |")
        decided += [_decided(claim, row) for row in rows if row.outcome in ("holds", "does not hold")]
    return "\n".join([*counted, "", *decided])


def _decided(claim: Claim, row: ClaimedRow) -> str:
    found, first = row.found, row.first
    differences = ", ".join(f"from {name} {difference_of(*found[name])}" for name in claim.others if name in found)
    value = f"{claim.first} {_mean(first, 0)}"
    return f"| {claim.name} | {first.recipe} | {heading_of(first)} | {row.outcome} | {value}: {differences} |"


def _of_claims(folders: Sequence[Path]) -> list[tuple[Claim, list[ClaimedRow]]]:
    compared = _rows(NAMES, folders) + _rows(("mini-mae", "mini-croco"), folders)
    told_by_places = _told_by_positions(compared)
    return [(claim, _judge(claim, compared, told_by_places)) for claim in CLAIMS]


def _told_by_positions(compared: Iterable[ComparedRow]) -> set[Column]:
    """The columns in which a test tells random weights with rotary positions from those with absolute ones."""
    rows = [row for row in compared if row.names == ("random", "random-mae")]
    of_recipe = [[row for row in rows if row.recipe == recipe] for recipe in {row.recipe for row in rows}]
    judged = {column: found for group in of_recipe for column, found in _judged(group, by=0).items()}
    return {column for column, found in judged.items() if found["random"][1] != "undecided"}


def _judge(claim: Claim, compared: Iterable[ComparedRow], told_by_places: Collection[Column]) -> list[ClaimedRow]:
    rows = [
        row
        for row in compared
        if row.names[0] == claim.first
        and row.names[1] in claim.others
        and any(fnmatch(row.task, pattern) for pattern in claim.tasks)
    ]
    unlike = any(UNTRAINED.get(other, other) != UNTRAINED[claim.first] for other in claim.others)
    judged = []
    for column, found in sorted(_judged(rows, by=1).items()):
        verdict: Outcome = together([verdict for _, verdict in found.values()])
        judged.append(ClaimedRow(found, "confounded" if unlike and column in told_by_places else verdict))
    return judged


def _claim(claim: Claim, rows: Sequence[ClaimedRow]) -> str:
    """All rows of a claim, and how many there are by verdict."""
    lines = [f"### {claim.name.capitalize()}: {claim.title}", ""]
    lines.append(f"| recipe | task | {claim.first} | {' | '.join(f'from {o}' for o in claim.others)} | verdict |")
    lines.append("| --- | --- | ---: |" + " ---: |" * len(claim.others) + " --- |")
    for row in rows:
        found, first = row.found, row.first
        cells = " | ".join(difference_of(*found[other]) if other in found else "–" for other in claim.others)
        lines.append(f"| {first.recipe} | {heading_of(first)} | {_mean(first, 0)} | {cells} | {row.outcome} |")
    counted = ", ".join(f"{count} {verdict}" for verdict, count in _tally(rows).items())
    return "\n".join([*lines, "", f"Of {len(rows)} rows: {counted}."])


def _tally(rows: Iterable[ClaimedRow]) -> dict[Outcome, int]:
    found = [row.outcome for row in rows]
    return {outcome: found.count(outcome) for outcome in OUTCOMES}


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim against several rivals: it holds if it holds against all, and fails if it fails against one."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if set(verdicts) == {"holds"} else "undecided"


def _rows(names: Sequence[str], folders: Sequence[Path]) -> list[ComparedRow]:
    return [row for row in compare(names, folders).rows if row.miniature and row.recipe != "smoke"]


def _judged(rows: Sequence[ComparedRow], by: int) -> Judged:
    """Rows and verdicts, corrected for the number of rows, by column and name of the first (0) or second (1) network."""
    found: dict[Column, dict[str, tuple[ComparedRow, Verdict]]] = defaultdict(dict)
    for row, p_value in zip(rows, holm([row.difference.p_value for row in rows]), strict=True):
        verdict = row.difference.verdict(higher_is_better=row.metric.higher_is_better, p_value=p_value)
        found[row.recipe, row.task, row.metric.name][row.names[by]] = row, verdict
    return found


def difference_of(row: ComparedRow, verdict: Verdict) -> str:
    """The cell of a difference: its value, 95 % interval and verdict."""
    digits, (low, high) = row.metric.digits, row.difference.ci95
    return f"{row.difference.value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] {SIGNS[verdict]}"


def heading_of(row: ComparedRow) -> str:
    """Task and metric of a row, with unit and direction."""
    arrow = "↑" if row.metric.higher_is_better else "↓"
    return f"{row.task} {row.metric.label}{f' ({row.metric.unit})' if row.metric.unit else ''} {arrow}"


def _files(folders: Sequence[Path]) -> list[ResultFile]:
    return [file for file in read_all(folders)[0] if file.result.model.name in NAMES]


def _seconds(files: Iterable[ResultFile]) -> dict[tuple[str, str], float]:
    """Median time of a run on a CPU, by recipe and task."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in (file.result for file in files):
        if result.environment.device == "cpu":
            times[result.recipe.name, result.task.name].append(result.timing.train_s + result.timing.eval_s)
    return {place: median(found) for place, found in times.items()}


def _seeds(files: Iterable[ResultFile]) -> dict[tuple[str, str], int]:
    """The least number of seeds that a network has, by recipe and task."""
    seeds: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for result in (file.result for file in files):
        seeds[result.recipe.name, result.task.name][result.model.name] += 1
    return {place: min(found.values()) for place, found in seeds.items()}


TABLES = {"verdicts": verdicts, "power": power, "limits": limits, "claims": claims}

if __name__ == "__main__":
    main()
