"""Decodes JPEG by Pillow, and notices where the data end too early: libjpeg only warns of that, which nobody passes on."""

from __future__ import annotations

import io
import struct

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from croco_bench.data.formats.integrity import JPEG, DamagedError, JpegLayout, jpeg_layout
from croco_bench.limits import ARRAY

_EXIF, _START_OF_SCAN = 0xE1, 0xDA
# libjpeg reads up to 8 bytes ahead. With these bytes after the data of a scan, it decodes all of a sound one before the marker.
_AHEAD = bytes(16)
# Data of a scan that may be left over: encoders fill up their last bytes, and some files have a few more.
_LEFT_OVER = 64
# Zeros that encoders don't write, except for large areas of one color; a lost block of a disk has 4096.
_HOLE = bytes(512)


def decode_jpeg(content: bytes) -> Image.Image:
    """The image in the bytes of a JPEG: pixels as stored, EXIF data unread.

    Raises:
        ValueError: it is damaged or too large; the text says why.
    """
    plain = without_exif(content)
    layout = jpeg_layout(plain)
    header = layout.header
    if reason := ARRAY.exceeded(header.bytes):
        raise ValueError(f"{header.width}x{header.height} pixels: {reason}")
    stream = _Watched(plain, layout)
    try:
        # Image.open would compare the size with Pillow's own limit, and look for the other images of a stereo camera's file.
        image = JpegImageFile(stream)
        stream.watch(image)
        image.load()
    except (OSError, SyntaxError, EOFError, struct.error, LookupError, TypeError, ValueError) as error:
        raise DamagedError(str(error)) from error
    stream.check()
    return image


def without_exif(content: bytes) -> bytes:
    """A JPEG without its EXIF segments, which Pillow reads, and warns about where they are broken."""
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == JPEG[2] and content[at + 1] != _START_OF_SCAN:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] != _EXIF:
            kept.append(content[at:end])
        at = end
    return b"".join(kept) + content[at:]


class _Watched(io.BytesIO):
    """A JPEG as a file. Notes whether the last row is there shortly before the end of the data of its scan, and at this end.

    libjpeg never fails for want of data: after the end of a scan it goes on with gray. A scan whose data were damaged ends too
    early or too late, as its code words have no fixed length. Progressive files are decoded when all scans are read, so
    nothing is noted for them.
    """

    def __init__(self, content: bytes, layout: JpegLayout) -> None:
        self._image: Image.Image | None = None
        self._stops: list[int] = []
        self._complete: list[bool] = []
        self._has_hole, self._is_sequential = False, layout.scan is not None
        if layout.scan is not None:
            start, end = layout.scan
            content = content[:end] + _AHEAD + content[end:]
            self._stops = [max(end - _LEFT_OVER, start), end + len(_AHEAD)]
            self._has_hole = content.find(_HOLE, start, end) >= 0
        super().__init__(content)

    def watch(self, image: Image.Image) -> None:
        """From here on reads are for the pixels of `image`."""
        self._image = image

    def read(self, size: int | None = -1, /) -> bytes:
        """At most up to the next stop, so that the decoder has decoded all before it when it asks again."""
        at = self.tell()
        if self._image is not None and self._stops and at >= self._stops[0]:
            self._stops.pop(0)
            self._complete.append(_has_last_row(self._image))
        if self._image is not None and self._stops and size is not None and size >= 0:
            size = min(size, self._stops[0] - at)
        return super().read(size)

    def check(self) -> None:
        """Refuses what the decoder has told.

        Raises:
            DamagedError: the data ended before the last row; or, with zeros in them, long after it.
        """
        if self._image is None or not self._is_sequential:
            return
        # The decoder asks for no more once it has all rows.
        early, complete = (*self._complete, True, True)[:2]
        if not complete and _has_last_row(self._image):
            raise DamagedError("its data end before its last row")
        # Without zeros: some cameras write more rows than the header says, and files of ImageNet have data left over.
        if early and self._has_hole:
            raise DamagedError("a part of its data was overwritten with zeros")


def _has_last_row(image: Image.Image) -> bool:
    """Whether the last row isn't black, as rows are before they are decoded."""
    last = (0, image.height - 1, image.width, image.height)
    return image.im.crop(last).getbbox() is not None
