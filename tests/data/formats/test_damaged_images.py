"""Damaged images are refused by every reader, and sound ones by none."""

import io
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from croco_bench.data.formats.images import read_any, read_gray, read_pillow, read_rgb
from croco_bench.errors import DataError, UsageError

HEIGHT, WIDTH = 240, 320
Reader = Callable[[Path], Any]
READERS: list[Reader] = [read_rgb, read_any, read_pillow]


def picture() -> Image.Image:
    """Smooth colors with noise, as a photograph has."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 20, HEIGHT))[:, None] + np.cos(np.linspace(0, 9, WIDTH))
    noise = rng.normal(0, 9, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(128 + 50 * waves[:, :, None] + noise, 0, 255).astype(np.uint8))


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or picture()).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return len(content).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")


def refusal(path: Path, content: bytes, reader: Reader) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        reader(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.9])
def test_a_png_that_ends_in_zeros_is_refused(reader: Reader, share: float, tmp_path: Path) -> None:
    whole = encoded("PNG")
    keep = int(share * len(whole))
    assert "truncated or damaged: " in refusal(tmp_path / "a.png", whole[:keep] + bytes(len(whole) - keep), reader)


@pytest.mark.parametrize("reader", [*READERS, lambda path: read_gray(path, np.uint16)])
def test_every_flipped_bit_of_a_png_is_noticed(reader: Reader, tmp_path: Path) -> None:
    small = Image.fromarray(np.arange(54, dtype=np.uint16).reshape(6, 9) * 999)
    whole = encoded("PNG", small)
    for at in range(len(whole)):
        content = bytearray(whole)
        content[at] ^= 1 << (at % 8)
        refusal(tmp_path / "a.png", bytes(content), reader)


@pytest.mark.parametrize("reader", READERS)
def test_a_png_without_end_chunk_is_refused(reader: Reader, tmp_path: Path) -> None:
    assert "ends before its end chunk" in refusal(tmp_path / "a.png", encoded("PNG")[:-12], reader)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"quality": 95}])
@pytest.mark.parametrize("reader", READERS)
def test_a_jpeg_with_a_lost_block_is_refused(reader: Reader, options: dict[str, Any], tmp_path: Path) -> None:
    whole, rng = encoded("JPEG", **{"quality": 85, **options}), random.Random(0)
    for _ in range(5):
        at = rng.randrange(700, len(whole) - 4200)
        text = refusal(tmp_path / "a.jpg", whole[:at] + bytes(4096) + whole[at + 4096 :], reader)
        assert "truncated or damaged: " in text


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_a_jpeg_without_end_is_refused(reader: Reader, progressive: bool, tmp_path: Path) -> None:
    whole = encoded("JPEG", progressive=progressive)
    for keep in (3, 30, 700, len(whole) // 2, len(whole) - 2):
        refusal(tmp_path / "a.jpg", whole[:keep], reader)


@pytest.mark.parametrize("reader", READERS)
def test_an_end_marker_alone_is_not_enough(reader: Reader, tmp_path: Path) -> None:
    whole = encoded("JPEG")
    text = refusal(tmp_path / "a.jpg", whole[: len(whole) // 2] + b"\xff\xd9", reader)
    assert "its data end before its last row" in text


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_restart_interval_is_noticed(reader: Reader, tmp_path: Path) -> None:
    whole = encoded("JPEG", restart_marker_rows=1)
    second, third = whole.index(b"\xff\xd1"), whole.index(b"\xff\xd2")
    text = refusal(tmp_path / "a.jpg", whole[:second] + whole[third:], reader)
    assert "a part of its data is missing" in text


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 9), (WIDTH, HEIGHT)])
def test_sound_jpegs_are_read(reader: Reader, mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    image = picture().crop((0, 0, *size)).convert(mode)
    path = tmp_path / "a.jpg"
    for quality in (5, 75, 100):
        for options in (
            {},
            {"optimize": True},
            {"progressive": True},
            {"subsampling": 0},
            {"restart_marker_blocks": 1},
        ):
            path.write_bytes(encoded("JPEG", image, quality=quality, **options))
            assert np.array(reader(path)).shape[:2] == size[::-1]


@pytest.mark.parametrize("color", [0, 128, 255])
@pytest.mark.parametrize("reader", READERS)
def test_large_areas_of_one_color_are_sound(reader: Reader, color: int, tmp_path: Path) -> None:
    path, flat = tmp_path / "a.jpg", Image.new("RGB", (900, 900), (color, color, color))
    for options in ({}, {"optimize": True}, {"progressive": True}):
        path.write_bytes(encoded("JPEG", flat, **options))
        assert (np.array(reader(path)) == color).all()


@pytest.mark.parametrize("reader", READERS)
def test_bytes_before_and_after_the_end_marker_are_of_no_concern(reader: Reader, tmp_path: Path) -> None:
    path, whole = tmp_path / "a.jpg", encoded("JPEG")
    path.write_bytes(whole)
    expected = np.array(reader(path))
    for content in (
        whole + b"\0" * 99,
        whole + whole,
        whole[:-2] + b"\x55" * 1483 + whole[-2:],
        whole[:-2] + b"\xff" + whole[-2:],
    ):
        path.write_bytes(content)
        assert np.array_equal(np.array(reader(path)), expected)
    png = encoded("PNG")
    path.write_bytes(png + b"more")  # a PNG named .jpg is a PNG
    assert np.array(reader(path)).shape == (HEIGHT, WIDTH, 3)


def test_both_decoders_give_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for options in ({"subsampling": 0}, {"subsampling": 2}, {"quality": 30}, {"progressive": True}):
        path.write_bytes(encoded("JPEG", **options))
        opencv = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        assert opencv is not None
        assert np.array_equal(read_rgb(path), opencv[:, :, ::-1])
        assert np.array_equal(read_rgb(path), np.array(read_pillow(path)))


def claims(kind: str) -> bytes:
    """An image of a few bytes that says it has 12,000 x 12,000 pixels or more."""
    if kind == "png":
        header = (20_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    if kind == "jpg":
        whole = encoded("JPEG")
        at = whole.index(b"\xff\xc0") + 5
        return whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]
    if kind == "ppm":
        return b"P6 12000 12000 255\n"
    return b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + (12_000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)


@pytest.mark.parametrize("kind", ["png", "jpg", "ppm", "bmp"])
@pytest.mark.parametrize("reader", READERS)
def test_sizes_are_checked_before_anything_is_decoded(reader: Reader, kind: str, tmp_path: Path) -> None:
    text = refusal(tmp_path / "a.png", claims(kind), reader)
    assert "pixels: that takes " in text and "CROCO_BENCH_MAX_ARRAY_MB allows 256" in text


def test_other_programs_formats_are_refused(tmp_path: Path) -> None:
    radiance = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 40000 +X 40000\n"
    for content in (radiance, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        for reader in READERS:
            assert "its format, or its kind of pixels, isn't read" in refusal(tmp_path / "a.png", content, reader)


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", Image.new("L", (1500, 1500))))
    monkeypatch.setenv("CROCO_BENCH_MAX_ARRAY_MB", "2")
    with pytest.raises(DataError, match="takes 3 MiB, and CROCO_BENCH_MAX_ARRAY_MB allows 2; set it higher"):
        read_rgb(path)
    monkeypatch.setenv("CROCO_BENCH_MAX_ARRAY_MB", "3")
    assert read_rgb(path).shape == (1500, 1500, 3)
    monkeypatch.setenv("CROCO_BENCH_MAX_ARRAY_MB", "lots")
    with pytest.raises(UsageError, match=r"CROCO_BENCH_MAX_ARRAY_MB is 'lots'; give MiB"):
        read_rgb(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO"])
@pytest.mark.parametrize("reader", READERS)
def test_pillows_own_limit_is_not_asked(
    reader: Reader, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "a.jpg").write_bytes(encoded(kind))
    expected = np.array(reader(path))
    for limit in (HEIGHT * WIDTH - 1, 100):  # Pillow warns above it, and refuses above twice as many pixels
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert np.array_equal(np.array(reader(path)), expected)
