"""Sheets in a terminal: nothing is cut off, whatever the width; and what a narrow one changes."""

import io
import re
import sys
from pathlib import Path

import pytest

from croco_bench.records.store import read_all
from croco_bench.tables.grid import build
from croco_bench.tables.published import sources
from croco_bench.tables.published_grids import as_printed, by_task
from croco_bench.tables.render import sheet_of
from croco_bench.tables.text.sheet import Entry, Head, Line, Sheet, part_of, transposed, with_counts_told
from croco_bench.tables.text.terminal import WIDTH, Screen, to_terminal
from croco_bench.tables.text.widths import packed, pieces, wrapped

RESULTS = Path(__file__).parents[3] / "results"
NAMES = ("croco", "timm:vit_base_patch16_clip_224.openai, train.steps=30, other weights 3f2a…", "目録の名前", "a b c")


def sheet(columns: int = 5, *, title: str = "recipe mini") -> Sheet:
    heads = tuple(Head("a-rather-long-task-name", f"metric {index} (deg) ↓") for index in range(columns))
    lines = [
        Line(
            name,
            tuple(
                Entry(f"{row}{column}.25", spread="0.125", count=2, style="bold" if row == column else None)
                for column in range(columns)
            ),
        )
        for row, name in enumerate(NAMES, start=10)
    ]
    return Sheet(title, "backbone", heads, (tuple(lines[:2]), tuple(lines[2:])), ("a note of some words",))


def printed(made: Sheet, width: int, *, styled: bool = False, turn: bool = True) -> str:
    return to_terminal([made], [], Screen(width, styled), turn=turn)


def every_sheet() -> list[Sheet]:
    """All tables of this repository's results and of the published numbers."""
    found, _ = read_all([RESULTS])
    listed = sources()
    grids = [*build(found, listed, tests=False), *by_task(listed)]
    grids += [grid for source in listed for grid in as_printed(listed, source.name)]
    return [sheet_of(grid) for grid in grids]


@pytest.fixture(scope="module")
def sheets() -> list[Sheet]:
    return every_sheet()


@pytest.mark.parametrize("width", [30, 40, 61, 80, 120, 200])
def test_every_number_is_printed_and_no_line_is_too_wide(sheets: list[Sheet], width: int) -> None:
    for one in sheets:
        text = printed(one, width)
        numbers = re.findall(r"\d+\.\d+", text)
        for line in one.lines:
            for entry in line.entries:
                assert entry.value in numbers or not re.fullmatch(r"\d+\.\d+", entry.value), (one.title, entry)
        assert len(numbers) >= sum(
            re.fullmatch(r"\d+\.\d+", e.value) is not None for row in one.lines for e in row.entries
        )
        lines = [line for line in text.splitlines() if "://" not in line]
        assert max(map(cells, lines)) <= width, one.title


@pytest.mark.parametrize("width", range(30, 201, 7))
@pytest.mark.parametrize("turn", [False, True])
def test_numbers_and_names_survive_any_width(width: int, turn: bool) -> None:
    made = sheet()
    text = printed(made, width, turn=turn)
    for line in made.lines:
        assert all(text.count(entry.value) == 1 for entry in line.entries)
        parts = [part for word in line.name.split() for part in pieces(word)]
        assert squeezed(line.name) in squeezed(text) or all(part in text for part in parts)
    assert max(map(cells, text.splitlines())) <= width


def cells(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_a_long_name_is_shortened_with_a_legend() -> None:
    text = printed(sheet(1), 40)
    assert "…(a)" in text
    assert squeezed(f"(a) {NAMES[1]}") in squeezed(text)


def test_titles_break_at_words_and_after_hyphens_but_not_in_numbers() -> None:
    assert wrapped("taskonomy-keypoints2d L1 ↓", 12) == ["taskonomy-", "keypoints2d", "L1 ↓"]
    assert wrapped("train.lr=0.65", 10) == ["train.lr=", "0.65"]
    assert wrapped("a+b 0.253 ± 0.008", 8, inside_words=False) == ["a+b", "0.253 ±", "0.008"]
    assert "".join(wrapped("x" * 50, 7)) == "x" * 50


def test_columns_go_on_in_blocks_that_are_about_equally_wide() -> None:
    assert packed([10] * 6, [""] * 6, 45) == [[0, 1, 2], [3, 4, 5]]
    assert packed([10] * 4, ["a", "b", "b", "c"], 25) == [[0], [1, 2], [3]]
    assert packed([50, 10], ["", ""], 20) == [[0], [1]]
    assert packed([], [], 20) == []


def test_rows_without_a_number_are_left_out_of_a_block_alone() -> None:
    made = Sheet(
        "t", "backbone", (Head("", "x" * 20), Head("", "y" * 20)), ((Line("only-y", (Entry(), Entry("1.5"))),),)
    )
    narrow, wide = printed(made, 35, turn=False), printed(made, 80, turn=False)
    assert narrow.count("only-y") == wide.count("only-y") == 1
    assert "–" in wide and "–" not in narrow
    assert [line.name for line in part_of(made, [0]).lines] == []


def test_a_wide_sheet_is_turned_if_it_fits_so() -> None:
    made = sheet(9)
    turned = printed(made, 120)
    assert turned != printed(made, 120, turn=False) and printed(made, 80) == printed(made, 80, turn=False)
    assert any(line.startswith("task ") for line in turned.splitlines())
    assert any(line.startswith("a-rather-long-task-name metric 8 (deg) ↓") for line in turned.splitlines())
    assert transposed(transposed(made)).lines[3].entries == made.lines[3].entries


def test_styles_are_codes_in_a_terminal_and_signs_elsewhere() -> None:
    plain, styled = printed(sheet(20), 400), printed(sheet(20), 400, styled=True)
    assert "*1010.25" in plain and "*bold, _underlined, /italic" in plain and "\x1b" not in plain
    assert "\x1b[1m1010.25 ± 0.125\x1b[0m" in styled and "*bold" not in styled
    assert re.sub(r"\x1b\[\d+m", "", styled).count("1010.25") == 1


def test_the_number_of_seeds_is_told_once() -> None:
    made = sheet(2)
    short, told = with_counts_told(made)
    assert told == "±: standard deviation over seeds, n=2"
    assert "(n=2)" in str(made.lines[0].entries[0]) and "n=" not in str(short.lines[0].entries[0])
    odd = Line("odd", (Entry("1.0", spread="0.1", count=5), Entry("2.0")))
    mixed, _ = with_counts_told(Sheet("t", "b", made.heads, (*made.sections, (odd,))))
    assert "(n=5)" in str(mixed.lines[-1].entries[0])
    three = [Line(line.name, (*line.entries, Entry("7", spread="1", count=3))) for line in made.lines]
    _, told = with_counts_told(Sheet("t", "b", (*made.heads, Head("nyuv2-depth", "δ1")), (tuple(three),)))
    assert told == "±: standard deviation over seeds, n=2; n=3 in nyuv2-depth"


def test_the_width_is_the_terminals_or_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "77")
    assert Screen.of_output() == Screen(77, styled=False)
    assert Screen.of_output(50) == Screen(50, styled=False)
    assert Screen.of_output(file=True) == Screen(WIDTH, styled=False)
    assert Screen.of_output(3).width == 30


def test_a_sheet_without_columns_is_its_title_and_notes() -> None:
    assert printed(Sheet("no results yet", "backbone", (), (), ("3 runs are left out",)), 80) == (
        "no results yet\n\n  3 runs are left out"
    )
    assert to_terminal([], ["left out: a.json is damaged"], Screen(80)) == "  left out: a.json is damaged"
