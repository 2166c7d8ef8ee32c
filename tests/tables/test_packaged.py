"""Results that come with the package: they are there, and tables say of every cell that shows them that it was made elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench import report, tables
from croco_bench.records.packaged import folder, is_packaged
from croco_bench.records.selection import Selection
from croco_bench.records.store import ResultPaths, read_all, write

CHOSEN = Selection(tasks=("nyuv2-depth", "taskonomy"), models=("mini-croco", "random"))
NOTE = "packaged, not run here"


def test_the_packaged_results_are_whole() -> None:
    found, complaints = read_all([folder()], "mini")
    assert not complaints and {file.result.model.name for file in found} >= {"random", "mini-croco", "mini-mae"}
    assert all(is_packaged(file) and file.paths.rows.is_file() for file in found)


@pytest.mark.parametrize(("format", "sign"), [("terminal", "◇"), ("markdown", "◇"), ("latex", r"\diamond")])
def test_tables_mark_every_packaged_number_and_explain(format: Any, sign: str) -> None:
    text = tables.make([folder()], recipe="mini", format=format, published="none", selection=CHOSEN)
    numbers = 2 * (1 + 1 + 8)  # of two backbones: a depth, a mean rank and the ranks' eight domains
    assert text.count(sign) == numbers + text.count(NOTE) and NOTE in text


def test_the_page_says_it_of_every_number_and_of_every_run() -> None:
    page = tables.make([folder()], recipe="mini", format=report.page, published="none", selection=CHOSEN)
    runs = [file for file in read_all([folder()], "mini")[0] if CHOSEN.results([file])]
    assert page.count("◇") >= 20 and page.count(f" · {NOTE}") == len(runs)


def test_results_of_ones_own_have_no_such_mark(tmp_path: Path, result_of: Any) -> None:
    write(ResultPaths(tmp_path, "paper", "nyuv2-depth", "a", 0), result_of(), {"index": [0.0], "delta1": [1.0]})
    assert "◇" not in tables.make([tmp_path], published="none")
