"""Contact sheets in a page: small ones inside it and, on request, whole ones beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from croco_bench.data.formats.images import decode_pillow
from croco_bench.files import atomic, parse_json
from croco_bench.records.store import ResultFile
from croco_bench.report.anchors import Anchors
from croco_bench.report.markup import Markup, element

# Bytes that all pictures of a page may take together, before base64 makes them a third larger.
_BUDGET = 1_000_000
# Widths in pixels, of which the first that fits is taken.
_WIDTHS = (800, 640, 480, 360, 240)
_QUALITY = 70


@dataclass(frozen=True)
class Pictures:
    """How pictures come into the page.

    Attributes:
        share: bytes for each picture.
        folder: where whole sheets are copied to, beside the page; None if they aren't.
    """

    share: int
    folder: Path | None = None

    @classmethod
    def of(cls, files: Sequence[ResultFile], folder: Path | None = None) -> Pictures:
        """For the pictures of some runs; makes the folder if there is one."""
        count = sum(file.paths.sheet.is_file() for file in files)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return cls(_BUDGET // max(count, 1), folder)

    def figure(self, file: ResultFile, anchors: Anchors) -> Markup:
        """A run's contact sheet, which leads to the whole one where that is beside the page; nothing if there is none."""
        sheet = file.paths.sheet
        if not sheet.is_file():
            return Markup()
        try:
            opened = decode_pillow(sheet.read_bytes())
        except (OSError, ValueError):
            return element("p", f"The contact sheet {sheet.name} can't be read as a picture.", class_="facts")
        picture, rows = opened.convert("RGB"), str(opened.info.get("rows", ""))
        image = element(
            "img",
            alt=f"Predictions of {file.result.model.name} on {file.result.task.name}, image by image",
            loading="lazy",
            width=picture.width,
            height=picture.height,
            src=f"data:image/webp;base64,{base64.b64encode(_small(picture, self.share)).decode()}",
            data_rows=rows if _is_list(rows) else None,
        )
        caption = self._whole(sheet, anchors[file.paths.json])
        return element("figure", image, caption, class_="sheet")

    def _whole(self, sheet: Path, anchor: str) -> Markup:
        """A link to the whole sheet, which is copied."""
        if self.folder is None:
            return Markup()
        target = self.folder / f"{anchor}.png"
        with atomic(target) as temporary:
            temporary.write_bytes(sheet.read_bytes())
        text = element("a", "in full size", href=f"{self.folder.name}/{target.name}")
        return element("figcaption", text)


def _small(picture: Image.Image, share: int) -> bytes:
    """WebP, as wide as its share of bytes allows."""
    content = b""
    for width in _WIDTHS:
        if width > picture.width and width != _WIDTHS[-1]:
            continue
        size = (width, max(1, round(picture.height * width / picture.width)))
        stream = io.BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(stream, "WEBP", quality=_QUALITY, method=4)
        content = stream.getvalue()
        if len(content) <= share:
            break
    return content


def _is_list(text: str) -> bool:
    try:
        return isinstance(parse_json(text), list)
    except ValueError:
        return False
