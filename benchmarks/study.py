"""The tables of docs/study.md: which protocols tell networks apart, and whether the paper's claims hold in the miniature.

    python benchmarks/study.py power [--results results]     of each protocol and task: who is told from random weights, in what time
    python benchmarks/study.py claims [--results results]    CroCo's claims: differences, 95 % intervals, verdicts

Both print Markdown. Tests are those of `croco-bench compare`, corrected by Holm's method over all rows of a claim, or of a protocol.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from croco_bench.errors import BenchError
from croco_bench.records.store import ResultFile, read_all
from croco_bench.tables.comparison.compare import ComparedRow, compare
from croco_bench.tables.comparison.difference import Verdict
from croco_bench.tables.comparison.multiple import holm

RANDOM = "random"
NETWORKS = ("mini-croco", "mini-croco-cat", "mini-mae", "mini-multimae")
SIGNS: dict[Verdict, str] = {"holds": "better", "does not hold": "worse", "undecided": "·"}


@dataclass(frozen=True)
class Claim:
    """`first` is better than every one of `others` on `tasks` (names or globs)."""

    title: str
    first: str
    others: tuple[str, ...]
    tasks: tuple[str, ...]


CLAIMS = (
    Claim(
        title="Geometry: CroCo is better than pre-training on single images, and than none",
        first="mini-croco",
        others=("mini-mae", "mini-multimae", RANDOM),
        tasks=("nyuv2-*", "kitti-depth", "taskonomy-*"),
    ),
    Claim(
        title="Semantics: MAE is better than CroCo (the paper has it level or ahead)",
        first="mini-mae",
        others=("mini-croco", RANDOM),
        tasks=("ade20k-seg", "imagenet-linear"),
    ),
    Claim(
        title="Pairs: CroCo is better than networks without a pre-trained decoder, and than none",
        first="mini-croco",
        others=("mini-mae", "mini-multimae", RANDOM),
        tasks=("sintel-flow", "stereo", "relative-pose", "correspondence*"),
    ),
    Claim(
        title="Decoder: cross-attention is better than concatenated tokens",
        first="mini-croco",
        others=("mini-croco-cat",),
        tasks=("*",),
    ),
)


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("power", "claims"))
    parser.add_argument("--results", type=Path, action="append", help="folder of result files; may be repeated")
    options = parser.parse_args()
    folders = options.results or [Path("results")]
    files = [
        file for file in read_all(folders)[0] if file.result.dataset.miniature and file.result.recipe.name != "smoke"
    ]
    print("\n".join(power(folders, files) if options.table == "power" else claims(folders, files)))


def power(folders: Sequence[Path], files: Iterable[ResultFile]) -> list[str]:
    """A row for each protocol and metric: the value of random weights, and every network's verdict against it."""
    seconds, seeds = _seconds(files), _seeds(files)
    lines = ["| recipe | task | random | " + " | ".join(NETWORKS) + " | told apart | seeds | s per run |"]
    lines.append("| --- | --- | ---: |" + " --- |" * len(NETWORKS) + " ---: | ---: | ---: |")
    for recipe in sorted({recipe for recipe, _ in seeds}):
        rows = [row for name in NETWORKS for row in _against(folders, recipe, name, RANDOM, ("*",))]
        verdicts = _corrected(rows)
        by_column: dict[tuple[str, str], dict[str, tuple[ComparedRow, Verdict]]] = defaultdict(dict)
        for row, verdict in zip(rows, verdicts, strict=True):
            by_column[row.task, row.metric.name][row.names[0]] = row, verdict
        for (task, _), found in sorted(by_column.items()):
            row = next(iter(found.values()))[0]
            cells = [_cell(*found[name]) if name in found else "–" for name in NETWORKS]
            told = sum(verdict != "undecided" for _, verdict in found.values())
            lines.append(
                f"| {recipe} | {_column(row)} | {row.means[1].value:.{row.metric.digits}f} | {' | '.join(cells)} "
                f"| {told} of {len(found)} | {seeds[recipe, task]} | {_time(seconds.get((recipe, task)))} |"
            )
    return lines


def claims(folders: Sequence[Path], files: Iterable[ResultFile]) -> list[str]:
    """For each claim a table: difference from every rival with its 95 % interval, and the verdict of the row."""
    recipes = sorted({file.result.recipe.name for file in files})
    lines = list[str]()
    for claim in CLAIMS:
        rows = [
            row
            for recipe in recipes
            for other in claim.others
            for row in _against(folders, recipe, claim.first, other, claim.tasks)
        ]
        by_column: dict[tuple[str, str, str], dict[str, tuple[ComparedRow, Verdict]]] = defaultdict(dict)
        for row, verdict in zip(rows, _corrected(rows), strict=True):
            by_column[row.recipe, row.task, row.metric.name][row.names[1]] = row, verdict
        lines += [f"### {claim.title}", ""]
        lines.append(
            f"| recipe | task | {claim.first} | " + " | ".join(f"from {o}" for o in claim.others) + " | verdict |"
        )
        lines.append("| --- | --- | ---: |" + " ---: |" * len(claim.others) + " --- |")
        tally: dict[Verdict, int] = defaultdict(int)
        for (recipe, _, _), found in sorted(by_column.items()):
            row = next(iter(found.values()))[0]
            cells = [_difference(*found[other]) if other in found else "–" for other in claim.others]
            verdict = together([verdict for _, verdict in found.values()])
            tally[verdict] += 1
            lines.append(
                f"| {recipe} | {_column(row)} | {row.means[0].value:.{row.metric.digits}f} | {' | '.join(cells)} | {verdict} |"
            )
        lines += ["", ", ".join(f"{verdict}: {count}" for verdict, count in sorted(tally.items())), ""]
    return lines


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim against several rivals: it holds if it holds against all, and fails if it fails against one."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts and set(verdicts) == {"holds"} else "undecided"


def _against(folders: Sequence[Path], recipe: str, first: str, second: str, tasks: Sequence[str]) -> list[ComparedRow]:
    """Rows of two networks; none where one lacks results, or where results can't be compared."""
    try:
        rows = compare((first, second), folders, recipe=recipe).rows
    except BenchError:
        return []
    return [row for row in rows if any(Path(row.task).match(pattern) for pattern in tasks)]


def _corrected(rows: Sequence[ComparedRow]) -> list[Verdict]:
    adjusted = holm([row.difference.p_value for row in rows])
    return [
        row.difference.verdict(higher_is_better=row.metric.higher_is_better, p_value=p_value)
        for row, p_value in zip(rows, adjusted, strict=True)
    ]


def _cell(row: ComparedRow, verdict: Verdict) -> str:
    return f"{row.means[0].value:.{row.metric.digits}f} {SIGNS[verdict]}"


def _difference(row: ComparedRow, verdict: Verdict) -> str:
    digits = row.metric.digits
    low, high = row.difference.ci95
    return f"{row.difference.value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] {SIGNS[verdict]}"


def _column(row: ComparedRow) -> str:
    arrow = "↑" if row.metric.higher_is_better else "↓"
    return f"{row.task} {row.metric.label}{f' ({row.metric.unit})' if row.metric.unit else ''} {arrow}"


def _seconds(files: Iterable[ResultFile]) -> dict[tuple[str, str], float]:
    """Median time of a run on a CPU, by recipe and task."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for file in files:
        result = file.result
        if result.model.name in (*NETWORKS, RANDOM) and result.environment.device == "cpu":
            times[result.recipe.name, result.task.name].append(result.timing.train_s + result.timing.eval_s)
    return {place: median(found) for place, found in times.items()}


def _seeds(files: Iterable[ResultFile]) -> dict[tuple[str, str], int]:
    """The least number of seeds that a network has, by recipe and task."""
    seeds: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for file in files:
        if file.result.model.name in (*NETWORKS, RANDOM):
            seeds[file.result.recipe.name, file.result.task.name][file.result.model.name] += 1
    return {place: min(found.values()) for place, found in seeds.items()}


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f}"


if __name__ == "__main__":
    main()
