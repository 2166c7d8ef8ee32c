"""NYUv2's normals: DSINE's files and Eigen's archive, in their places and damaged."""

import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.geometry.nyuv2_normals import Truth, decoded, open_split
from croco_bench.data.datasets.nyuv2_mat import MAT
from croco_bench.data.splitting import assumptions_of
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Array


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of both miniatures, without the sign of a miniature."""
    for name in ("nyuv2", "nyuv2_normals"):
        shutil.copytree(tiny_data / name, tmp_path / name)
        (tmp_path / name / "MINIATURE.json").unlink()
    return tmp_path / "nyuv2_normals"


def write_ladicky(root: Path) -> Path:
    """Maps for the images of the official file beside; all look to the left, those of image 3 partly."""
    with h5py.File(root.parent / "nyuv2" / MAT) as file:
        count, _, width, height = file["images"].shape
    for kind in ("normals", "masks"):
        (root / "normals_gt" / kind).mkdir(parents=True)
    for number in range(count):
        normals = np.full((height, width, 3), (0, 128, 128), np.uint8)
        mask = np.full((height, width), 255, np.uint8)
        mask[:, : 5 if number == 3 else 0] = 0
        write(root / f"normals_gt/normals/{number:04d}.png", normals)
        write(root / f"normals_gt/masks/{number:04d}.png", mask)
    return root


def write(path: Path, image: Array) -> None:
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[:, :, ::-1])


def test_decoded_normals_are_of_unit_length_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "normal.png"
    write(path, np.array([[[255, 128, 128], [0, 0, 0], [127, 127, 127], [128, 0, 128], [218, 218, 128]]], np.uint8))
    normals, known = decoded(path)
    assert known.tolist() == [[True, False, False, True, True]]
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(normals[0, 0], [1, 0.004, 0.004], atol=1e-3)
    np.testing.assert_allclose(normals[0, 3], [0.004, -1, 0.004], atol=1e-3)
    assert not normals[~known].any()


@pytest.mark.parametrize("image", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint16)])
def test_images_that_hold_no_normals(image: Array, tmp_path: Path) -> None:
    write(tmp_path / "normal.png", image)
    with pytest.raises(DataError, match=r"normal\.png is uint\d+ of shape .*8-bit color"):
        decoded(tmp_path / "normal.png")


def test_the_miniatures_normals_are_those_of_its_rooms(tiny_data: Path) -> None:
    """Floors look up and are below; the images are those of the miniature of depth."""
    train, test = (open_split(tiny_data / "nyuv2_normals", split) for split in ("train", "test"))
    sample = train[0]
    rows, _ = np.nonzero(sample["valid"] & (sample["normals"][:, :, 1] > 0.8))
    assert len(rows) > 20 and rows.mean() > sample["valid"].shape[0] / 2
    assert 0.6 < sample["valid"].mean() < 1
    assert (len(train), len(test)) == (12, 6) and test[0]["id"] == "000012"
    np.testing.assert_array_equal(sample["image"], open_mat_image(tiny_data, 0))


def open_mat_image(data: Path, number: int) -> Array:
    with h5py.File(data / "nyuv2" / MAT) as file:
        return np.asarray(file["images"][number]).transpose(2, 1, 0)


@pytest.mark.parametrize("folder", ["nyuv2", "dsine_eval/nyuv2"])
def test_the_archives_own_folders(folder: str, root: Path) -> None:
    before = open_split(root, "test")
    (root / folder).parent.mkdir(exist_ok=True)
    (root / "move").mkdir()
    for split in ("train", "test"):
        (root / split).rename(root / "move" / split)
    (root / "move").rename(root / folder)
    found = open_split(root, "test")
    assert [found[i]["id"] for i in range(6)] == [before.ids[i] for i in range(6)]  # type: ignore[attr-defined]
    assert found.available == 654


def test_ladickys_normals_belong_to_the_images_of_the_official_file(root: Path) -> None:
    reader = open_split(write_ladicky(root), "train", truth="ladicky")
    assert len(reader) == 12 and reader.available == 12 and reader.dataset == "nyuv2_normals"
    sample = reader[3]
    np.testing.assert_allclose(sample["normals"][0, 9], [-1, 0.004, 0.004], atol=1e-3)
    assert not sample["valid"][:, :5].any() and sample["valid"][:, 5:].all()
    np.testing.assert_array_equal(sample["image"], open_mat_image(root.parent, 3))
    assert not {*reader.groups} & {*open_split(root, "test", truth="ladicky").groups}
    assert reader.fingerprint() != open_split(root, "train").fingerprint()


def test_results_name_the_ground_truth(root: Path) -> None:
    write_ladicky(root)
    truths: tuple[Truth, Truth] = ("geonet", "ladicky")
    notes = [assumptions_of(open_split(root, "test", truth=truth)) for truth in truths]
    assert [len(note) for note in notes] == [1, 1]
    assert "GeoNet's" in notes[0][0] and "Ladicky's" in notes[1][0]


def test_the_check_takes_either_ground_truth(root: Path) -> None:
    findings = dataset_info("nyuv2_normals").check(root)
    assert next(finding.what for finding in findings if finding.absent).startswith("there is no folder")
    assert [finding.advice for finding in findings if not finding.ok] == ["the release has 795", "the release has 654"]
    write_ladicky(root)
    assert not any(finding.absent for finding in dataset_info("nyuv2_normals").check(root))
    for split in ("train", "test"):
        shutil.rmtree(root / split)
    findings = dataset_info("nyuv2_normals").check(root)
    assert sum(finding.what.startswith("ladicky") for finding in findings) > 4
    assert not any(finding.stops and not finding.ok for finding in findings)


def test_what_is_missing_is_named(root: Path) -> None:
    write_ladicky(root)
    (root / "normals_gt/masks/0004.png").unlink()
    with pytest.raises(DataError, match=r"0004\.png"):
        open_split(root, "train", truth="ladicky")
    (root.parent / "nyuv2" / MAT).unlink()
    with pytest.raises(DataError, match=r"nyu_depth_v2_labeled\.mat, nor is it in nyuv2/ beside"):
        open_split(root, "train", truth="ladicky")
    next((root / "train").glob("*_normal.png")).unlink()
    with pytest.raises(DataError, match=r"_normal\.png"):
        open_split(root, "train")
    shutil.rmtree(root / "test")
    with pytest.raises(AbsentError, match=r"holds no test/\*_img\.png"):
        open_split(root, "test")


def test_maps_of_another_size_are_refused(root: Path) -> None:
    path = next((root / "train").glob("*_normal.png"))
    write(path, np.full((9, 9, 3), 200, np.uint8))
    number = int(path.name[:6])
    with pytest.raises(DataError, match="differ in size"):
        open_split(root, "train")[number]
