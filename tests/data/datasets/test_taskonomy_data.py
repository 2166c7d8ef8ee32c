"""Taskonomy's files: decoding, both layouts, lists, damage."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.taskonomy import DOMAINS, block_dilated, open_split, softened
from croco_bench.errors import DataError, UsageError


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_data / "taskonomy", tmp_path / "taskonomy"))


def first(root: Path, folder: str, name: str | None = None) -> Path:
    return root / folder / "roomtrain0000" / f"point_0_view_0_domain_{name or folder}.png"


def rewrite(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize(
    ("domain", "numbers", "expected"),
    [
        ("depth", [0, 4000, 8000, 65535], [0, 0.5, 1, 1]),
        ("edges", [0, 65535 // 8, 65535 // 4 + 1, 65535], [0, 0.5, 1, 1]),
        ("occlusion", [0, 13107, 65535, 65535], [0, 0.2, 1, 1]),
        ("keypoints2d", [0, 13107, 65535, 65535], [0, 0.2, 1, 1]),
        ("reshading", [0, 51, 255, 255], [0, 0.2, 1, 1]),
    ],
)
def test_one_channel(domain: str, numbers: list[int], expected: list[float]) -> None:
    kind = np.uint8 if DOMAINS[domain].bits == 8 else np.uint16
    decoded = DOMAINS[domain].decode(np.array([numbers], dtype=kind))
    assert decoded.shape == (1, 4, 1)
    assert decoded.dtype == np.float32
    assert np.allclose(decoded[0, :, 0], expected, atol=2e-4)


def test_colors_are_kept_in_order_and_the_third_curvature_is_dropped(root: Path) -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[:] = (51, 102, 255)  # OpenCV's order: the file's red is 255
    rewrite(first(root, "principal_curvature"), image)
    rewrite(first(root, "normal"), image)
    assert np.allclose(open_split(root, "train", domain="curvature")[0]["target"][0, 0], [1, 0.4])
    assert np.allclose(open_split(root, "train", domain="normals")[0]["target"][0, 0], [1, 0.4, 0.2])


@pytest.mark.slow
def test_both_layouts_and_both_kinds_of_list_give_the_same(root: Path) -> None:
    buildings = root.with_name("buildings")
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        for building in folder.iterdir():
            shutil.copytree(building, buildings / building.name / folder.name)
    names = sorted(path.name for path in (root / "rgb").iterdir())
    lines = [f"{name},{','.join(str(int(part in name)) for part in ('train', 'val', 'test'))}" for name in names]
    (buildings / "train_val_test_tiny.csv").write_text("\n".join(["id,train,val,test", *lines]))
    for domain in DOMAINS:
        for split in ("train", "val", "test"):
            ours, official = (open_split(base, split, domain=domain) for base in (root, buildings))
            assert len(ours) == len(official) == {"train": 12, "val": 4, "test": 6}[split]
            assert sorted(ours.groups) == sorted(official.groups)
            same = next(index for index in range(len(ours)) if ours[index]["id"] == official[1]["id"])
            for key in ("image", "target", "valid"):
                assert np.array_equal(ours[same][key], official[1][key])
    shutil.copy(root / "tiny_test.csv", buildings)
    ours, official = (open_split(base, "test", domain="depth") for base in (root, buildings))
    assert ours.fingerprint() == official.fingerprint()
    assert len(set(open_split(buildings, "train", domain="depth", rows=6).groups)) > 2  # not one building after another


def test_samples_and_first_rows(root: Path) -> None:
    reader = open_split(root, "train", domain="normals", rows=5)
    assert (len(reader), reader.available, reader.miniature) == (5, 12, True)
    sample = reader[0]
    assert sample["image"].shape == sample["target"].shape == (40, 40, 3)
    assert sample["valid"].dtype == np.bool_
    assert reader.fingerprint() != open_split(root, "train", domain="depth", rows=5).fingerprint()
    assert reader.fingerprint() != open_split(root, "train", domain="normals").fingerprint()


def test_the_mask_says_what_is_valid(root: Path) -> None:
    mask = np.full((40, 40), 255, dtype=np.uint8)
    mask[3, 7], mask[3, 8] = 0, 254
    rewrite(first(root, "mask_valid", "depth_zbuffer"), mask)
    valid = open_split(root, "train", domain="depth")[0]["valid"]
    assert not valid[3, 7:9].any()
    assert valid.sum() == 1598
    rewrite(first(root, "mask_valid", "depth_zbuffer"), mask.astype(np.uint16))
    with pytest.raises(DataError, match="should have 8 bits, 255 where valid, but is uint16"):
        open_split(root, "train", domain="depth")[0]


def test_invalid_pixels_spread_over_their_block() -> None:
    valid = np.ones((10, 9), dtype=np.bool_)
    valid[5, 2] = valid[9, 8] = False
    kept = block_dilated(valid)
    expected = np.ones((10, 9), dtype=np.bool_)
    expected[4:8, 0:4] = expected[8:, 8:] = False
    assert np.array_equal(kept, expected)


def test_softening_is_a_gaussian_of_three_pixels() -> None:
    target = np.zeros((5, 5, 1), dtype=np.float32)
    target[2, 2] = 1
    weights = np.exp(-0.5 * np.array([1, 0, 1.0]) ** 2)
    weights /= weights.sum()
    assert np.allclose(softened(target)[1:4, 1:4, 0], np.outer(weights, weights), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("building,point,view\nroomtrain0000,0,zero\n", "line 2: point and view should be whole numbers"),
        ("building,point,view\nroomtrain0000,0,0\nroomtrain0000,0,0\n", "lists roomtrain0000, point 0, view 0 twice"),
        ("building,point,view\nroomtrain0000,-1,0\n", "line 2: expected a building and counts from 0, found room"),
        ("building,point,view\n,0,0\n", "line 2: expected a building and counts from 0, found ,0,0"),
        ("building,point,view\nroomtrain0000\n", "line 2: point and view should be whole numbers"),
        ("building,point\nroomtrain0000,0\n", "has no column view"),
        ("building,point,view\n", "lists no view"),
    ],
)
def test_damaged_lists(root: Path, content: str, sentence: str) -> None:
    (root / "tiny_train.csv").write_text(content)
    with pytest.raises(DataError, match=sentence):
        open_split(root, "train", domain="depth")


def test_missing_and_damaged_files(root: Path) -> None:
    with pytest.raises(UsageError, match="keypoints2d"):
        open_split(root, "train", domain="keypoint2d")
    reader = open_split(root, "train", domain="depth")
    path = first(root, "depth_zbuffer")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"depth_zbuffer\.png"):
        reader[0]
    rewrite(path, np.zeros((40, 40), dtype=np.uint8))
    with pytest.raises(DataError, match="should have 16 bits and 1 channel"):
        reader[0]
    rewrite(path, np.zeros((20, 40), dtype=np.uint16))
    with pytest.raises(DataError, match="is 20x40, but its image is 40x40"):
        reader[0]
    path.write_bytes(whole)
    first(root, "mask_valid", "depth_zbuffer").unlink()
    with pytest.raises(DataError, match="mask_valid"):
        reader[0]
    (root / "tiny_val.csv").unlink()
    with pytest.raises(DataError, match=r"no tiny_val\.csv .* and no train_val_test_tiny\.csv"):
        open_split(root, "val", domain="depth")


def test_files_that_are_absent_are_told_at_once(root: Path) -> None:
    first(root, "mask_valid", "depth_zbuffer").unlink()
    with pytest.raises(DataError, match=r"no .*mask_valid.*, and 1 of 36 files of the train split are absent"):
        open_split(root, "train", domain="normals")
    shutil.rmtree(root / "normal")
    with pytest.raises(DataError, match=r"no .*normal/.*, and 6 of 18 files of the test split are absent"):
        open_split(root, "test", domain="normals")
    assert len(open_split(root, "test", domain="depth")) == 6


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "ihlen_rgb.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack each <building>_<domain>\.tar"):
        open_split(tmp_path, "test", domain="depth")


def test_the_checker_looks_at_every_domain(root: Path) -> None:
    findings = dataset_info("taskonomy").check(root)
    assert all(finding.ok for finding in findings)
    assert len(findings) == 3 + 3 * 9
    (root / "MINIATURE.json").unlink()
    wrong = [finding for finding in dataset_info("taskonomy").check(root) if not finding.ok]
    assert [finding.what.partition(":")[0] for finding in wrong] == ["val", "test"]
    with (root / "tiny_val.csv").open("a") as stream:
        stream.write("roomtest0000,0,0\n")
    wrong = [finding for finding in dataset_info("taskonomy").check(root) if not finding.ok]
    assert "1 buildings of the test list are in another list" in [finding.what for finding in wrong]


def test_the_fingerprint_sees_other_files_and_a_byte_order_mark_is_no_name(root: Path) -> None:
    before = open_split(root, "test", domain="normals").fingerprint()
    text = (root / "tiny_test.csv").read_text()
    (root / "tiny_test.csv").write_text(text, encoding="utf-8-sig")
    assert open_split(root, "test", domain="normals").fingerprint() == before
    rewrite(root / "rgb" / "roomtest0000" / "point_0_view_0_domain_rgb.png", np.zeros((40, 40, 3), dtype=np.uint8))
    assert open_split(root, "test", domain="normals").fingerprint() != before


def test_split_files_of_buildings(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / f"tiny_{split}.csv").unlink()
    lines = "id,train,val,test\nroomtrain0000,1,0,0\nroomval0000,,x,\nelsewhere,0,0,1\n"
    (root / "train_val_test_medium.csv").write_text(lines)
    assert set(open_split(root, "train", domain="depth").groups) == {"roomtrain0000"}
    assert set(open_split(root, "val", domain="depth").groups) == {"roomval0000"}
    with pytest.raises(DataError, match="though the split file names elsewhere"):
        open_split(root, "test", domain="depth")
    (root / "train_val_test_full.csv").write_text(lines)
    with pytest.raises(
        DataError, match=r"several split files \(train_val_test_full\.csv, train_val_test_medium\.csv\)"
    ):
        open_split(root, "train", domain="depth")
    (root / "train_val_test_tiny.csv").write_text(lines.replace(",1,0,0", ",0,0,0"))
    with pytest.raises(DataError, match=r"tiny\.csv marks no building for train"):
        open_split(root, "train", domain="depth")
