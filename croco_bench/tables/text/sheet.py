"""A table of texts: what every format prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Style = Literal["bold", "underline", "italic"]
MISSING = "–"


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        value: the number.
        spread: its standard deviation over seeds or pre-trainings.
        count: number of these.
        interval: its bounds, as text.
        sign: of a footnote.
        style: emphasis of the value.
    """

    value: str = MISSING
    spread: str = ""
    count: int | None = None
    interval: str = ""
    sign: str = ""
    style: Style | None = None

    def __str__(self) -> str:
        return " ".join(self.parts)

    @property
    def parts(self) -> list[str]:
        """The number with its deviation, and the interval if there is one: each on a line of its own where space is rare."""
        spread = f" ± {self.spread}" if self.spread else ""
        count = f" (n={self.count})" if self.count is not None else ""
        return [f"{self.value}{spread}{count}{self.sign}", *([self.interval] if self.interval else [])]


@dataclass(frozen=True)
class Head:
    """A title in two lines; neighbours may share the first."""

    above: str
    below: str

    def __str__(self) -> str:
        return f"{self.above} {self.below}".strip()


@dataclass(frozen=True)
class Line:
    """A row: its name, an entry for each column, and whether it stands back behind the others."""

    name: str
    entries: tuple[Entry, ...]
    quiet: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        title: the heading.
        corner: what the names of the rows are.
        heads: of the columns.
        sections: groups of rows, with a line between them.
        notes: what a reader must be told.
        across: what the titles of the columns are.
        spreads: what the deviations of entries are over.
    """

    title: str
    corner: str
    heads: tuple[Head, ...]
    sections: tuple[tuple[Line, ...], ...]
    notes: tuple[str, ...] = ()
    across: str = "task"
    spreads: str = "seeds"

    @property
    def lines(self) -> tuple[Line, ...]:
        """All rows."""
        return tuple(line for section in self.sections for line in section)

    def column(self, index: int) -> list[Entry]:
        """The entries of one column."""
        return [line.entries[index] for line in self.lines]


def transposed(sheet: Sheet) -> Sheet:
    """The sheet with its columns as rows."""
    lines = tuple(Line(str(head), tuple(sheet.column(index))) for index, head in enumerate(sheet.heads))
    heads = tuple(Head("", line.name) for line in sheet.lines)
    return replace(sheet, corner=sheet.across, across=sheet.corner, heads=heads, sections=(lines,))


def with_texts(sheet: Sheet, shown: Callable[[str], str]) -> Sheet:
    """The sheet with each of its texts as `shown` gives it."""

    def line(one: Line) -> Line:
        return replace(one, name=shown(one.name), entries=tuple(map(entry, one.entries)))

    def entry(one: Entry) -> Entry:
        return replace(
            one, value=shown(one.value), spread=shown(one.spread), interval=shown(one.interval), sign=shown(one.sign)
        )

    return Sheet(
        title=shown(sheet.title),
        corner=shown(sheet.corner),
        heads=tuple(Head(shown(head.above), shown(head.below)) for head in sheet.heads),
        sections=tuple(tuple(map(line, section)) for section in sheet.sections),
        notes=tuple(map(shown, sheet.notes)),
        across=shown(sheet.across),
        spreads=shown(sheet.spreads),
    )


def part_of(sheet: Sheet, columns: Sequence[int]) -> Sheet:
    """The sheet with some of its columns, and of its rows those that have a number in them."""
    if len(columns) == len(sheet.heads):
        return sheet
    parts = [
        [replace(line, entries=tuple(line.entries[index] for index in columns)) for line in section]
        for section in sheet.sections
    ]
    kept = [tuple(line for line in part if any(entry.value != MISSING for entry in line.entries)) for part in parts]
    return replace(
        sheet, heads=tuple(sheet.heads[index] for index in columns), sections=tuple(part for part in kept if part)
    )


def with_counts_told(sheet: Sheet) -> tuple[Sheet, str]:
    """The sheet without the numbers of seeds that whole columns share, and a sentence that tells them.

    The sentence is empty where no column has a deviation. An entry with another number than most of its column keeps it.
    """
    usual: dict[int, int] = {}
    for index in range(len(sheet.heads)):
        counts = Counter(entry.count for entry in sheet.column(index) if entry.count is not None)
        if counts:
            usual[index] = max(counts, key=lambda count: (counts[count], count))
    if not usual:
        return sheet, ""
    sections = tuple(tuple(_without(line, usual) for line in section) for section in sheet.sections)
    return replace(sheet, sections=sections), _sentence(sheet, usual)


def _without(line: Line, usual: dict[int, int]) -> Line:
    entries = tuple(
        replace(entry, count=None) if entry.count == usual.get(index) else entry
        for index, entry in enumerate(line.entries)
    )
    return replace(line, entries=entries)


def _sentence(sheet: Sheet, usual: dict[int, int]) -> str:
    """`±: standard deviation over seeds: n=2, of nyuv2-depth 3`."""
    common = Counter(usual.values()).most_common(1)[0][0]
    others: dict[int, dict[str, None]] = {}
    for index, count in usual.items():
        if count != common:
            head = sheet.heads[index]
            others.setdefault(count, {})[head.above or head.below] = None
    more = "".join(f"; n={count} in {', '.join(names)}" for count, names in sorted(others.items()))
    return f"±: standard deviation over {sheet.spreads}, n={common}{more}"
