"""Tables of docs/study-pretraining.md of several pre-trainings of each method: scores, their scatter, and which methods differ.

    python -m benchmarks.methods [methods | sizes | ablations] [--results results/pretrainings]

`methods` compares CroCo, MAE and random weights, `sizes` CroCos of three sizes, `ablations` CroCos that differ in one thing with
those that don't. Backbones are named METHOD-NUMBER. Prints Markdown; tests are those of `croco-bench compare` of methods, with
Holm's correction over all rows of a pair of methods.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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

# What `ablations` compares with CroCo, and by which metrics: of frozen networks, in which pre-training alone differs.
ABLATIONS = ("mask75", "mask50", "low", "high", "fifth", "same", "wrong", "cat", "raw", "cosine", "small")
READ = (
    ("dpt-frozen-mini", "nyuv2-depth", "delta1"),
    ("dpt-frozen-mini", "nyuv2-normals", "mean_deg"),
    ("linear-mini", "nyuv2-depth", "delta1"),
    ("linear-mini", "nyuv2-normals", "mean_deg"),
    ("knn-dense-mini", "ade20k-seg", "miou"),
    ("mini", "correspondence", "encoder/recall10"),
    ("mini", "correspondence", "attention/recall10"),
)


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", choices=(*QUESTIONS, "ablations"), default="methods")
    parser.add_argument("--results", type=Path, default=Path("results/pretrainings"), help="folder of result files")
    options = parser.parse_args()
    question = QUESTIONS.get(options.question)
    try:
        print(methods(options.results, question) if question else ablations(options.results))
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


def ablations(folder: Path) -> str:
    """A column for each metric of frozen networks: CroCo's score, then the difference from it of each ablation."""
    pairs = {name: judged(folder, name, "croco", READ) for name in ABLATIONS}
    rows = {column: row for found in pairs.values() for column, (row, _) in found.items()}
    headings = " | ".join(f"{column[0]}: {heading_of(rows[column])}" for column in READ)
    scores = " | ".join(_score(rows[column], _scores(folder, column)["croco"], None) for column in READ)
    lines = [f"| | {headings} |", "| --- |" + " ---: |" * len(READ), f"| croco | {scores} |"]
    for name, found in pairs.items():
        cells = [difference_of(*found[column]) if column in found else "–" for column in READ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judged(folder: Path, first: str, second: str, columns: Collection[Column] = ()) -> Judged:
    """Rows of one pair of methods with their verdicts, corrected for their number; default: all headline metrics."""
    metrics = sorted({metric for _, _, metric in columns})
    rows = compare([f"{name}={name}-[0-9]" for name in (first, second)], [folder], metrics=metrics).rows
    rows = tuple(row for row in rows if not columns or (row.recipe, row.task, row.metric.name) in columns)
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
