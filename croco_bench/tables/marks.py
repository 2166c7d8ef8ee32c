"""Which values of a column are marked: the best where a test separates it from the others, else all that may be the best.

Tests are those of `croco_bench.tables.comparison`, over images and seeds; numpy is imported only where a column has something to
test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from croco_bench.errors import BenchError
from croco_bench.metrics.ranks import Ties
from croco_bench.tables.cells import Cell, Mark
from croco_bench.tables.columns import Column
from croco_bench.tables.groups import MEAN_RANK, Group
from croco_bench.tables.layout import Row

if TYPE_CHECKING:
    from croco_bench.tables.comparison.ranks import RankInterval
    from croco_bench.tables.comparison.scores import SeedScores

Scores = Mapping[str, "SeedScores"]
_TESTED = (
    "bold: best, and better than each other backbone at 5 % after Holm's correction over all pairs; underlined: the second "
    "where one is bold; italic: can't be told from the best"
)
_UNTESTED = "bold and underlined: best and second by value alone; no test was made"


@dataclass
class Marks:
    """Marks columns one by one and collects what a reader must be told of them.

    Attributes:
        tests: whether only what a test separates is marked as the best; else it is the best by value.
        untested: columns that couldn't be tested -> why.
        single: backbones with one seed, and methods with one pre-training, in a tested column -> whether it is a method.
    """

    tests: bool
    untested: dict[str, str] = field(default_factory=dict)
    single: dict[str, bool] = field(default_factory=dict)
    _scores: dict[str, Scores] = field(default_factory=dict)
    _kinds: set[str] = field(default_factory=set)

    def column(self, rows: Sequence[Row], column: Column) -> list[Row]:
        """The rows, with the marks of one column."""
        cells = ranked_cells(rows, column)
        if len(cells) < 2:
            return list(rows)
        if not self.tests:
            return _with_marks(rows, column, self._by_value(cells, column))
        try:
            tied = self._tied(column, cells)
        except BenchError as error:
            self.untested[column.title] = str(error)
            return list(rows)
        self.single |= {name: cell.method for name, cell in cells.items() if cell.n == 1}
        if len(tied) == 1:
            return _with_marks(rows, column, self._by_value(cells, column))
        self._kinds.add("tested")
        alike: dict[str, Mark] = dict.fromkeys(tied, "tied")
        return _with_marks(rows, column, alike)

    def mean_ranks(self, rows: Sequence[Row], column: Column, intervals: Mapping[str, RankInterval]) -> list[Row]:
        """The rows, with intervals in the column of a group's mean ranks; marked are those that may be the best."""
        cells = ranked_cells(rows, column)
        if not self.tests or len(cells) < 2:
            return _with_marks(rows, column, self._by_value(cells, column)) if len(cells) > 1 else list(rows)
        if not intervals:
            return list(rows)
        best = min(cells, key=lambda name: cells[name].value)
        tied = {name for name in cells if intervals[name].ci95[0] <= intervals[best].ci95[1]}
        alike: dict[str, Mark] = dict.fromkeys(tied, "tied")
        marks = self._by_value(cells, column) if tied == {best} else alike
        self._kinds |= {"tested", "ranks"}
        with_intervals = [_with_interval(row, column, intervals) for row in rows]
        return _with_marks(with_intervals, column, marks)

    def rank_intervals(
        self, group: Group, columns: Sequence[Column], rows: Sequence[Row], ties: Ties
    ) -> dict[str, RankInterval]:
        """Intervals of the mean ranks over a group's tasks; nothing without tests, or where ties share the best rank."""
        complete = [row for row in rows if row.ranked and all(column.key in row.cells for column in columns)]
        if not self.tests or ties != "mean" or len(complete) < 2:
            return {}
        from croco_bench.tables.comparison.ranks import mean_rank_intervals

        names = [row.label for row in complete]
        try:
            loaded = [self._load(column, ranked_cells(rows, column)) for column in columns]
        except BenchError as error:
            self.untested[f"{group.name} {MEAN_RANK.label}"] = str(error)
            return {}
        scores = [{name: one[name] for name in names} for one in loaded]
        return mean_rank_intervals(scores, [column.metric.higher_is_better for column in columns])

    def notes(self) -> list[str]:
        """What the marks mean, of those that occur, and what couldn't be tested."""
        found = [_TESTED] if "tested" in self._kinds else []
        found += [_UNTESTED] if "value" in self._kinds and not self.tests else []
        if "ranks" in self._kinds:
            found.append(
                "mean ranks have 95 % intervals over images and seeds; italic are those whose interval meets that of the best"
            )
        if self.single:
            unit = "one seed or pre-training" if any(self.single.values()) else "one seed"
            found.append(
                f"{unit}: {', '.join(sorted(self.single))}; tests and intervals then know other images, not other trainings"
            )
        for reason in dict.fromkeys(self.untested.values()):
            titles = [title for title, why in self.untested.items() if why == reason]
            found.append(f"nothing is marked in {', '.join(titles)}: {reason}")
        return found

    def _by_value(self, cells: Mapping[str, Cell], column: Column) -> dict[str, Mark]:
        self._kinds |= {"value"} | ({"tested"} if self.tests else set())
        names: dict[int | None, Mark] = {1: "best", 2: "second"}
        return {name: names[cell.rank] for name, cell in cells.items() if cell.rank in names}

    def _tied(self, column: Column, cells: Mapping[str, Cell]) -> frozenset[str]:
        """The backbones that can't be told from the best one, itself included."""
        from croco_bench.tables.comparison.multiple import separable_from_best

        scores = self._load(column, cells)
        return separable_from_best(scores, higher_is_better=column.metric.higher_is_better).tied

    def _load(self, column: Column, cells: Mapping[str, Cell]) -> Scores:
        from croco_bench.metrics.meter import FEWEST_IMAGES
        from croco_bench.tables.comparison.scores import load_column

        if column.key not in self._scores:
            methods = {name for name, cell in cells.items() if cell.method}
            scores = load_column({name: cell.runs for name, cell in cells.items()}, column.metric.name, methods)
            if any(len(one.blocks) < FEWEST_IMAGES for one in scores.values()):
                raise BenchError(f"fewer than {FEWEST_IMAGES} images are too few for a test")
            self._scores[column.key] = scores
        return self._scores[column.key]


def ranked_cells(rows: Iterable[Row], column: Column) -> dict[str, Cell]:
    """Label -> cell of the rows that are ranked in a column."""
    return {row.label: row.cells[column.key] for row in rows if row.ranked and column.key in row.cells}


def _with_marks(rows: Sequence[Row], column: Column, marks: Mapping[str, Mark]) -> list[Row]:
    def marked(row: Row) -> Row:
        mark = marks.get(row.label) if row.ranked else None
        if mark is None or column.key not in row.cells:
            return row
        return replace(row, cells={**row.cells, column.key: replace(row.cells[column.key], mark=mark)})

    return [marked(row) for row in rows]


def _with_interval(row: Row, column: Column, intervals: Mapping[str, RankInterval]) -> Row:
    if not row.ranked or row.label not in intervals or column.key not in row.cells:
        return row
    cell = replace(row.cells[column.key], interval=intervals[row.label].ci95)
    return replace(row, cells={**row.cells, column.key: cell})
