"""Formats of flow: files are written byte by byte here, so that a reader isn't tested by its own writer."""

import io
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from croco_bench.data.formats.flow import (
    read_flo,
    read_flo5,
    read_kitti_flow,
    read_npy_flow,
    read_pfm,
    read_pfm_flow,
    write_flo,
    write_flo5,
    write_kitti_flow,
    write_pfm,
    write_pfm_flow,
)
from croco_bench.errors import DataError
from croco_bench.types import Array

# (H, W, 2) with H = 2, W = 3: u counts, v is its negative and a quarter.
FLOW = np.stack([np.arange(6.0), -np.arange(6.0) - 0.25], axis=-1).reshape(2, 3, 2).astype(np.float32)


def flo(flow: Array, width: int | None = None, height: int | None = None, magic: bytes = b"PIEH") -> bytes:
    size = (flow.shape[1] if width is None else width, flow.shape[0] if height is None else height)
    return magic + struct.pack("<ii", *size) + b"".join(struct.pack("<ff", u, v) for row in flow for u, v in row)


def pfm(values: Array, head: str | None = None, order: str = "<") -> bytes:
    kind, scale = "PF" if values.ndim == 3 else "Pf", "-1" if order == "<" else "1"
    numbers = [number for row in reversed(values) for number in row.ravel().tolist()]
    start = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{scale}\n" if head is None else head
    return start.encode() + struct.pack(f"{order}{len(numbers)}f", *numbers)


def png(numbers: Array, bits: int = 16) -> bytes:
    """A PNG of (H, W) or (H, W, 3) in RGB order."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = numbers.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", width, height, bits, 2 if numbers.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def kitti(flow: Array, valid: Array) -> Array:
    numbers = np.dstack([flow * 64 + 32768, valid])
    return np.where(valid[:, :, None], numbers, 0).astype(np.uint16)


def hdf5(**datasets: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return stream.getvalue()


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def put(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_flo_is_width_then_height_then_u_and_v(tmp_path: Path) -> None:
    content = flo(FLOW)
    assert struct.unpack("<f", content[:4]) == (202021.25,)
    flow, valid = read_flo(put(tmp_path, content))
    assert flow.shape == (2, 3, 2) and flow.dtype == np.float32 and valid.dtype == np.bool_
    np.testing.assert_array_equal(flow, FLOW)
    assert valid.all() and flow.flags.writeable
    write_flo(tmp_path / "written", FLOW)
    assert (tmp_path / "written").read_bytes() == content


@pytest.mark.parametrize("mark", [1e10, 1.0000001e9, -2e9, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("channel", [0, 1])
def test_what_no_number_says_is_unknown_and_zero(mark: float, channel: int, tmp_path: Path) -> None:
    marked = FLOW.copy()
    marked[1, 2, channel] = mark
    expected = FLOW.copy()
    expected[1, 2] = 0
    three = np.dstack([marked, np.zeros((2, 3), np.float32)])
    files: list[tuple[Callable[[Path], Any], bytes]] = [
        (read_flo, flo(marked)),
        (read_pfm_flow, pfm(three)),
        (read_flo5, hdf5(flow=marked)),
        (read_npy_flow, npy(marked)),
    ]
    for read, content in files:
        flow, valid = read(put(tmp_path, content))
        np.testing.assert_array_equal(flow, expected)
        assert np.argwhere(~valid).tolist() == [[1, 2]]


def test_the_largest_known_number_is_known(tmp_path: Path) -> None:
    flow = np.full((1, 2, 2), 1e9, np.float32)
    flow[0, 1] *= -1
    assert read_flo(put(tmp_path, flo(flow)))[1].all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_pfm_begins_with_the_lowest_row_in_the_order_that_the_scale_tells(
    order: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(read_pfm(put(tmp_path, pfm(values, order=order))), values)
    # Middlebury's scale is 1/255, and nothing is meant by it.
    head = f"{'PF' if len(shape) == 3 else 'Pf'}\r\n3 2 \r\n{'-' if order == '<' else ''}0.003922\r\n"
    read = read_pfm(put(tmp_path, pfm(values, head, order)))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype("=f4") and read.flags.c_contiguous


def test_pfm_flow_has_a_third_channel_of_nothing(tmp_path: Path) -> None:
    flow, valid = read_pfm_flow(put(tmp_path, pfm(np.dstack([FLOW, np.zeros((2, 3), np.float32)]))))
    np.testing.assert_array_equal(flow, FLOW)
    assert valid.all() and flow.flags.c_contiguous


def test_kitti_has_u_in_red_v_in_green_and_validity_in_blue(tmp_path: Path) -> None:
    valid = np.array([[True, False, True], [True, True, False]])
    flow, known = read_kitti_flow(put(tmp_path, png(kitti(FLOW, valid))))
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(flow, np.where(valid[:, :, None], FLOW, 0))
    assert flow.dtype == np.float32


def test_flo5_and_npy_hold_floats_of_any_width(tmp_path: Path) -> None:
    for kind in (np.float16, np.float32, np.float64):
        for read, content in ((read_flo5, hdf5(flow=FLOW.astype(kind))), (read_npy_flow, npy(FLOW.astype(kind)))):
            flow, valid = read(put(tmp_path, content))
            np.testing.assert_array_equal(flow, FLOW)
            assert flow.dtype == np.float32 and valid.all()
    np.testing.assert_array_equal(read_npy_flow(put(tmp_path, npy(np.asfortranarray(FLOW))))[0], FLOW)


def hard_numbers() -> tuple[Array, Array]:
    """Flow of every size, least and largest numbers and negative zero among it, and where it is known."""
    rng = np.random.default_rng(1)
    flow = (rng.normal(size=(37, 50, 2)) * 10.0 ** rng.integers(-30, 8, (37, 50, 1))).astype(np.float32)
    flow[0, :4] = [[-0.0, 1e-45], [1e9, -1e9], [1e-38, 0.1], [3.4e-39, -7.0]]
    return flow, rng.random((37, 50)) < 0.8


@pytest.mark.parametrize(
    ("read", "write"), [(read_flo, write_flo), (read_flo5, write_flo5), (read_pfm_flow, write_pfm_flow)]
)
def test_known_flow_comes_back_bit_by_bit(read: Any, write: Any, tmp_path: Path) -> None:
    flow, valid = hard_numbers()
    path = tmp_path / "file"
    write(path, flow, valid)
    again, known = read(path)
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(again[valid].view(np.uint32), flow[valid].view(np.uint32))
    assert not again[~valid].any()
    first = path.read_bytes()
    write(path, again, known)
    assert read(path)[0].tobytes() == again.tobytes()
    if write is not write_flo5:
        assert path.read_bytes() == first
    # Without a mask, what isn't finite is unknown; the array given isn't touched.
    given = np.where(valid[:, :, None], flow, np.float32(np.nan))
    write(path, given)
    np.testing.assert_array_equal(read(path)[1], valid)
    assert np.isnan(given).sum() == 2 * (~valid).sum()


def test_pfm_comes_back_bit_by_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 2**32, (5, 7, 3), dtype=np.uint32).view(np.float32)
    for part in (values, values[:, :, 0]):
        write_pfm(tmp_path / "file", part)
        np.testing.assert_array_equal(read_pfm(tmp_path / "file").view(np.uint32), part.view(np.uint32))


def test_flo5_is_compressed_as_springs_are(tmp_path: Path) -> None:
    write_flo5(tmp_path / "file", np.zeros((200, 300, 2)))
    assert (tmp_path / "file").stat().st_size < 20_000
    with h5py.File(tmp_path / "file") as file:
        assert file["flow"].dtype == np.float32 and file["flow"].shape == (200, 300, 2)


def test_any_filter_of_hdf5_counts_as_compression(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file", "w") as file:
        file.create_dataset("flow", data=np.ones((90, 90, 2), np.float32), scaleoffset=3)
    assert (read_flo5(tmp_path / "file")[0] == 1).all()


def test_kitti_is_rounded_to_the_nearest_step(tmp_path: Path) -> None:
    flow = np.random.default_rng(3).uniform(-511.9, 511.9, (40, 60, 2)).astype(np.float32)
    flow[0, 0], flow[0, 1] = (-512, 511.984375), (1 / 128 + 1e-3, -1 / 128 - 1e-3)
    path = tmp_path / "file.png"
    write_kitti_flow(path, flow)
    again, valid = read_kitti_flow(path)
    assert valid.all() and np.abs(again - flow).max() <= 1 / 128
    assert np.abs(again - flow).max() > 0.9 / 128
    assert again[0, 0].tolist() == [-512, 511.984375] and again[0, 1].tolist() == [1 / 64, -1 / 64]
    bias = (again - flow).mean()
    assert abs(bias) < 1e-3  # to cut off, as others do, shifts all flow by 1/128
    known = np.random.default_rng(4).random((40, 60)) < 0.5
    flow[~known] = np.nan
    write_kitti_flow(path, flow)
    np.testing.assert_array_equal(read_kitti_flow(path)[1], known)
    assert not read_kitti_flow(path)[0][~known].any()


@pytest.mark.parametrize("wrong", [600.0, -512.01, 511.993])
def test_kitti_refuses_what_16_bits_cant_hold(wrong: float, tmp_path: Path) -> None:
    flow = np.full((2, 3, 2), wrong)
    with pytest.raises(DataError, match=r"can't hold flow of \d+ pixels, only -512 to 511\.98; "):
        write_kitti_flow(tmp_path / "file.png", flow)
    write_kitti_flow(tmp_path / "file.png", flow, np.zeros((2, 3), bool))


@pytest.mark.parametrize("write", [write_flo, write_flo5, write_pfm_flow, write_kitti_flow])
def test_writers_refuse_what_isnt_flow(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.png"
    cases: list[tuple[Array, Array | None, str]] = [
        (np.zeros((2, 3)), None, r"should be \(H, W, 2\), not \(2, 3\)"),
        (np.zeros((2, 3, 3)), None, r"not \(2, 3, 3\)"),
        (np.zeros((0, 3, 2)), None, r"not \(0, 3, 2\)"),
        (np.zeros((2, 3, 2)), np.ones((3, 2), bool), r"valid pixels are \(3, 2\), but flow is \(2, 3\)"),
        (np.full((2, 3, 2), np.nan), np.ones((2, 3), bool), "isn't finite at 6 valid pixels"),
    ]
    for flow, valid, words in cases:
        with pytest.raises(DataError, match=words) as caught:
            write(path, flow, valid)
        assert "; " in str(caught.value) and str(path) in str(caught.value)
    assert not path.exists()
    with pytest.raises(DataError, match=r"none/file.png can't be written \(.*\); free space"):
        write(tmp_path / "none" / "file.png", FLOW)


def sparse(shape: tuple[int, ...]) -> bytes:
    """HDF5 that promises much and holds nothing."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("flow", shape, np.float32, chunks=(64, 64, 2), compression="gzip")
    return stream.getvalue()


GOOD: dict[str, tuple[Any, bytes]] = {
    "flo": (read_flo, flo(FLOW)),
    "pfm": (read_pfm_flow, pfm(np.dstack([FLOW, np.zeros((2, 3), np.float32)]))),
    "kitti": (read_kitti_flow, png(kitti(FLOW, np.ones((2, 3))))),
    "flo5": (read_flo5, hdf5(flow=FLOW)),
    "npy": (read_npy_flow, npy(FLOW)),
}
HUGE = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999, 2), }".ljust(
    117
)
BAD: dict[str, tuple[str, bytes, str]] = {
    "flo, other magic": ("flo", flo(FLOW, magic=b"HEIP"), "doesn't begin as a .flo file"),
    "flo, big-endian": ("flo", b"PIEH"[::-1] + struct.pack(">ii", 3, 2) + bytes(48), "doesn't begin as a .flo file"),
    "flo, half a header": ("flo", flo(FLOW)[:10], "doesn't begin as a .flo file"),
    "flo, cut": ("flo", flo(FLOW)[:-1], "has 59 bytes, but should have 60, as its header says 2x3 pixels"),
    "flo, too long": ("flo", flo(FLOW) + b"\0", "has 61 bytes, but should have 60"),
    "flo, sides exchanged": ("flo", flo(FLOW, 3, 3), "has 60 bytes, but should have 84, as its header says 3x3 pixels"),
    "flo, no rows": ("flo", flo(FLOW, 3, 0), "header says 0x3 pixels"),
    "flo, below nothing": ("flo", flo(FLOW, -3, -2), "header says -2x-3 pixels"),
    "flo, huge": ("flo", flo(FLOW, 2**31 - 1, 2**31 - 1), "should have 36893488113059364884, as"),
    "pfm, one channel": ("pfm", pfm(FLOW[:, :, 0]), "should have three channels, u, v and 0"),
    "pfm, a third that isn't 0": ("pfm", pfm(np.ones((2, 3, 3), np.float32)), "should have three channels"),
    "pfm, a third of NaN": ("pfm", pfm(np.full((2, 3, 3), np.nan, np.float32)), "should have three channels"),
    "pfm, cut": (
        "pfm",
        pfm(np.zeros((2, 3, 3)))[:-1],
        "has 81 bytes, but should have 82, as its header says 2x3 pixels",
    ),
    "pfm, too long": ("pfm", pfm(np.zeros((2, 3, 3))) + b"\n", "has 83 bytes, but should have 82"),
    "pfm, other magic": ("pfm", pfm(FLOW, "P6\n3 2\n255\n"), "doesn't begin as a .pfm file"),
    "pfm, scale of nothing": ("pfm", pfm(np.zeros((2, 3, 3)), "PF\n3 2\n0.0\n"), "doesn't begin as a .pfm file"),
    "pfm, scale NaN": ("pfm", pfm(np.zeros((2, 3, 3)), "PF\n3 2\nnan\n"), "doesn't begin as a .pfm file"),
    "pfm, scale of words": ("pfm", pfm(np.zeros((2, 3, 3)), "PF\n3 2\nsome\n"), "doesn't begin as a .pfm file"),
    "pfm, no width": ("pfm", pfm(np.zeros((2, 3, 3)), "PF\n0 2\n-1\n"), "header says 2x0 pixels"),
    "pfm, huge": ("pfm", b"PF\n999999999 999999999\n-1\n", "but should have 11999999976000000038, as"),
    "kitti, 8 bits": ("kitti", png(np.zeros((2, 3, 3)), 8), r"16 bits and three channels, but is uint8 of shape"),
    "kitti, grey": ("kitti", png(np.zeros((2, 3))), r"but is uint16 of shape \(2, 3\)"),
    "kitti, cut": ("kitti", GOOD["kitti"][1][:-20], "can't be decoded"),
    "flo5, missing": ("flo5", hdf5(disparity=FLOW), "has no dataset 'flow'"),
    "flo5, a group": ("flo5", hdf5(**{"flow/flow": FLOW}), "has no dataset 'flow'"),
    "flo5, whole numbers": ("flo5", hdf5(flow=FLOW.astype(np.int32)), r"should be floats \(H, W, 2\), but is int32"),
    "flo5, words": ("flo5", hdf5(flow="none"), r"flow should be floats \(H, W, 2\), but is object"),
    "flo5, empty": ("flo5", hdf5(flow=np.zeros((0, 3, 2), np.float32)), r"of shape \(0, 3, 2\)"),
    "flo5, nothing": ("flo5", hdf5(flow=h5py.Empty("f4")), r"of shape \(\)"),
    "flo5, one channel": ("flo5", hdf5(flow=FLOW[:, :, 0]), r"but is float32 of shape \(2, 3\)"),
    "flo5, huge": ("flo5", sparse((300_000, 300_000, 2)), r"of shape \(300000, 300000, 2\)"),
    "flo5, cut": ("flo5", hdf5(flow=FLOW)[:-100], "is truncated, damaged or no HDF5 file"),
    "flo5, other": ("flo5", flo(FLOW), "is truncated, damaged or no HDF5 file"),
    "npy, whole numbers": ("npy", npy(FLOW.astype(int)), r"should be floats \(H, W, 2\), but is int64 of shape"),
    "npy, one channel": ("npy", npy(FLOW[:, :, 0]), r"of shape \(2, 3\)"),
    "npy, three channels": ("npy", npy(np.zeros((2, 3, 3))), r"of shape \(2, 3, 3\)"),
    "npy, cut": ("npy", npy(FLOW)[:-1], r"is truncated or no \.npy file"),
    "npy, huge": ("npy", HUGE, r"is truncated or no \.npy file"),
    "npy, objects": ("npy", npy(np.array([{}], dtype=object)), r"is truncated or no \.npy file"),
    "npy, a pickle": ("npy", pickle.dumps(FLOW), r"is truncated or no \.npy file"),
    "npy, an archive": ("npy", b"PK\x05\x06" + bytes(18), r"is truncated or no \.npy file"),
    "npy, a strange header": ("npy", HUGE.replace(b"99999, 99999", b"-1, 3333333"), r"no \.npy file"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_malformed_file_is_one_sentence_and_costs_no_memory(case: str, tmp_path: Path) -> None:
    kind, content, words = BAD[case]
    read, good = GOOD[kind]
    read(put(tmp_path, good))
    path = put(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("kind", list(GOOD))
def test_every_way_to_cut_a_file_is_noticed(kind: str, tmp_path: Path) -> None:
    read, good = GOOD[kind]
    for length in {0, 1, 3, 4, 11, 12, len(good) // 2, len(good) - 1}:
        with pytest.raises(DataError):
            read(put(tmp_path, good[:length]))
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=f"there is no readable {path} "):
            read(path)
