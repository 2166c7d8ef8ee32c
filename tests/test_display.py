"""Texts of strangers, in every format that is shown."""

import csv
import json
import re

import pytest

from croco_bench import tables
from croco_bench.display import csv_text, json_text, one_line, printable
from croco_bench.errors import DataError
from croco_bench.report.markup import link, with_links
from croco_bench.tables.text.latex import to_latex
from croco_bench.tables.text.markdown import markdown_text, to_markdown
from croco_bench.tables.text.sheet import Entry, Head, Line, Sheet
from croco_bench.tables.text.terminal import Screen, to_terminal

ODD = "a\x1b[31mb\x9b0mc\u202ed\ud800e\x07f"


def odd_sheet() -> Sheet:
    return Sheet(ODD, ODD, (Head(ODD, ODD),), ((Line(ODD, (Entry(ODD, ODD, 2, ODD, ODD),)),),), (ODD,), ODD)


def test_unwanted_characters_are_replaced_and_others_stay() -> None:
    assert printable(ODD) == "a\ufffd[31mb\ufffd0mc\ufffdd\ufffde\ufffdf"
    assert printable("é 中 δ1\t\n") == "é 中 δ1\t\n"


@pytest.mark.parametrize("turn", [True, False])
def test_nothing_in_a_sheet_reaches_a_terminal_or_file_as_a_command(turn: bool) -> None:
    texts = [
        to_terminal([odd_sheet()], [ODD], Screen(200), turn=turn),
        to_markdown([odd_sheet()], [ODD]),
        to_latex([odd_sheet()], [ODD]),
    ]
    for text in texts:
        assert text.isprintable() or not set(text) & set("\x1b\x9b\u202e\ud800\x07"), repr(text)
        text.encode()


def test_csv_shows_formulas_instead_of_computing_them() -> None:
    record = {"name": "=cmd|'/c calc'!A0", "other": "@SUM(1)", "text": "-a", "value": -1.5, "more": "x=1", "no": None}
    heads, cells = csv.reader(csv_text(list(record), [record]).splitlines())
    assert heads == list(record)
    assert cells == ["'=cmd|'/c calc'!A0", "'@SUM(1)", "'-a", "-1.5", "x=1", ""]
    assert csv_text(["\tx"], [{"\tx": "\ry\x1b"}]) == "'\tx\n\"'\ny\ufffd\"\n"


def test_json_has_the_same_content_without_control_characters() -> None:
    text = json_text({ODD: ODD})
    assert json.loads(text) == {ODD: ODD}
    assert not set(text) & set("\x1b\x9b\u202e\ud800\x07")


@pytest.mark.parametrize(
    "text", ["[x](javascript:alert(1))", "![x](http://example.org/x.png)", "[x]: javascript:1", "[a][b]"]
)
def test_names_make_no_link_in_markdown(text: str) -> None:
    assert not re.search(r"(?<!\\)\][(:\[]", markdown_text(text))
    assert markdown_text("[1] He 2022") == "[1] He 2022"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " javascript:x", "data:text/html,x", "JAVASCRIPT:x", "file:///etc/passwd"]
)
def test_only_web_addresses_are_linked(url: str) -> None:
    assert "<a" not in link(url, "x") and "<a" not in with_links(url)


def test_errors_are_one_line() -> None:
    assert str(DataError("it failed:\n- one\n- two", "do this\nor that")) == "it failed: - one - two; do this or that"
    assert one_line("two  spaces in /a  path") == "two  spaces in /a  path"


def test_tables_without_results_are_empty_csv() -> None:
    assert tables.render.text([], [], "csv") == ""
