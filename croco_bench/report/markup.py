"""HTML and SVG from elements. Every string is escaped by `escape`, unless it is markup that was built here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape as escape_characters

from croco_bench.display import printable

_VOID = frozenset({"br", "col", "img", "input", "link", "meta"})
# HTML implies their ends: a sixth of the bytes of a page of many runs.
_IMPLIED_END = frozenset({"dd", "dt", "li", "tbody", "td", "th", "thead", "tr"})

Attribute = str | int | float | bool | None


class Markup(str):
    """Text of a page in which everything is escaped."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Text that a browser shows as it is, between tags and in attributes; markup stays as it is."""
    if isinstance(text, Markup):
        return text
    return Markup(escape_characters(printable(text), quote=True))


def escape_content(text: str) -> Markup:
    """Text between tags only, where quotation marks need no entity: a third of the bytes of a page of settings."""
    return Markup(escape_characters(printable(text), quote=False))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Parts one after the other, each escaped."""
    return Markup(escape(between).join(escape(part) for part in parts))


def element(name: str, /, *children: str, **attributes: Attribute) -> Markup:
    """`<name attributes>children</name>`, without the end of those elements whose end HTML implies.

    Args:
        name: of the element.
        children: escaped.
        attributes: None and False are left out, True stands without a value; `class_` is `class`, `data_task` `data-task`.
    """
    # By identity: 0 equals False, but `tabindex="0"` stays.
    kept = {key: value for key, value in attributes.items() if value is not None and value is not False}
    words = [name, *(_attribute(key, value) for key, value in kept.items())]
    start = f"<{' '.join(words)}>"
    if name in _VOID:
        return Markup(start)
    return Markup(f"{start}{join(children)}{'' if name in _IMPLIED_END else f'</{name}>'}")


def link(url: str, *children: str) -> Markup:
    """A link to another page; only the text if the address is of another kind than https or http."""
    if not re.match(r"https?://", url):
        return join(children)
    return element("a", *children, href=url, rel="noopener noreferrer")


@lru_cache(maxsize=1024)
def with_links(text: str) -> Markup:
    """Text with its web addresses made into links."""
    words = []
    for word in text.split(" "):
        bare = word.rstrip(".;,)")
        words.append(join([link(bare, bare), word[len(bare) :]]))
    return join(words, " ")


def table(heads: Iterable[str], lines: Iterable[Iterable[str]], **attributes: Attribute) -> Markup:
    """A table of words and numbers: cells that are `td` elements already are taken as they are."""
    head = element("tr", *(element("th", text) for text in heads))
    rows = [element("tr", *(_cell(item) for item in line)) for line in lines]
    return element("table", element("thead", head), element("tbody", *rows), **attributes)


def _cell(item: str) -> Markup:
    if isinstance(item, Markup) and item.startswith("<td"):
        return item
    return element("td", item)


def _attribute(key: str, value: Attribute) -> str:
    name = key.removesuffix("_").replace("_", "-")
    return name if value is True else f'{name}="{escape(str(value))}"'
