"""One function escapes: whatever a text holds, a parser gets it back as text."""

import random
from html.parser import HTMLParser

import pytest

from croco_bench.report.markup import Markup, element, escape, join, link, table, with_links


class Reader(HTMLParser):
    """What a browser would make of some markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_any_text_comes_back_from_content_and_attribute() -> None:
    rng = random.Random(0)
    letters = "<>&\"'`=/!-[]{}(); \n\tab\u00e9\u4e2d\U0001f40a"
    for _ in range(500):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(12)))
        read = Reader(element("p", text, title=text))
        assert read.tags == [("p", [("title", text)])]
        assert read.text == text


@pytest.mark.parametrize("letter", ["\x00", "\x1b", "\x7f", "\ud800", "\u202e", "\u2066"])
def test_characters_that_no_text_needs_are_replaced(letter: str) -> None:
    assert escape(f"a{letter}b") == "a\ufffdb"


def test_markup_is_not_escaped_twice_and_its_sum_with_text_is_text() -> None:
    inner = element("b", "1 < 2")
    assert element("p", inner, " & ") == "<p><b>1 &lt; 2</b> &amp; </p>"
    assert not isinstance(inner + "<i>", Markup)  # so that it is escaped when it is used
    assert join(["<", inner], "&") == f"&lt;&amp;{inner}"


def test_attributes_that_are_off_are_left_out_and_zero_is_not() -> None:
    assert element("td", tabindex=0, hidden=False, title=None, class_="x", data_task="t") == (
        '<td tabindex="0" class="x" data-task="t">'
    )
    assert element("input", checked=True) == "<input checked>"


def test_ends_that_html_implies_are_left_out() -> None:
    assert element("ul", element("li", "a"), element("li", element("b", "b"))) == "<ul><li>a<li><b>b</b></ul>"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "//host", "file:///x"]
)
def test_only_web_addresses_become_links(url: str) -> None:
    assert Reader(link(url, "text")).tags == []
    assert Reader(with_links(f"see {url} there")).tags == []


def test_addresses_in_a_text_become_links_without_the_full_stop() -> None:
    read = Reader(with_links('at https://example.org/a?b=1&c="2". Then <b>'))
    assert [tag for tag, _ in read.tags] == ["a"]
    assert ("href", 'https://example.org/a?b=1&c="2"') in read.tags[0][1]
    assert read.text == 'at https://example.org/a?b=1&c="2". Then <b>'


def test_tables_take_words_and_cells() -> None:
    read = Reader(table(["<h>"], [["<a>", element("td", "b", data_value=1)]]))
    assert [tag for tag, _ in read.tags] == ["table", "thead", "tr", "th", "tbody", "tr", "td", "td"]
    assert read.text == "<h><a>b"
