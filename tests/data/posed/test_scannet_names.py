"""ScanNet as its users have it: names with leading zeros, intrinsics beside the folders, gaps that aren't permissions."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.formats.images import read_rgb, write_image
from croco_bench.data.posed.sequences import open_posed
from croco_bench.errors import DataError

POSE = "1 0 0 {} 0 1 0 0 0 0 1 0 0 0 0 1"


def write(root: Path, names: tuple[str, ...], intrinsics: str) -> Path:
    scene = root / "scene0000_00"
    for folder in ("color", "depth", "pose"):
        (scene / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        write_image(scene / f"color/{name}.jpg", np.full((6, 8, 3), 40 * number, np.uint8))
        write_image(scene / f"depth/{name}.png", np.full((6, 8), 1000 * number, np.uint16))
        (scene / f"pose/{name}.txt").write_text(POSE.format(number))
    (scene / "color/._000000.jpg").write_bytes(b"Mac OS X")
    (scene / intrinsics).parent.mkdir(exist_ok=True)
    (scene / intrinsics).write_text("5 0 3.5 0 0 5 2.5 0 0 0 1 0 0 0 0 1")
    return root


@pytest.mark.parametrize("intrinsics", ["intrinsics_depth.txt", "intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt"])
def test_names_are_kept_as_they_are(tmp_path: Path, intrinsics: str) -> None:
    (plain,) = open_posed(write(tmp_path / "plain", ("0", "100", "200"), "intrinsic/intrinsic_depth.txt"))
    (padded,) = open_posed(write(tmp_path / "padded", ("000000", "000100", "000200"), intrinsics))
    assert padded.numbers == plain.numbers == (0, 100, 200)
    assert np.array_equal(padded.K, plain.K) and np.array_equal(padded.poses(), plain.poses())
    assert padded.fingerprint() == plain.fingerprint()
    for index in range(3):
        one, other = padded.frame(index), plain.frame(index)
        assert one is not None and other is not None
        assert np.array_equal(one.depth_m(), other.depth_m(), equal_nan=True)
        assert np.array_equal(read_rgb(one.image), read_rgb(other.image))


def test_what_is_missing_is_not_forbidden(tmp_path: Path) -> None:
    root = write(tmp_path, ("000000", "000100"), "intrinsics_depth.txt")
    (root / "scene0000_00/intrinsics_depth.txt").unlink()
    with pytest.raises(DataError, match=r"no readable .*intrinsic_depth\.txt") as caught:
        open_posed(root)
    assert "permissions" not in str(caught.value)
    shutil.rmtree(root / "scene0000_00/depth")
    with pytest.raises(DataError, match="frame 0 has no depth map"):
        open_posed(root)
