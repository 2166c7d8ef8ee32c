"""Sheets as text of a given width: heads break at words, columns go on in further blocks, long names have a legend."""

from __future__ import annotations

import os
import shutil
import string
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from croco_bench.display import printable
from croco_bench.tables.text.sheet import MISSING, Entry, Line, Sheet, transposed, with_counts_told, with_texts
from croco_bench.tables.text.widths import longest_piece, packed, wrapped

# The width where there is no terminal: of files and pipes.
WIDTH = 120
NARROWEST = 30
_GAP = 2
_NAME_LINES, _HEAD_LINES, _LONGEST_PIECE = 3, 6, 14
_CODES = {"bold": 1, "underline": 4, "italic": 3, "dim": 2, "red": 31}
_SIGNS = {"bold": "*", "underline": "_", "italic": "/", None: ""}
_PLAIN = "*bold, _underlined, /italic"


@dataclass(frozen=True)
class Screen:
    """Where a text is shown: its width in letters, and whether it has bold and italic type."""

    width: int = WIDTH
    styled: bool = False

    @classmethod
    def of_output(cls, width: int | None = None, *, file: bool = False) -> Screen:
        """The terminal's; of a pipe or file `WIDTH`. The variable COLUMNS goes before both, `width` before all."""
        styled = not file and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        found = width or shutil.get_terminal_size((WIDTH, 24)).columns
        if file and not width:
            found = WIDTH
        return cls(max(found, NARROWEST), styled)

    def show(self, text: str, style: str | None) -> str:
        """The text in a style, where there are styles."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.styled and style and text else text


def to_terminal(sheets: Sequence[Sheet], left_out: Sequence[str], screen: Screen, *, turn: bool = True) -> str:
    """All sheets below each other.

    Args:
        sheets: tables.
        left_out: sentences that follow them.
        screen: where they are shown.
        turn: whether columns become rows where a sheet is too wide, and fits so.
    """
    parts = [_sheet(with_texts(sheet, printable), screen, turn) for sheet in sheets]
    lines = [_folded(printable(text), screen, "red") for text in left_out]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])])


def _sheet(sheet: Sheet, screen: Screen, turn: bool) -> str:
    short, told = with_counts_told(sheet)
    made = _Layout(short, screen)
    if turn and len(made.blocks) > 1 and len((other := _Layout(transposed(short), screen)).blocks) == 1:
        made = other
    parts = ["\n".join(screen.show(line, "bold") for line in wrapped(sheet.title, screen.width))]
    parts += [made.block(columns) for columns in made.blocks]
    plain = [_PLAIN] if made.has_signs else []
    if not sheet.heads:
        parts = parts[:1]
    notes = [*made.legend, *([told] if told else []), *plain, *sheet.notes]
    return "\n\n".join([*parts, *(["\n".join(_folded(note, screen, "dim") for note in notes)] if notes else [])])


def _folded(note: str, screen: Screen, style: str) -> str:
    first, *others = wrapped(note, screen.width - 4)
    return "\n".join(screen.show(line, style) for line in (f"  {first}", *(f"    {line}" for line in others)))


@dataclass
class _Layout:
    """Widths of a sheet's columns on a screen, and the blocks that they go to.

    Attributes:
        legend: sentences with the names that are shortened.
        name: width of the rows' names.
        widths: of the columns.
        blocks: indices of the columns of each block.
    """

    sheet: Sheet
    screen: Screen
    legend: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts = [[self._parts(entry) for entry in line.entries] for line in self.sheet.lines]
        self.has_signs = any(
            entry.style is not None and not self.screen.styled for line in self.sheet.lines for entry in line.entries
        )
        longest = max(cell_len(text) for text in (self.sheet.corner, *(line.name for line in self.sheet.lines)))
        capped = min(longest, max(self.screen.width // 3, 10))
        loose, tight, split = self._widths(_loose), self._widths(_tight), self._widths(_tight, split=True)
        shortest = min(longest, max(self.screen.width // 4, 10))
        tries = ((longest, loose), (longest, tight), (capped, tight), (shortest, split), (capped, tight))
        for self.name, self.widths in tries:
            if self._total(range(len(self.widths))) <= self.screen.width:
                break
        room = self.screen.width - self.name
        keys = [head.above for head in self.sheet.heads]
        self.widths = [min(width, room - _GAP) for width in self.widths]
        self.blocks = packed([width + _GAP for width in self.widths], keys, room)
        for columns in self.blocks:
            self._widen(columns, loose)
        self.names = self._shortened([line.name for line in self.sheet.lines], lambda _: self.name, _NAME_LINES)
        self.heads = self._shortened([head.below for head in self.sheet.heads], lambda i: self.widths[i], _HEAD_LINES)

    def _parts(self, entry: Entry) -> list[str]:
        """Where there are no styles, a sign before the number stands for each, so that points stay below each other."""
        number, *interval = entry.parts
        return [f"{'' if self.screen.styled else _SIGNS[entry.style]}{number}", *interval]

    def _widths(self, of_head: Callable[[str], int], *, split: bool = False) -> list[int]:
        """Of the columns, with titles as narrow as `of_head` says; with intervals below their numbers if `split`."""
        joined = "\n" if split else " "
        return [
            max(of_head(head.above), of_head(head.below), 1, *(_widest(joined.join(row[index])) for row in self.texts))
            for index, head in enumerate(self.sheet.heads)
        ]

    def _total(self, columns: Sequence[int]) -> int:
        return self.name + sum(self.widths[index] + _GAP for index in columns)

    def _widen(self, columns: Sequence[int], loose: Sequence[int]) -> None:
        """Gives the width that is left over to titles that break, those with the most lines first."""
        growing = {index for index in columns if self.widths[index] < loose[index]}
        for _ in range(self.screen.width - self._total(columns)):
            if not growing:
                return
            most = max(
                sorted(growing), key=lambda index: len(wrapped(self.sheet.heads[index].below, self.widths[index]))
            )
            self.widths[most] += 1
            growing -= {most} if self.widths[most] >= loose[most] else set()

    def _title(self, index: int) -> list[str]:
        head, width = self.sheet.heads[index], self.widths[index]
        return [*(wrapped(head.above, width) if head.above else []), *wrapped(head.below, width)]

    def _shortened(self, names: Sequence[str], width: Callable[[int], int], most: int) -> list[list[str]]:
        """Names in lines; those that take more than `most` lines end in a letter, which the legend explains."""
        texts = []
        for index, name in enumerate(names):
            lines = wrapped(name, width(index))
            if len(lines) > most:
                letter = string.ascii_lowercase[len(self.legend) % 26] * (len(self.legend) // 26 + 1)
                self.legend.append(f"({letter}) {name}")
                lines = _cut(name, f"…({letter})", width(index), most)
            texts.append(lines)
        return texts

    def block(self, columns: Sequence[int]) -> str:
        """Heads, a rule, and the rows of each section, with a rule between sections."""
        rule = "─" * self._total(columns)
        lines = [*self._heads(columns), rule]
        number = 0
        for section in self.sheet.sections:
            rows = [self._row(line, number + index, columns) for index, line in enumerate(section)]
            number += len(section)
            shown = [text for row in rows for text in row]
            lines += [rule, *shown] if shown and lines[-1] != rule else shown
        return "\n".join(line.rstrip() for line in lines)

    def _heads(self, columns: Sequence[int]) -> list[str]:
        stacks = [[*self._above(index), *self.heads[index]] for index in columns]
        corner = wrapped(self.sheet.corner, self.name)
        height = max(len(stack) for stack in (*stacks, corner))
        filled = [[""] * (height - len(stack)) + stack for stack in (corner, *stacks)]
        return [self._line([stack[index] for stack in filled], columns) for index in range(height)]

    def _above(self, index: int) -> list[str]:
        above = self.sheet.heads[index].above
        return wrapped(above, self.widths[index]) if above else []

    def _row(self, line: Line, number: int, columns: Sequence[int]) -> list[str]:
        """Lines of one row; of several blocks, those leave it out in which it has no number."""
        if len(self.blocks) > 1 and all(line.entries[index].value == MISSING for index in columns):
            return []
        cells = [self._cell(self.texts[number][index], self.widths[index]) for index in columns]
        styles = [None, *(line.entries[index].style for index in columns)]
        stacks = [self.names[number], *cells]
        height = max(len(stack) for stack in stacks)
        filled = [stack + [""] * (height - len(stack)) for stack in stacks]
        return [self._line([stack[index] for stack in filled], columns, styles, line.quiet) for index in range(height)]

    def _cell(self, parts: Sequence[str], width: int) -> list[str]:
        whole = " ".join(parts)
        lines = [whole] if cell_len(whole) <= width else parts
        return [line for part in lines for line in wrapped(part, width, inside_words=False)]

    def _line(
        self, texts: Sequence[str], columns: Sequence[int], styles: Sequence[str | None] = (), quiet: bool = False
    ) -> str:
        """Texts in their columns, the first to the left and the others to the right, padded outside of styles."""
        parts = []
        widths = [self.name, *(self.widths[index] for index in columns)]
        for index, (text, width) in enumerate(zip(texts, widths, strict=True)):
            style = (styles[index] if styles else None) or ("dim" if quiet else None)
            space = " " * (width - cell_len(text))
            shown = self.screen.show(text, style)
            parts.append(shown + space if index == 0 else space + shown)
        return (" " * _GAP).join(parts)


def _widest(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _loose(text: str) -> int:
    return cell_len(text)


def _tight(text: str) -> int:
    return min(longest_piece(text), _LONGEST_PIECE)


def _cut(name: str, end: str, width: int, most: int) -> list[str]:
    """As much of a name as fits `most` lines with its end."""
    kept = next(n for n in range(len(name), -1, -1) if n == 0 or len(wrapped(name[:n] + end, width)) <= most)
    return wrapped(name[:kept] + end, width)
