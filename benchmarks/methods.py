"""Tables of docs/study.md of several pre-trainings of each method: scores, their scatter, and which methods differ.

    python -m benchmarks.methods [methods | sizes] [--results results/pretrainings]

`methods` compares CroCo, MAE and random weights, `sizes` CroCos of three sizes. Backbones are named METHOD-NUMBER. Prints
Markdown; tests are those of `croco-bench compare` of methods, with Holm's correction over all rows of a pair of methods.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from benchmarks.study import SIGNS, difference_of, heading_of
from croco_bench.errors import BenchError
from croco_bench.records.store import read_all
from croco_bench.tables.comparison.compare import ComparedRow, compare
from croco_bench.tables.comparison.difference import Verdict
from croco_bench.tables.comparison.multiple import holm

# Recipe, task and metric.
Column = tuple[str, str, str]
Judged = Mapping[Column, tuple[ComparedRow, Verdict]]


@dataclass(frozen=True)
class Question:
    """What a table is to answer.

    Attributes:
        methods: in the order of their columns.
        pairs: of methods to be compared.
        untrained: method -> random weights of the same kind of positions.
    """

    methods: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    untrained: Mapping[str, str] = field(default_factory=dict)


QUESTIONS = {
    "methods": Question(
        methods=("croco", "cosine", "mae", "random", "random-mae"),
        pairs=(("croco", "mae"), ("cosine", "mae"), ("croco", "cosine")),
        untrained={"croco": "random", "cosine": "random-mae", "mae": "random-mae"},
    ),
    "sizes": Question(
        methods=("small", "croco", "large"), pairs=(("croco", "small"), ("large", "croco"), ("large", "small"))
    ),
}


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", choices=QUESTIONS, default="methods")
    parser.add_argument("--results", type=Path, default=Path("results/pretrainings"), help="folder of result files")
    options = parser.parse_args()
    try:
        print(methods(options.results, QUESTIONS[options.question]))
    except BenchError as error:
        parser.exit(1, f"{error}\n")


def methods(folder: Path, question: Question) -> str:
    """A row for each protocol and metric.

    Methods have the mean over their pre-trainings, the standard deviation between them and the verdict against random weights
    with the same kind of positions; pairs of methods their difference with its 95 % interval and verdict.
    """
    against = {name: judged(folder, name, untrained) for name, untrained in question.untrained.items()}
    pairs = {pair: judged(folder, *pair) for pair in question.pairs}
    columns = [*question.methods, *(f"{one} from {two}" for one, two in question.pairs)]
    lines = [f"| recipe | task | {' | '.join(columns)} |", "| --- | --- |" + " ---: |" * len(columns)]
    rows = {column: row for found in (*pairs.values(), *against.values()) for column, (row, _) in found.items()}
    for column, row in sorted(rows.items()):
        scores = _scores(folder, column)
        cells = [_score(row, scores.get(name, []), against.get(name, {}).get(column)) for name in question.methods]
        cells += [difference_of(*pairs[pair][column]) if column in pairs[pair] else "–" for pair in question.pairs]
        lines.append(f"| {column[0]} | {heading_of(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judged(folder: Path, first: str, second: str) -> Judged:
    """Rows of one pair of methods with their verdicts, corrected for their number."""
    rows = compare([f"{name}={name}-[0-9]" for name in (first, second)], [folder]).rows
    adjusted = holm([row.difference.p_value for row in rows])
    return {
        (row.recipe, row.task, row.metric.name): (
            row,
            row.difference.verdict(higher_is_better=row.metric.higher_is_better, p_value=p_value),
        )
        for row, p_value in zip(rows, adjusted, strict=True)
    }


def _scores(folder: Path, column: Column) -> dict[str, list[float]]:
    """Method -> the score of each pre-training, its mean over seeds."""
    recipe, task, metric = column
    seeds: dict[str, list[float]] = defaultdict(list)
    for result in (file.result for file in read_all([folder], recipe)[0]):
        if result.task.name == task and metric in result.metrics:
            seeds[result.model.name].append(result.metrics[metric].value)
    found: dict[str, list[float]] = defaultdict(list)
    for name, values in seeds.items():
        method, _, number = name.rpartition("-")
        if number.isdigit():
            found[method].append(mean(values))
    return found


def _score(row: ComparedRow, scores: Sequence[float], against: tuple[ComparedRow, Verdict] | None) -> str:
    if not scores:
        return "–"
    digits = row.metric.digits
    scatter = f" ± {stdev(scores):.{digits}f}" if len(scores) > 1 else ""
    sign = f" {SIGNS[against[1]]}" if against else ""
    return f"{mean(scores):.{digits}f}{scatter} ({len(scores)}){sign}"


if __name__ == "__main__":
    main()
