"""Finds damage in PNG and JPEG files by what the formats themselves say: lengths, checksums, markers. Decodes no pixel."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Bytes of a pixel's channel, and channels by the color type of a PNG.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Markers of JPEG: start and end of the image, start of a scan, restart interval, markers without a length.
_END, _SCAN, _RESTART_INTERVAL, _BARE = 0xD9, 0xDA, 0xDD, {0x01, 0xD8, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
# What may stand between the scans: tables, restart intervals, numbers of lines, application data, comments.
_BETWEEN = {0xC4, 0xCC, 0xDB, _RESTART_INTERVAL, 0xDC, _SCAN, 0xFE, *range(0xE0, 0xF0)}
# 0xFF may be repeated before a marker.
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)


# Bytes that are searched at once.
_BLOCK = 2**18


class DamagedError(ValueError):
    """A file contradicts itself; the text says where."""


@dataclass(frozen=True)
class Header:
    """Size (H, W) of an image, and the bytes of one decoded pixel."""

    height: int
    width: int
    pixel: int

    @property
    def bytes(self) -> int:
        """Bytes of the decoded image."""
        return self.height * self.width * self.pixel


@dataclass(frozen=True)
class JpegLayout:
    """Where the parts of a JPEG are.

    Attributes:
        header: its size.
        channels: 1, 3 or 4.
        scan: first byte, and byte after the last, of the only scan of a sequential JPEG; None for others.
    """

    header: Header
    channels: int
    scan: tuple[int, int] | None


def png_header(content: bytes) -> Header:
    """The size of a PNG.

    Raises:
        DamagedError: the header is cut off.
    """
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise DamagedError("its header is cut off")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    depth, kind = content[24], content[25]
    return Header(height, width, _PNG_CHANNELS.get(kind, 4) * (2 if depth == 16 else 1))


def check_png(content: bytes) -> None:
    """Compares the checksums of all chunks, up to the end chunk. Bytes after it are of no concern.

    Raises:
        DamagedError: a chunk is cut off or has another checksum, or there is no end.
    """
    at = len(PNG)
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(memoryview(content)[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise DamagedError(f"the checksum of the chunk at byte {at} is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise DamagedError("it ends before its end chunk")


def jpeg_layout(content: bytes) -> JpegLayout:
    """Walks over all segments and scans of a JPEG, up to the end marker. Bytes after it are of no concern.

    Raises:
        DamagedError: there is no end marker, or a marker where none belongs.
    """
    at, frame, interval = 2, b"", 0
    scans: list[tuple[int, int]] = []
    sequential = False
    while (marker := _MARKER.search(content, at)) is not None:
        kind, at = marker[1][0], marker.end()
        if kind == _END and scans:
            return _layout(frame, scans, sequential)
        if kind in _BARE and not scans:
            continue
        if scans and kind not in _BETWEEN:
            raise DamagedError(f"there is a marker {kind:#x} in its data, at byte {marker.start()}")
        length = int.from_bytes(content[at : at + 2], "big")
        segment, at = content[at + 2 : at + length], at + max(length, 2)
        if kind in _FRAMES:
            frame, sequential = segment, kind in _SEQUENTIAL
        elif kind == _RESTART_INTERVAL:
            interval = int.from_bytes(segment[:2], "big")
        elif kind == _SCAN:
            scans.append((at, _end_of_scan(content, at, interval)))
            at = scans[-1][1]
    raise DamagedError("it ends before its end marker")


def _end_of_scan(content: bytes, start: int, interval: int) -> int:
    """The byte after the data of a scan, whose restart markers count from 0 to 7 and again."""
    expected = 0
    for at in _markers(content, start):
        kind = content[at + 1]
        if not 0xD0 <= kind < 0xD8:
            return at
        if not interval or kind != 0xD0 + expected:
            raise DamagedError(f"a part of its data is missing before byte {at}")
        expected = (expected + 1) % 8
    raise DamagedError("it ends before its end marker")


def _markers(content: bytes, start: int) -> Iterator[int]:
    """Positions from `start` on of 0xFF and another byte that isn't 0: in a scan, 0xFF is followed by 0 where it is data."""
    for first in range(start, len(content), _BLOCK):
        block = np.frombuffer(content, np.uint8, min(_BLOCK + 1, len(content) - first), first)
        at = np.flatnonzero(block[:-1] == 0xFF)
        following = block[at + 1]
        yield from (at[(following != 0) & (following != 0xFF)] + first).tolist()


def _layout(frame: bytes, scans: list[tuple[int, int]], sequential: bool) -> JpegLayout:
    if len(frame) < 6:
        raise DamagedError("its header is cut off")
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (1, 3))
    return JpegLayout(Header(height, width, frame[5]), frame[5], scans[0] if sequential and len(scans) == 1 else None)
