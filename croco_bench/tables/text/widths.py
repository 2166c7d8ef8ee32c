"""Words in a limited width, and columns in blocks that fit it. Widths are in letters of a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from rich.cells import cell_len, chop_cells

# A word may break after one of these, between digits after none: `taskonomy-|normals`, `vit_base_patch16.|openai`, `0.65`.
_PIECES = re.compile(r".+?(?:[-_/:=@,](?=[^\d])|[-_/:=@](?=\d)|\.(?=\D)|$)")


def pieces(word: str) -> list[str]:
    """The parts of a word between which it may break; an address stays whole, so that it can be opened."""
    return [word] if _is_address(word) else _PIECES.findall(word)


def _is_address(word: str) -> bool:
    return "://" in word


def longest_piece(text: str) -> int:
    """The narrowest width in which a text needs no break inside a piece."""
    return max((cell_len(piece) for word in text.split() for piece in pieces(word)), default=0)


def wrapped(text: str, width: int, *, inside_words: bool = True) -> list[str]:
    """Lines of at most `width`: broken at spaces, where a word is too long inside it, and if need be anywhere.

    An address may be longer.
    """
    lines = [""]
    for word in text.split():
        fitting = cell_len(word) <= width
        parts = [word] if fitting or not inside_words else pieces(word)
        for index, part in enumerate(parts):
            gap = " " if index == 0 and lines[-1] else ""
            if cell_len(lines[-1] + gap + part) <= width:
                lines[-1] += gap + part
                continue
            lines += [part] if _is_address(part) else chop_cells(part, width)
    return lines[1:] if not lines[0] and len(lines) > 1 else lines


def packed(widths: Sequence[int], keys: Sequence[str], limit: int) -> list[list[int]]:
    """Indices of columns in as few blocks of at most `limit` as they need, about equally wide.

    Neighbours with one key stay together where they fit a block. A column wider than `limit` is a block of its own.
    """
    parts = _inseparable(widths, keys, limit)
    fewest = len(_filled(parts, widths, limit))
    even = next(width for width in range(limit + 1) if len(_filled(parts, widths, width)) <= fewest)
    return _filled(parts, widths, even)


def _inseparable(widths: Sequence[int], keys: Sequence[str], limit: int) -> list[list[int]]:
    parts: list[list[int]] = []
    for _, group in groupby(range(len(widths)), key=lambda index: keys[index] or str(index)):
        columns = list(group)
        whole = sum(widths[index] for index in columns) <= limit
        parts += [columns] if whole else [[index] for index in columns]
    return parts


def _filled(parts: Sequence[list[int]], widths: Sequence[int], limit: int) -> list[list[int]]:
    """Parts one after another in blocks; a new one where the next part is too wide for the rest of its block."""
    blocks: list[list[int]] = []
    room = 0
    for part in parts:
        needed = sum(widths[index] for index in part)
        if not blocks or needed > room:
            blocks.append([])
            room = limit
        blocks[-1] += part
        room -= needed
    return blocks
