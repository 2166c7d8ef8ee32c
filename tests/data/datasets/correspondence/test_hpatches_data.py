"""HPatches' full sequences as they unpack: what is there, what is missing, and homographies that are none."""

from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.correspondence.hpatches import find_sequences, read_homography
from croco_bench.data.formats.arrays import write_bytes
from croco_bench.errors import DataError

MATRIX = "0.9 0.1 4.0\n-0.1 1.1 2.0\n1e-4 0 1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sequences in the archive's folder."""
    for name in ("v_wall", "i_dome"):
        folder = tmp_path / "hpatches-sequences-release" / name
        folder.mkdir(parents=True)
        for n in range(1, 7):
            write_bytes(folder / f"{n}.ppm", b"P6\n9 8\n255\n", np.full((8, 9, 3), 10 * n, dtype=np.uint8))
            if n > 1:
                (folder / f"H_1_{n}").write_text(MATRIX)
    return tmp_path


def test_sequences_are_found_in_the_archives_folder_and_in_the_datasets_own(root: Path) -> None:
    base, names = find_sequences(root)
    assert (base.name, names) == ("hpatches-sequences-release", ["i_dome", "v_wall"])
    (root / "hpatches-sequences-release/i_dome").rename(root / "i_dome")
    assert find_sequences(root) == (root, ["i_dome"])


def test_a_homography_maps_pixels_of_the_first_image(root: Path) -> None:
    matrix = read_homography(root / "hpatches-sequences-release/v_wall/H_1_3")
    assert matrix.tolist() == [[0.9, 0.1, 4], [-0.1, 1.1, 2], [1e-4, 0, 1]]


def test_the_check_compares_with_the_release(root: Path) -> None:
    count, homographies, sides = dataset_info("hpatches").check(root)
    assert (count.what, count.stops) == ("1 sequences of viewpoints and 1 of lights, 6 images each", False)
    assert count.advice.startswith("the release has 59 and 57") and not count.ok
    assert homographies.ok and sides.what == "sides of 4 images are 8 to 9 pixels"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "4.ppm").unlink(), r"there is no .*v_wall/4\.ppm; unpack the rest of hpatches-seq"),
        (lambda folder: (folder / "H_1_2").unlink(), r"there is no .*v_wall/H_1_2; unpack the rest"),
        (lambda folder: (folder / "H_1_2").write_text("1 2 3"), "isn't a homography; expected three lines"),
        (lambda folder: (folder / "H_1_2").write_text("1 0 0 0 1 0 0 0 nan"), "isn't a homography; .* invertible"),
        (lambda folder: (folder / "H_1_2").write_text("<html>"), "isn't a homography .*<html>"),
        (lambda folder: (folder / "6.ppm").write_bytes(b"P6\n9 8\n255\n12"), r"6\.ppm can't be decoded"),
    ],
)
def test_what_is_missing_or_wrong_is_named(root: Path, change: object, words: str) -> None:
    assert callable(change)
    change(root / "hpatches-sequences-release/v_wall")
    bad = [finding for finding in dataset_info("hpatches").check(root) if not finding.ok and finding.stops]
    assert len(bad) == 1
    with pytest.raises(DataError, match=words):
        raise DataError(bad[0].what, bad[0].advice)


def test_a_folder_without_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no v_\* or i_\* folder.*; croco-bench data get hpatches"):
        find_sequences(tmp_path)
