"""Damaged content: strategies of bytes, texts, JSON and numbers that begin from a sound seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

DEEP = 100_000
# What stands in texts where a number or a name belongs.
ODD_WORDS = [
    *("", " ", "nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "0x10", "1_000", "½", "٣", "-0", "+5", "1.5", "1e5"),
    *("9" * 25, "9" * 5000, "true", "None", "..", "../../x", "/", "/dev/null", "a/b", ".", "a" * 300, "a" * 5000),
    *(
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\xed\xa0\x80",
        "\r",
        "é",
        "中",
        "[x]",
        "{}",
        "%s",
        ",",
    ),
]
_ODD_BYTES = [
    b"",
    b"\x00",
    b"\xff" * 4,
    b"\x00" * 64,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"PK\x03\x04",
    b"\x80\x04.",
    b"<html>",
    b"\n",
    b"\r\n",
]
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -(2**70), 10**400, 0.5, -0.0, 1e308, -1e308, 1e-320),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "x",
        "1",
        "nan",
        "../x",
        "/etc/passwd",
        "a" * 5000,
        "\x00",
        "\x1b[31m",
        "\ud800",
    ),
    *(
        "=1+1",
        "<script>",
        "\\input{x}",
        "%\n\\x",
        [],
        [[]],
        [None],
        [0],
        [1, 2, 3],
        ["x"],
        {},
        {"x": 1},
        {"": {}},
        [0.5] * 1000,
    ),
]


def damaged_bytes(seed: bytes) -> st.SearchStrategy[bytes]:
    """The seed with bits flipped, parts filled, cut off, left out, repeated or exchanged; rarely something else."""
    size = max(len(seed), 1)
    at = st.integers(0, size - 1)
    # Headers decide more than the content after them.
    early = st.integers(0, min(size - 1, 200))
    place = early | at
    return st.one_of(
        st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=4).map(lambda bits: _flipped(seed, bits)),
        st.tuples(place, st.integers(1, max(size // 2, 1)), st.sampled_from([0, 0xFF, 0x20, 0x80])).map(
            lambda part: _put(seed, part[0], bytes([part[2]]) * min(part[1], max(size - part[0], 0)))
        ),
        st.tuples(place, st.sampled_from(_numbers())).map(lambda part: _put(seed, *part)),
        place.map(lambda end: seed[:end]),
        st.tuples(place, place).map(lambda cut: seed[: min(cut)] + seed[max(cut) :]),
        st.tuples(place, place, place).map(
            lambda cut: seed[: cut[0]] + seed[min(cut[1:]) : max(cut[1:])] + seed[cut[0] :]
        ),
        st.tuples(place, st.binary(min_size=1, max_size=16)).map(lambda part: _put(seed, *part)),
        st.tuples(place, st.binary(min_size=1, max_size=16)).map(
            lambda part: seed[: part[0]] + part[1] + seed[part[0] :]
        ),
        st.sampled_from(_ODD_BYTES).map(lambda more: seed + more),
        st.sampled_from(_ODD_BYTES) | st.binary(max_size=64),
    )


def _numbers() -> list[bytes]:
    values = [0, 1, 2**7, 2**15, 2**16 - 1, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1]
    sized = [value.to_bytes(4, order) for value in values for order in ("little", "big")]
    return [*sized, *((2**power - 1).to_bytes(8, "little") for power in (33, 40, 63, 64))]


def _flipped(seed: bytes, bits: Sequence[tuple[int, int]]) -> bytes:
    content = bytearray(seed)
    for at, bit in bits:
        if at < len(content):
            content[at] ^= 1 << bit
    return bytes(content)


def _put(seed: bytes, at: int, part: bytes) -> bytes:
    return seed[:at] + part + seed[at + len(part) :]


def damaged_text(seed: str, between: str | None = None) -> st.SearchStrategy[bytes]:
    """Lines left out, repeated or exchanged, words replaced by odd ones, and damage of bytes.

    Args:
        seed: a text of lines.
        between: what stands between words; default: any space.
    """
    lines = seed.splitlines()
    where = st.tuples(st.integers(0, max(len(lines) - 1, 0)), st.integers(0, 20), st.sampled_from(ODD_WORDS))
    return st.one_of(
        st.lists(where, min_size=1, max_size=3).map(lambda changes: _reworded(lines, changes, between)),
        st.tuples(st.integers(0, len(lines)), st.integers(0, len(lines))).map(
            lambda cut: _joined(lines[: min(cut)] + lines[max(cut) :])
        ),
        st.integers(0, max(len(lines) - 1, 0)).map(lambda at: _joined(lines[: at + 1] + lines[at:])),
        st.sampled_from(["\r\n", "\r", " \n", "\n\n", "\x00\n", " "]).map(lambda end: end.join(lines).encode()),
        damaged_bytes(seed.encode()),
    )


def _reworded(lines: Sequence[str], changes: Sequence[tuple[int, int, str]], between: str | None) -> bytes:
    made = list(lines) or [""]
    for row, column, word in changes:
        words = made[row].split(between)
        if words:
            words[column % len(words)] = word
        made[row] = (between or " ").join(words or [word])
    return _joined(made)


def _joined(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def damaged_json(document: Any) -> st.SearchStrategy[bytes]:
    """One to three places of a document replaced by odd values, left out, or nested deeply; or damage of its text."""
    places = list(_places(document))
    change = st.tuples(
        st.sampled_from(places), st.sampled_from(["put"] * 6 + ["drop", "add", "deep"]), st.sampled_from(ODD_VALUES)
    )
    text = json.dumps(document, indent=1)
    return st.one_of(
        st.lists(change, min_size=1, max_size=3).map(lambda changes: _rewritten(document, changes)),
        st.lists(change, min_size=1, max_size=1).map(lambda changes: _rewritten(document, changes)),
        damaged_bytes(text.encode()),
        st.sampled_from(
            [b"[" * DEEP, b'{"a":' * DEEP, b"null", b"[]", b"{}", b"3", b'"x"', b"NaN", b"1e999", b"9" * 5000]
        ),
    )


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from _places(value, (*path, key))


def _rewritten(document: Any, changes: Sequence[tuple[tuple[Any, ...], str, Any]]) -> bytes:
    made = [copy.deepcopy(document)]  # so that the whole document has a place, too
    for path, how, value in changes:
        holder: Any = made
        keys: tuple[Any, ...] = (0, *path)
        try:
            for key in keys[:-1]:
                holder = holder[key]
            if how == "drop":
                del holder[keys[-1]]
            elif how == "add" and isinstance(holder[keys[-1]], dict):
                holder[keys[-1]]["odd"] = value
            else:
                holder[keys[-1]] = "@deep@" if how == "deep" else value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed the place
    text = json.dumps(made[0]) if made else ""
    return text.replace('"@deep@"', "[" * DEEP + "]" * DEEP).encode()
