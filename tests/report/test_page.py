"""The page of all results."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from croco_bench import report, tables
from croco_bench.records.store import ResultPaths, write


@pytest.fixture
def results(tmp_path: Path, result_of: Any) -> Path:
    """Results of `a` and of `f_&_<b>`."""
    for model, value in (("a", 80.0), ("f_&_<b>", 60.0)):
        result = result_of(model__name=model, metrics__delta1__value=value)
        write(ResultPaths(tmp_path, "paper", "nyuv2-depth", model, 0), result, {"index": [0.0], "delta1": [1.0]})
    return tmp_path


class _Balance(HTMLParser):
    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name == "src"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_whole_self_contained_and_escaped(results: Path) -> None:
    sheet = ResultPaths(results, "paper", "nyuv2-depth", "a", 0).sheet
    sheet.parent.mkdir()
    sheet.write_bytes(b"\x89PNG picture")
    text = tables.make([results], format=report.page)
    parser = _Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.addresses and all(address.startswith("data:image/png;base64,") for address in parser.addresses)
    assert "<b>:" not in text and "f_&amp;_&lt;b&gt;" in text
    assert "one &lt;thing&gt; &amp; another" in text
