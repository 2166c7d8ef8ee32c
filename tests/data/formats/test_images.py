"""Images are written as they are read: channels in RGB order, 8 or 16 bits."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench.data.formats.images import read_any, read_gray, read_rgb, write_image
from croco_bench.errors import DataError

COLOR = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def test_lossless_images_come_back(tmp_path: Path) -> None:
    for suffix in ("png", "ppm"):
        write_image(tmp_path / f"color.{suffix}", COLOR)
        assert np.array_equal(read_rgb(tmp_path / f"color.{suffix}"), COLOR)
    for image in (COLOR.astype(np.uint16) * 257, COLOR[:, :, 0], COLOR[:, :, 0].astype(np.uint16) * 257):
        write_image(tmp_path / "any.png", image)
        assert (
            np.array_equal(read_any(tmp_path / "any.png"), image)
            and read_any(tmp_path / "any.png").dtype == image.dtype
        )
    assert np.array_equal(read_gray(tmp_path / "any.png", np.uint16), image)


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "ppm"])
def test_files_are_those_of_opencv(suffix: str, tmp_path: Path) -> None:
    write_image(tmp_path / f"ours.{suffix}", COLOR)
    assert cv2.imwrite(str(tmp_path / f"theirs.{suffix}"), COLOR[:, :, ::-1])
    assert (tmp_path / f"ours.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()


def test_quality_and_compression_change_the_size(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    path = tmp_path / "image.jpg"
    write_image(path, smooth)
    fine = path.stat().st_size
    write_image(path, smooth, jpeg_quality=20)
    assert path.stat().st_size < fine
    write_image(path.with_suffix(".png"), smooth, png_compression=0)
    assert path.with_suffix(".png").stat().st_size > smooth.nbytes
    write_image(path.with_suffix(".png"), smooth, png_compression=9)
    assert path.with_suffix(".png").stat().st_size < smooth.nbytes


def test_an_image_that_cant_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none/image\.png can't be written \(No such file or directory\); free space"
    ) as caught:
        write_image(tmp_path / "none/image.png", COLOR)
    assert "\n" not in str(caught.value)
