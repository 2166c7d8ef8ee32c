"""What a table is made of: rows and grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from croco_bench.records.store import ResultFile
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.published import Source

Kind = Literal["learned", "classical", "published"]


@dataclass(frozen=True)
class Row:
    """A backbone, a classical method, or a line of a publication.

    Attributes:
        name: of the backbone, or how a source calls it.
        cells: by the key of their column.
        kind: learned, classical or published.
        differences: what sets a measured row apart from those that are ranked; class and split of a published one.
        source: number of a published row's source in the grid's list, from 1.
        runs: the results behind a measured row.
    """

    name: str
    cells: dict[str, Cell]
    kind: Kind
    differences: tuple[str, ...] = ()
    source: int | None = None
    runs: tuple[ResultFile, ...] = ()

    @property
    def label(self) -> str:
        """The name, and what sets the row apart."""
        return ", ".join([self.name, *self.differences])

    @property
    def ranked(self) -> bool:
        """Whether its values are compared with those of other backbones."""
        return self.kind == "learned" and not self.differences


@dataclass(frozen=True)
class Grid:
    """Results of one recipe on one kind of data (real or miniature), beside what was published; or published numbers.

    Attributes:
        title: the heading.
        columns: in order.
        measured: rows of results.
        published: rows of publications.
        sources: of the published rows, numbered from 1.
        notes: what a reader must be told.
    """

    title: str
    columns: tuple[Column, ...]
    measured: tuple[Row, ...]
    published: tuple[Row, ...] = ()
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
