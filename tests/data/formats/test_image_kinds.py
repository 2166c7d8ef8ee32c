"""Images of every mode are read as they are stored: no orientation, no palette's colors, no warning."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from croco_bench.data.datasets.ade20k import ADE20KReader
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.images import decode_pillow, read_any, read_gray, read_pillow, read_rgb
from croco_bench.data.formats.layout import file_names, is_litter, subfolders
from croco_bench.errors import DataError

SMOOTH = np.stack(np.meshgrid(np.arange(0, 240, 10), np.arange(0, 160, 10)), axis=2).astype(np.uint8)
COLOR = np.dstack([SMOOTH, 255 - SMOOTH[:, :, 0]])


def oriented(orientation: int) -> bytes:
    """A JPEG of COLOR that says it should be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(COLOR).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


def broken_exif() -> bytes:
    """A JPEG with the resolution of a camera in EXIF data that end too early."""
    whole = oriented(1)
    at = whole.index(b"Exif\0\0") + 6
    tags = (
        b"MM\0*\0\0\0\x08\0\x02" + b"\x01\x1a\0\x05\0\0\0\x01\0\0\xff\xf0" + b"\x01\x0f\0\x02\0\0\xff\xf0\0\0\xff\xf0"
    )
    length = int.from_bytes(whole[at - 8 : at - 6], "big") - 8
    body = whole[:at] + tags[:length].ljust(length, b"\0") + whole[at + length :]
    return body.replace(b"\x01\x01\0\x01\0\x01\0\0", b"\x01\x00\0\x01\0\x01\0\0", 1)  # so that resolution is asked for


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_nothing(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(oriented(orientation))
    for image in (read_rgb(path), read_any(path), np.array(read_pillow(path))):
        assert image.shape == COLOR.shape
        assert np.abs(image.astype(int) - COLOR).mean() < 3


def test_a_photograph_stays_in_step_with_its_annotation(tiny_data: Path, tmp_path: Path) -> None:
    before = ADE20KReader(tiny_data / "ade20k", "train")[0]
    base = tmp_path / "ade20k"
    for kind, ending in (("images", "jpg"), ("annotations", "png")):
        (base / kind / "training").mkdir(parents=True)
        source = next((tiny_data / "ade20k").rglob(f"{kind}/training/{before['id']}.{ending}"))
        (base / kind / "training" / source.name).write_bytes(source.read_bytes())
    photograph = next((base / "images/training").iterdir())
    segment = oriented(6)
    at = segment.index(b"\xff\xe1")
    segment = segment[at : at + 2 + int.from_bytes(segment[at + 2 : at + 4], "big")]
    content = photograph.read_bytes()
    photograph.write_bytes(content[:2] + segment + content[2:])
    assert Image.open(photograph).getexif()[0x0112] == 6
    for name in (".DS_Store", f"._{photograph.name}", "Thumbs.db"):
        (photograph.parent / name).write_bytes(b"litter")
    reader = ADE20KReader(base, "train")
    assert len(reader) == 1
    assert np.array_equal(reader[0]["image"], before["image"])
    assert np.array_equal(reader[0]["label"], before["label"])


def test_broken_exif_is_of_no_concern(tmp_path: Path) -> None:
    content = broken_exif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Truncated File Read"):
            Image.open(io.BytesIO(content)).getexif()
        image = decode_pillow(content)
    assert np.array_equal(np.array(image), np.array(decode_pillow(oriented(1))))


def test_imagenet_counts_no_litter(tiny_data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("n1", "n2"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "a.JPEG").write_bytes(broken_exif())
            (tmp_path / split / name / "._a.JPEG").write_bytes(b"Mac OS X")
        (tmp_path / split / "__MACOSX").mkdir()
    reader = open_split(tmp_path, "train")
    assert (len(reader), reader.classes) == (2, ["n1", "n2"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp"])
def test_every_mode_is_read_as_pillow_reads_it(tmp_path: Path, mode: str, ending: str) -> None:
    source = Image.fromarray(COLOR)
    image = Image.fromarray(SMOOTH[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else source.convert(mode)
    path = tmp_path / f"image.{ending}"
    try:
        image.save(path, lossless=True, quality=100)
    except (OSError, ValueError):
        image.convert("RGB").save(path)
    pillow = read_pillow(path)
    expected = SMOOTH[:, :, :1].repeat(3, axis=2) if pillow.mode == "I;16" else np.array(pillow.convert("RGB"))
    assert np.abs(read_rgb(path).astype(int) - expected).max() <= 4


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_gives_its_indices(tmp_path: Path, bits: int) -> None:
    ids = (np.arange(6 * 9).reshape(6, 9) % 2**bits).astype(np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "ids.png", bits=bits)
    assert np.array_equal(read_gray(tmp_path / "ids.png", np.uint8), ids)


def test_gray_with_transparency_is_gray_and_color_is_not(tmp_path: Path) -> None:
    gray = np.arange(54).reshape(6, 9).astype(np.uint8)
    Image.fromarray(np.dstack([gray, gray[::-1]]), "LA").save(tmp_path / "alpha.png")
    assert np.array_equal(read_gray(tmp_path / "alpha.png", np.uint8), gray)
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "color.png")
    with pytest.raises(DataError, match="should be a one-channel uint8 image, but is uint8 of shape"):
        read_gray(tmp_path / "color.png", np.uint8)


def test_what_is_no_image_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>404</html>")
    with pytest.raises(
        DataError, match=r"it begins with b'<html>404</h': its format, or its kind of pixels, isn't read"
    ):
        read_rgb(tmp_path / "page.png")
    cv2.imwrite(str(tmp_path / "floats.tiff"), np.ones((4, 4, 3), np.float32))  # sound, and of a known format
    with pytest.raises(DataError, match="its kind of pixels, isn't read, while those of PNG and JPEG are") as caught:
        read_rgb(tmp_path / "floats.tiff")
    assert "damaged" not in str(caught.value) and "known" not in str(caught.value)


def test_the_reason_of_an_unreadable_file_decides_the_advice(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    said = [str(unreadable(path, kind(5, "reason"))) for kind in (FileNotFoundError, PermissionError, OSError)]
    assert "unpack the rest" in said[0] and "permissions" in said[1] and "check the disk" in said[2]
    assert "permissions" not in said[0] and "permissions" not in said[2]


def test_what_operating_systems_leave_is_in_no_list(tmp_path: Path) -> None:
    for name in (".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "a.png"):
        (tmp_path / name).write_bytes(b"")
    for name in ("__MACOSX", "@eaDir", ".AppleDouble", "scene"):
        (tmp_path / name).mkdir()
    assert file_names(tmp_path, "", ".png", "") == ["a.png"]
    assert subfolders(tmp_path, "") == ["scene"]
    assert sorted(path.name for path in tmp_path.iterdir() if not is_litter(path.name)) == ["a.png", "scene"]
