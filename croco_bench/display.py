"""Texts from files and names, made safe to show: in a terminal, in a page, in a spreadsheet, in JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Characters that no text needs: control characters but tab and line ends (a terminal obeys escape sequences), halves of
# surrogate pairs (which can't be encoded), and those that reverse the direction of the text after them.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
# How a formula begins in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with a replacement character for each that a terminal or browser could obey, or that can't be encoded."""
    return _UNWANTED.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The text without line ends; lines that were there are joined with spaces."""
    return " ".join(text.split()) if len(text.splitlines()) > 1 else text


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Records as CSV, after a line with the names of the columns.

    Where a text begins like a formula, an apostrophe stands before it, so that a spreadsheet shows it instead of computing it.
    Numbers stay as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in columns])
    writer.writerows([[_csv_cell(record.get(name)) for name in columns] for record in records])
    return stream.getvalue()


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = (
        printable(value).replace("\r\n", "\n").replace("\r", "\n")
    )  # csv quotes no lone "\r", which readers take for an end
    return f"'{text}" if value.startswith(_FORMULA) else text


def json_text(content: Any) -> str:
    """Indented JSON in which letters are readable, and unwanted characters are escaped."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return _UNWANTED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
