"""Names of ImageNet's images and classes in the different distributions."""

from __future__ import annotations

import re

# WordNet id of a class: n and eight digits.
_WNID = re.compile(r"(?<![0-9A-Za-z])n\d{8}(?!\d)")
# An image's name in the official archives, without ending; other distributions put more before or behind it.
_OFFICIAL = re.compile(r"n\d{8}_\d+|ILSVRC2012_(?:val|test)_\d{8}")


def wnid_in(name: str) -> str | None:
    """The only class that a name such as n01440764_10026_n01440764.JPEG contains; None if there is none, or two."""
    found = set(_WNID.findall(name))
    return found.pop() if len(found) == 1 else None


def official_name(name: str) -> str:
    """The image's name in the official archives, where `name` contains it; otherwise its last part."""
    last = name.rpartition("/")[2]
    match = _OFFICIAL.search(last)
    return f"{match[0]}.JPEG" if match else last
