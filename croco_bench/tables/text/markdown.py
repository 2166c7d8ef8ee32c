"""Sheets as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from croco_bench.display import printable
from croco_bench.tables.text.sheet import Line, Sheet, with_texts

_STYLES = {None: "{}", "bold": "**{}**", "underline": "<u>{}</u>", "italic": "*{}*"}
# What Markdown would take for emphasis, code, a tag, the next cell, or a link with other words than its address; an
# underscore inside a word is none of these.
_SPECIAL = re.compile(r"[\\`*|<]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")


def markdown_text(text: str) -> str:
    """In one line, with everything escaped that Markdown would take for a command."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(printable(text).split()))


def to_markdown(sheets: Sequence[Sheet], left_out: Sequence[str]) -> str:
    """A heading, a table and notes for each sheet, then what was left out."""
    return "\n\n".join(
        [*(_sheet(with_texts(sheet, printable)) for sheet in sheets), *(markdown_text(text) for text in left_out)]
    )


def _sheet(sheet: Sheet) -> str:
    heads = [sheet.corner, *map(str, sheet.heads)]
    lines = [f"### {markdown_text(sheet.title)}", ""]
    lines.append("| " + " | ".join(map(markdown_text, heads)) + " |")
    lines.append("| --- |" + " ---: |" * len(sheet.heads))
    lines += map(_row, sheet.lines)
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in sheet.notes)])


def _row(line: Line) -> str:
    name = markdown_text(line.name)
    texts = [_STYLES[entry.style].format(entry) for entry in line.entries]
    return f"| {f'*{name}*' if line.quiet else name} | " + " | ".join(texts) + " |"
