"""Values per image are read as NumPy reads them, whatever their order, type and number."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from croco_bench.errors import RecordError
from croco_bench.tables.comparison.sheets import read_rows

VALUES = {
    "plain": np.arange(6.0).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "flags": np.array([True, False]),
    "swapped": np.array([1, 2], ">i4"),
    "empty": np.zeros((2, 0)),
    "group": np.array(["é", "b"]),
}


def test_values_are_those_that_were_written(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "seed0.npz", **VALUES)  # type: ignore[arg-type]
    found = read_rows(tmp_path / "seed0.npz", "")
    assert found.keys() == VALUES.keys()
    for name, values in VALUES.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_other_versions_of_the_format_are_read_too(tmp_path: Path) -> None:
    stream = BytesIO()
    np.lib.format.write_array(stream, VALUES["plain"], version=(2, 0))
    with zipfile.ZipFile(tmp_path / "seed0.npz", "w") as file:
        file.writestr("plain.npy", stream.getvalue())
    np.testing.assert_array_equal(read_rows(tmp_path / "seed0.npz", "")["plain"], VALUES["plain"])


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": (-1,), "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(tmp_path / "seed0.npz", "w") as file:
        file.writestr("delta1.npy", stream.getvalue() + np.arange(3.0).tobytes())
    with pytest.raises(RecordError, match=r"the shape \(-1,\)"):
        read_rows(tmp_path / "seed0.npz", "")


def test_objects_and_cut_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "seed0.npz", delta1=np.array([{}, 1], dtype=object))
    with pytest.raises(RecordError, match="can't be read: it holds objects"):
        read_rows(tmp_path / "seed0.npz", "")
    stream = BytesIO()
    np.save(stream, np.arange(5.0))
    with zipfile.ZipFile(tmp_path / "seed1.npz", "w") as file:
        file.writestr("delta1.npy", stream.getvalue()[:-8])
    with pytest.raises(RecordError, match="can't be read"):
        read_rows(tmp_path / "seed1.npz", "")
