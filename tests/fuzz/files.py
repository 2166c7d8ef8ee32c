"""Targets: files of images, flow, disparity, arrays, HDF5."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from croco_bench.data.formats import disparity, flow
from croco_bench.data.formats.images import read_any, read_gray, read_pillow, read_rgb
from croco_bench.types import Array
from tests.fuzz.target import Target, of_file


def _smooth(*shape: int) -> Array:
    rows = np.linspace(0, 3, shape[0])[:, None]
    columns = np.linspace(0, 5, shape[1])[None]
    grid = np.sin(rows + columns) * 90 + 120
    return np.dstack([grid + 10 * channel for channel in range(shape[2])]) if len(shape) > 2 else grid


def encoded(suffix: str, image: Array) -> bytes:
    """An image file."""
    return cv2.imencode(suffix, image)[1].tobytes()


def pillow_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image file that Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_differs(before: bytes, after: bytes) -> bool:
    """Whether a damage of a PNG touches what its checksums cover: all but what follows its end; false of other files."""
    return before.startswith(b"\x89PNG") and after[: len(before)] != before


def images() -> list[Target]:
    """Readers of images."""
    color, gray = _smooth(24, 32, 3).astype(np.uint8), _smooth(24, 32).astype(np.uint8)
    deep = (_smooth(24, 32) * 200).astype(np.uint16)
    palette = Image.fromarray(gray).convert("P")
    pngs = {"rgb": encoded(".png", color), "gray": encoded(".png", gray), "gray16": encoded(".png", deep)}
    pngs |= {"palette": pillow_bytes(palette, "PNG"), "interlaced": pillow_bytes(Image.fromarray(color), "PNG")}
    others = {name: encoded(f".{name}", color) for name in ("jpg", "bmp", "ppm", "tiff", "webp")}
    others |= {
        "progressive.jpg": pillow_bytes(Image.fromarray(color), "JPEG", progressive=True),
        "cmyk.jpg": pillow_bytes(Image.fromarray(color).convert("CMYK"), "JPEG"),
        "gif": pillow_bytes(palette, "GIF"),
    }
    readers: dict[str, Callable[[Path], object]] = {
        "rgb": read_rgb,
        "any": read_any,
        "pillow": read_pillow,
    }
    found = [
        of_file(f"{reader} {name}.png", "images", content, read, knowable=png_differs, file=f"{name}.png")
        for name, content in pngs.items()
        for reader, read in readers.items()
    ]
    found += [
        of_file(f"{reader} {name}", "images", content, read, file=f"image.{name}")
        for name, content in others.items()
        for reader, read in readers.items()
    ]
    grays = (("gray", np.uint8), ("gray16", np.uint16), ("palette", np.uint8))
    return found + [
        of_file(
            f"gray {name}.png",
            "images",
            pngs[name],
            partial(read_gray, kind=kind),
            knowable=png_differs,
            file=f"{name}.png",
        )
        for name, kind in grays
    ]


def arrays() -> list[Target]:
    """Readers of flow and disparity."""
    field = np.dstack([_smooth(12, 16), -_smooth(12, 16)]).astype(np.float32)
    positive = _smooth(12, 16).astype(np.float32)
    pairs: list[tuple[str, Callable[[Path, Array], object], Callable[[Path], object], Array]] = [
        ("x.flo", flow.write_flo, flow.read_flo, field),
        ("flow.pfm", flow.write_pfm_flow, flow.read_pfm_flow, field),
        ("kitti.png", flow.write_kitti_flow, flow.read_kitti_flow, field),
        ("x.flo5", flow.write_flo5, flow.read_flo5, field),
        ("kitti_disparity.png", disparity.write_kitti_disparity, disparity.read_kitti_disparity, positive),
        ("crestereo.png", disparity.write_crestereo_disparity, disparity.read_crestereo_disparity, positive),
        ("disparity.pfm", disparity.write_pfm_disparity, disparity.read_pfm_disparity, positive),
        ("x.dsp5", disparity.write_dsp5, disparity.read_dsp5, positive),
        ("disparity.npy", disparity.write_npy_disparity, disparity.read_npy_disparity, positive),
    ]
    found = []
    for name, write, read, values in pairs:
        content = _content(name, write, values)
        found.append(of_file(name, "flow, disparity, npy, HDF5", content, read, knowable=png_differs))
    stream = io.BytesIO()
    np.save(stream, field)
    return [*found, of_file("flow.npy", "flow, disparity, npy, HDF5", stream.getvalue(), flow.read_npy_flow)]


def _content(name: str, write: Callable[[Path, Array], object], values: Array) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, values)
        return path.read_bytes()
