"""NYUv2 in the copies that users have: BTS's own lists, MultiMAE's own masks, Kaggle's tables, NumPy files, no splits.mat."""

import pickle
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.nyuv2 import layout_of, open_split
from croco_bench.data.datasets.nyuv2_mat import MAT, Split, official_splits, read_splits
from croco_bench.errors import AbsentError, DataError
from croco_bench.runs.runner import run
from croco_bench.tasks.nyuv2_depth import NYUv2Depth, NYUv2DepthOptions
from croco_bench.types import Array

SIZE = (12, 16)
SPLITS: tuple[Split, Split] = ("train", "test")


def image_of(number: int) -> Array:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([10 * rows, 10 * columns, np.full_like(rows, number)], axis=2).astype(np.uint8)


def depth_of(number: int) -> Array:
    """Metres, with holes."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    depth: Array = (1 + 0.1 * rows + 0.01 * columns + 0.001 * number).astype(np.float32)
    depth[2, 5] = depth[7, :3] = 0
    return depth


def write(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[:, :, ::-1])


def write_bts(root: Path, name: str, bases: dict[Split, str], slash: str = "/") -> Path:
    """Two recordings of one room and one of another to train on, folders of kinds of rooms to test."""
    for split in SPLITS:
        lines = []
        for number in range(6):
            scene = ("kitchen_0028a", "kitchen_0028b", "office_0001")[number % 3] if split == "train" else "kitchen"
            write(root / bases[split] / scene / f"rgb_{number:05d}.png", image_of(number))
            depth = (depth_of(number) * 1000).round().astype(np.uint16)
            write(root / bases[split] / scene / f"sync_depth_{number:05d}.png", depth)
            lines.append(f"{slash}{scene}/rgb_{number:05d}.png {slash}{scene}/sync_depth_{number:05d}.png 518.8579 x")
        (root / name.format(split)).parent.mkdir(exist_ok=True)
        (root / name.format(split)).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("name", ["nyudepthv2_{}_files_with_gt.txt", "nyu_{}.txt", "data_splits/nyu_{}.txt"])
@pytest.mark.parametrize("bases", [("sync", "official_splits/test"), (".", "."), ("sync", ".")])
def test_lists_under_their_own_names_with_two_roots(tmp_path: Path, name: str, bases: tuple[str, str]) -> None:
    root = write_bts(tmp_path, name, {"train": bases[0], "test": bases[1]})
    assert layout_of(root) == "bts"
    for split in SPLITS:
        reader = open_split(root, split)
        np.testing.assert_array_equal(reader[3]["image"], image_of(3))
        np.testing.assert_allclose(reader[3]["depth_m"], depth_of(3), atol=6e-4)
        np.testing.assert_array_equal(reader[3]["valid"], depth_of(3) > 0)
    assert set(open_split(root, "train").groups) == {"kitchen_0028", "office_0001"}


def test_paths_with_another_root_are_said_to_be_so(tmp_path: Path) -> None:
    root = write_bts(tmp_path, "nyu_{}.txt", {"train": "elsewhere", "test": "."})
    with pytest.raises(DataError, match=r"nor is it in sync/ or official_splits/train/; paths of the list must be rel"):
        open_split(root, "train")
    (root / "kitchen/rgb_00004.png").unlink()
    with pytest.raises(DataError, match=r"no readable .*rgb_00004\.png; 1 of 12 files .* are absent"):
        open_split(root, "test")


def write_folders(root: Path, masks: str | None) -> Path:
    for split in SPLITS:
        for number in range(40):
            depth = np.maximum(depth_of(number), 1)  # in-painted
            write(root / split / "rgb/data" / f"{number:04d}.png", image_of(number))
            write(root / split / "depth/data" / f"{number:04d}.png", (depth * 6553.6).astype(np.uint16))
            if masks:
                mask = np.where(depth_of(number) > 0, 255, 0).astype(np.uint8)
                write(root / split / masks / "data" / f"{number:04d}.png", mask)
    (root / "train/rgb/data/._0000.png").write_bytes(b"Mac OS X")
    (root / "train/rgb/.DS_Store").write_bytes(b"")
    return root


def test_the_masks_that_the_script_writes_are_those_that_training_wants(tmp_path: Path) -> None:
    roots = [write_folders(tmp_path / name, name) for name in ("mask_valid", "mask")]
    readers = [open_split(root, "test") for root in roots]
    for index in (0, 39):
        valid = [reader[index]["valid"] for reader in readers]
        np.testing.assert_array_equal(valid[0], depth_of(index) > 0)
        np.testing.assert_array_equal(valid[1], valid[0])
    assert len(open_split(roots[0], "train")) == 40
    none = open_split(write_folders(tmp_path / "none", None), "test")
    assert none[0]["valid"].all()
    assert none.fingerprint() not in [reader.fingerprint() for reader in readers]


@pytest.mark.parametrize(
    ("masks", "note"),
    [
        ("mask", "data: nyuv2: valid pixels are those that mask/ marks"),
        (
            None,
            "data: nyuv2: there are no masks (mask_valid/ or mask/), so every depth above 0 counts, in-painted ones too",
        ),
    ],
)
@pytest.mark.slow
def test_the_result_says_which_pixels_count(tmp_path: Path, masks: str | None, note: str) -> None:
    write_folders(tmp_path / "nyuv2", masks)
    result = run("nyuv2-depth", "random:mini-mae", recipe="smoke", data_root=tmp_path, results=tmp_path / "results")
    assert result is not None
    assert [text for text in result.protocol.deviations if text.startswith("data: ")] == [note]


def test_the_check_says_that_there_are_no_masks(tmp_path: Path) -> None:
    said = [finding for finding in dataset_info("nyuv2").check(write_folders(tmp_path, None)) if not finding.ok]
    masks = [finding.what.partition(" (")[0] for finding in said if "mask" in finding.what]
    assert masks == ["train: there are no masks", "test: there are no masks"]
    assert not any(finding.stops for finding in said)


def test_kaggles_tables_have_two_units(tmp_path: Path) -> None:
    train, test = [], []
    for number in range(4):
        scene = f"data/nyu2_train/living_room_{number // 2:04d}{'ab'[number % 2]}_out"
        write(tmp_path / "nyu_data" / scene / f"{number}.png", image_of(number))
        write(tmp_path / "nyu_data" / scene / f"{number}.d.png", (depth_of(number) * 25.5).round().astype(np.uint8))
        train.append(f"{scene}/{number}.png,{scene}/{number}.d.png")
        name = f"data/nyu2_test/{9 * number:05d}"
        write(tmp_path / "nyu_data" / f"{name}_colors.png", image_of(number))
        write(tmp_path / "nyu_data" / f"{name}_depth.png", (depth_of(number) * 1000).round().astype(np.uint16))
        test.append(f"{name}_colors.png,{name}_depth.png")
    (tmp_path / "nyu_data/data/nyu2_train.csv").write_text("\n".join(train) + "\n")
    (tmp_path / "nyu_data/data/nyu2_test.csv").write_text("\n".join(test) + "\n")
    assert layout_of(tmp_path) == "kaggle"
    readers = [open_split(tmp_path, split) for split in SPLITS]
    for reader, step in zip(readers, (10 / 255, 1e-3), strict=True):
        np.testing.assert_allclose(reader[2]["depth_m"], depth_of(2), atol=step)
        np.testing.assert_array_equal(reader[2]["image"], image_of(2))
    assert set(readers[0].groups) == {"living_room_0000", "living_room_0001"}
    assert len(set(readers[1].groups)) == 3
    (tmp_path / "nyu_data/data/nyu2_test.csv").write_text("one\n")
    with pytest.raises(DataError, match='has a row "one", expected "<rgb>,<depth>"'):
        open_split(tmp_path, "test")


def test_eigens_test_images_in_numpy_files_can_be_scored_but_not_trained_on(tmp_path: Path) -> None:
    images, depths = (np.stack([of(number) for number in range(5)]) for of in (image_of, depth_of))
    (tmp_path / "nyu_test").mkdir()
    np.save(tmp_path / "nyu_test/eigen_test_rgb.npy", images)
    np.save(tmp_path / "nyu_test/eigen_test_depth.npy", depths.astype(np.float64))
    task = NYUv2Depth(NYUv2DepthOptions(), SIZE)
    reader = task.open_test(tmp_path).test
    assert (len(reader), reader.available) == (5, 654)
    sample = pickle.loads(pickle.dumps(reader))[4]
    np.testing.assert_array_equal(sample["image"], images[4])
    np.testing.assert_array_equal(sample["depth_m"], depths[4])
    np.testing.assert_array_equal(sample["valid"], depths[4] > 0)
    assert len(pickle.dumps(reader)) < 2000
    with pytest.raises(AbsentError, match=r"no training images; .*--eval-only"):
        task.open(tmp_path, seed=0)
    np.save(tmp_path / "nyu_test/eigen_test_depth.npy", depths[1:])
    with pytest.raises(DataError, match="don't belong together"):
        open_split(tmp_path, "test")


def test_the_official_split_is_built_in(tmp_path: Path) -> None:
    splits = official_splits()
    assert {name: len(indices) for name, indices in splits.items()} == {"train": 795, "test": 654}
    assert splits["test"][:6].tolist() == [0, 1, 8, 13, 14, 15] and splits["test"][-1] == 1448
    with h5py.File(tmp_path / MAT, "w") as file:
        for name, shape, kind in (("images", (1449, 3, 4, 3), "u1"), ("depths", (1449, 4, 3), "f4")):
            file.create_dataset(name, shape=shape, dtype=kind)
        file.create_dataset("rawDepths", shape=(1449, 4, 3), dtype="f4")
    assert np.array_equal(read_splits(tmp_path)["test"], splits["test"])
    assert layout_of(tmp_path) == "mat"
