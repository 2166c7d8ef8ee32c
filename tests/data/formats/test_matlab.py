"""Files of MATLAB 5 are read as SciPy reads them; damaged ones end in an error, never in a crash."""

import io
import random
from typing import Any

import numpy as np
import pytest
import scipy.io

from croco_bench.data.formats.matlab import MatlabError, read_matlab


def saved(variables: dict[str, Any], *, compress: bool = False) -> bytes:
    stream: Any = io.BytesIO()  # SciPy's stubs list no file objects
    scipy.io.savemat(stream, variables, do_compression=compress)
    content: bytes = stream.getvalue()
    return content


def synsets() -> Any:
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("children", object)]
    return np.array(
        [(np.uint16(i + 1), f"n{i:08d}", "fish, été", np.arange(i, dtype=np.float64)) for i in range(5)], dtype=kind
    )


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_numbers_of_every_kind(kind: str, compress: bool) -> None:
    numbers = np.arange(12).reshape(3, 4).astype(kind)
    content = saved({"a": numbers, "longer_name": numbers[:1], "one": numbers[:1, :1]}, compress=compress)
    stream: Any = io.BytesIO(content)
    found, expected = read_matlab(content), scipy.io.loadmat(stream)
    for name in ("a", "longer_name", "one"):
        assert np.array_equal(found[name], expected[name].ravel(order="F"))


@pytest.mark.parametrize("compress", [False, True])
def test_structs_texts_and_cells(compress: bool) -> None:
    content = saved({"synsets": synsets(), "names": np.array(["ab", "cde"], dtype=object)}, compress=compress)
    found = read_matlab(content)
    assert [one["WNID"] for one in found["synsets"]] == [f"n{i:08d}" for i in range(5)]
    assert [one["ILSVRC2012_ID"].item() for one in found["synsets"]] == [1, 2, 3, 4, 5]
    assert found["synsets"][3]["children"].tolist() == [0, 1, 2]
    assert found["synsets"][0]["words"] == "fish, été"
    assert found["names"] == ["ab", "cde"]


def test_small_damages_never_crash() -> None:
    rng = random.Random(0)
    for content in (
        saved({"a": np.arange(40), "s": synsets()}),
        saved({"a": np.arange(40), "s": synsets()}, compress=True),
    ):
        for _ in range(1500):
            damaged = bytearray(content)
            for _ in range(rng.choice([1, 1, 3])):
                damaged[rng.randrange(120, len(content))] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
            try:
                read_matlab(bytes(damaged[: rng.choice([len(content), rng.randrange(len(content))])]))
            except MatlabError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    "content",
    [b"", b"MATLAB 5.0", saved({"a": 1})[:120], b"\x89HDF\r\n\x1a\n" + bytes(600)],
    ids=["none", "few", "cut", "7.3"],
)
def test_what_is_no_matlab_file(content: bytes) -> None:
    with pytest.raises(MatlabError, match="doesn't begin as a file of MATLAB 5"):
        read_matlab(content)


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_MAX_TEXT_MB", "1")
    content = saved({"a": np.zeros(2**20), "b": np.zeros(9)}, compress=True)
    assert len(content) < 20_000
    with pytest.raises(MatlabError, match="unpacks to more than CROCO_BENCH_MAX_TEXT_MB allows"):
        read_matlab(content)
