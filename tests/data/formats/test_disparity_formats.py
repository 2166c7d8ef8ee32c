"""Formats of disparity: files are written byte by byte here, so that a reader isn't tested by its own writer."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from croco_bench.data.formats.disparity import (
    read_crestereo_disparity,
    read_dsp5,
    read_kitti_disparity,
    read_middlebury_disparity,
    read_npy_disparity,
    read_pfm_disparity,
    write_crestereo_disparity,
    write_dsp5,
    write_kitti_disparity,
    write_npy_disparity,
    write_pfm_disparity,
)
from croco_bench.errors import DataError
from croco_bench.types import Array


def png(numbers: Array, bits: int) -> bytes:
    """A grey PNG."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = numbers.shape
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pfm(values: Array) -> bytes:
    numbers = [number for row in reversed(values) for number in row.tolist()]
    return f"Pf\n{values.shape[1]} {values.shape[0]}\n-0.003922\n".encode() + struct.pack(f"<{len(numbers)}f", *numbers)


def npy(values: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def dsp5(values: Array, name: str = "disparity") -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file[name] = values
    return stream.getvalue()


def put(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


NUMBERS = np.array([[0, 1, 2], [255, 7, 0]])


@pytest.mark.parametrize(
    ("read", "bits", "steps"),
    [(read_kitti_disparity, 16, 256), (read_crestereo_disparity, 16, 32), (read_middlebury_disparity, 8, 1)],
)
def test_pngs_count_steps_and_0_is_unknown(read: Any, bits: int, steps: int, tmp_path: Path) -> None:
    numbers = NUMBERS * (257 if bits == 16 else 1)
    disparity, valid = read(put(tmp_path, png(numbers, bits)))
    assert disparity.dtype == np.float32 and valid.dtype == np.bool_
    np.testing.assert_array_equal(disparity, numbers / steps)
    np.testing.assert_array_equal(valid, numbers > 0)
    for wrong in (24 - bits, bits):
        content = png(numbers[:2] % 256, wrong)
        with pytest.raises(DataError, match=r"should be a one-channel uint|can't be decoded") as caught:
            read(put(tmp_path, content if wrong != bits else content[:-20]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", [np.inf, -np.inf, np.nan, 0.0, -1.5])
def test_floats_are_known_where_they_are_finite_and_above_0(mark: float, tmp_path: Path) -> None:
    values = np.array([[1.5, 2, 3], [4, 5, 1e-30]], np.float32)
    marked = values.copy()
    marked[0, 1] = mark
    for read, content in ((read_pfm_disparity, pfm(marked)), (read_npy_disparity, npy(marked))):
        disparity, valid = read(put(tmp_path, content))
        assert np.argwhere(~valid).tolist() == [[0, 1]] and disparity[0, 1] == 0
        np.testing.assert_array_equal(disparity[valid], values[valid])


def test_springs_disparity_may_be_0_but_not_nan(tmp_path: Path) -> None:
    disparity, valid = read_dsp5(put(tmp_path, dsp5(np.array([[0.0, np.nan], [2.5, np.inf]], np.float64))))
    assert disparity.dtype == np.float32
    assert disparity.tolist() == [[0, 0], [2.5, 0]] and valid.tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize(
    ("read", "write"),
    [
        (read_pfm_disparity, write_pfm_disparity),
        (read_dsp5, write_dsp5),
        (read_npy_disparity, write_npy_disparity),
    ],
)
def test_known_disparity_comes_back_bit_by_bit(read: Any, write: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    disparity = np.exp(rng.normal(0, 20, (21, 34))).astype(np.float32)
    valid = rng.random((21, 34)) < 0.7
    disparity[~valid] = np.nan
    path = tmp_path / "file"
    for mask in (valid, None):
        write(path, disparity, mask)
        again, known = read(path)
        np.testing.assert_array_equal(known, valid)
        np.testing.assert_array_equal(again[valid].view(np.uint32), disparity[valid].view(np.uint32))


@pytest.mark.parametrize(
    ("read", "write", "steps"),
    [(read_kitti_disparity, write_kitti_disparity, 256), (read_crestereo_disparity, write_crestereo_disparity, 32)],
)
def test_steps_are_rounded_to_the_nearest(read: Any, write: Any, steps: int, tmp_path: Path) -> None:
    disparity = np.random.default_rng(0).uniform(0.01, 65535 / steps, (40, 60)).astype(np.float32)
    disparity[0, 0] = 65535 / steps
    path = tmp_path / "file.png"
    write(path, disparity)
    again, valid = read(path)
    assert valid.all() and 0.9 / 2 < np.abs(again - disparity).max() * steps <= 0.5
    assert abs((again - disparity).mean()) * steps < 0.05
    # 0 stands for unknown, so that a known 0 becomes the least number.
    write(path, np.array([[0.0, 3.0, 4.0]]), np.array([[True, True, False]]))
    again, valid = read(path)
    assert again.tolist() == [[1 / steps, 3, 0]] and valid.tolist() == [[True, True, False]]
    with pytest.raises(
        DataError, match=rf"can't hold a disparity of {65536 // steps} pixels, only .*; mark it invalid"
    ):
        write(path, np.full((2, 3), 65536 / steps))
    write(path, np.full((2, 3), 1e6), np.zeros((2, 3), bool))
    assert not read(path)[1].any()


@pytest.mark.parametrize("write", [write_kitti_disparity, write_crestereo_disparity, write_pfm_disparity, write_dsp5])
def test_writers_refuse_what_isnt_disparity(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.png"
    cases: list[tuple[Array, Array | None, str]] = [
        (np.ones((2, 3, 1)), None, r"should be \(H, W\), not \(2, 3, 1\)"),
        (np.ones((0, 3)), None, r"should be \(H, W\), not \(0, 3\)"),
        (np.ones((2, 3)), np.ones((3, 2), bool), r"valid pixels are \(3, 2\), but disparity is \(2, 3\)"),
        (np.full((2, 3), np.nan), np.ones((2, 3), bool), "below 0 or not finite at 6 valid pixels"),
        (np.array([[1, -1]]), np.ones((1, 2), bool), "below 0 or not finite at 1 valid pixels"),
    ]
    for disparity, valid, words in cases:
        with pytest.raises(DataError, match=words) as caught:
            write(path, disparity, valid)
        assert "; " in str(caught.value) and str(path) in str(caught.value)
    assert not path.exists()
    with pytest.raises(DataError, match=r"none/file\.png can't be written \(.*\); free space"):
        write(tmp_path / "none" / "file.png", np.ones((2, 3)))


GOOD = np.ones((2, 3), np.float32)
BAD: dict[str, tuple[Any, bytes, str]] = {
    "pfm, three channels": (read_pfm_disparity, b"PF\n3 2\n-1\n" + bytes(72), "should have one channel, but has three"),
    "pfm, cut": (read_pfm_disparity, pfm(GOOD)[:-1], "has 40 bytes, but should have 41"),
    "pfm, other": (read_pfm_disparity, png(NUMBERS, 8), r"doesn't begin as a \.pfm file"),
    "dsp5, of flow": (read_dsp5, dsp5(GOOD, "flow"), "has no dataset 'disparity'"),
    "dsp5, two channels": (read_dsp5, dsp5(np.ones((2, 3, 2), np.float32)), r"should be floats \(H, W\), but"),
    "dsp5, whole numbers": (read_dsp5, dsp5(np.ones((2, 3), int)), r"should be floats \(H, W\), but is int64"),
    "dsp5, cut": (read_dsp5, dsp5(GOOD)[:500], "is truncated, damaged or no HDF5 file"),
    "npy, two channels": (read_npy_disparity, npy(np.ones((2, 3, 2))), r"should be floats \(H, W\), but"),
    "npy, whole numbers": (read_npy_disparity, npy(np.ones((2, 3), int)), r"should be floats \(H, W\), but"),
    "npy, a row": (read_npy_disparity, npy(np.ones(3)), r"of shape \(3,\)"),
    "npy, cut": (read_npy_disparity, npy(GOOD)[:-1], r"is truncated or no \.npy file"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_malformed_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    read, content, words = BAD[case]
    path = put(tmp_path, content)
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and "; " in str(caught.value)
    with pytest.raises(DataError, match="there is no readable"):
        read(tmp_path / "none")
