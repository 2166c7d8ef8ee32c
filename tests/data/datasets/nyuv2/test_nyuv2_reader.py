"""NYUv2 in its three layouts: depth in meters, valid pixels, scenes, damaged files, and its check."""

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from torch.utils.data import DataLoader

from croco_bench.data.datasets.nyuv2 import check, layout_of, open_split
from croco_bench.data.datasets.nyuv2_mat import MAT, SPLITS, open_mat
from croco_bench.data.folders import MARKER
from croco_bench.data.formats.images import read_gray
from croco_bench.errors import DataError
from croco_bench.tasks.nyuv2_depth import NYUv2Depth, NYUv2DepthOptions
from croco_bench.types import Array
from tests.data.datasets.nyuv2.nyuv2_layouts import (
    COUNT,
    HEIGHT,
    SCENES,
    TEST,
    TRAIN,
    WIDTH,
    WRITERS,
    depth_of,
    image_of,
    raw_of,
    write_folders,
    write_official,
)


@pytest.mark.parametrize("layout", list(WRITERS))
def test_all_layouts_give_the_same_upright_samples_in_meters(layout: str, tmp_path: Path) -> None:
    root = WRITERS[layout](tmp_path)
    assert layout_of(root) == layout
    for split, numbers in (("train", TRAIN), ("test", TEST)):
        reader = open_split(root, split)  # type: ignore[arg-type]
        assert (len(reader), reader.available, reader.split, reader.miniature) == (len(numbers),) * 2 + (split, True)
        for index, number in enumerate((numbers.ravel() - 1).tolist()):
            sample = reader[index]
            np.testing.assert_array_equal(sample["image"], image_of(number))
            assert (sample["image"].dtype, sample["depth_m"].dtype) == (np.uint8, np.float32)
            valid = raw_of(number) > 0
            if layout == "folders":
                valid &= depth_of(number) > 1.5
            np.testing.assert_array_equal(sample["valid"], valid)
            np.testing.assert_allclose(sample["depth_m"][valid], depth_of(number)[valid], atol=6e-4)
        with pytest.raises(IndexError):
            reader[len(reader)]


def test_filled_depths_are_the_target_and_validity_is_a_choice(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    number = int(TEST[0, 0]) - 1
    for validity, holes in (("raw", 4), ("all", 0)):
        sample = open_split(root, "test", validity=validity)[0]  # type: ignore[arg-type]
        np.testing.assert_array_equal(sample["depth_m"], depth_of(number))
        assert np.count_nonzero(~sample["valid"]) == holes


def test_folders_without_masks_count_depths_above_zero(tmp_path: Path) -> None:
    write_folders(tmp_path / "masked")
    write_folders(tmp_path / "plain", masks=False)
    number = int(TEST[0, 0]) - 1
    plain = open_split(tmp_path / "plain", "test")[0]["valid"]
    np.testing.assert_array_equal(plain, raw_of(number) > 0)
    np.testing.assert_array_equal(open_split(tmp_path / "masked", "test", validity="all")[0]["valid"], plain)


def test_recordings_of_one_room_are_one_group(tmp_path: Path) -> None:
    reader = open_split(write_official(tmp_path), "train")
    assert list(reader.groups) == [SCENES[number - 1][:-1] for number in TRAIN.ravel()]
    assert reader.groups[0] == "kitchen_0000"


def test_scene_types_stand_in_for_missing_scenes(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    with h5py.File(root / MAT, "r+") as file:
        del file["scenes"]
    assert set(open_split(root, "train").groups) == {"kitchen", "office"}


def test_folders_group_runs_of_ids(tmp_path: Path) -> None:
    reader = open_split(write_folders(tmp_path), "train")
    assert list(reader.groups) == [f"block-{(number - 1) // 10:04d}" for number in TRAIN.ravel()]


def test_fingerprints_follow_split_and_content(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        root.mkdir()
        write_official(root)
    prints = [open_split(root, split).fingerprint() for root in roots for split in ("train", "test")]
    assert prints[0] != prints[1]
    assert prints[:2] == prints[2:]
    scipy.io.savemat(roots[1] / SPLITS, {"trainNdxs": TRAIN[1:], "testNdxs": TEST})
    assert open_split(roots[1], "train").fingerprint() != prints[0]


class Numbers:
    """The third channel of every image, and the sum of all depths: what a worker read."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[int, float]:
        sample = self.reader[index]
        return int(sample["image"][0, 0, 2]), float(sample["depth_m"].sum())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_what_the_process_reads(method: str, tmp_path: Path) -> None:
    numbers = Numbers(open_split(write_official(tmp_path), "train"))
    expected = [numbers[index] for index in range(len(numbers))]  # leaves the file open in this process
    if method == "spawn":
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            assert pool.map(numbers.__getitem__, range(3)) == expected[:3]
        return
    loader: DataLoader[Any] = DataLoader(numbers, batch_size=None, num_workers=2, multiprocessing_context="fork")  # type: ignore[arg-type]
    assert [tuple(item) for item in loader] == expected
    assert [numbers[index] for index in range(len(numbers))] == expected
    assert len(pickle.dumps(numbers)) < 5000


def test_one_handle_for_each_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_split(write_official(tmp_path), "train")
    handles: list[h5py.File] = []

    def opened(root: Path) -> h5py.File:
        handles.append(open_mat(root))
        return handles[-1]

    monkeypatch.setattr("croco_bench.data.datasets.nyuv2.open_mat", opened)
    for index in range(3):
        assert reader[index]["id"]
    assert len(handles) == 1
    assert pickle.loads(pickle.dumps(reader))[1]["id"] == reader[1]["id"]
    assert len(handles) == 2
    monkeypatch.setattr("os.getpid", lambda: -1)  # as after a fork
    assert reader[0]["id"]
    assert len(handles) == 3


def truncate(root: Path) -> None:
    content = (root / MAT).read_bytes()
    (root / MAT).write_bytes(content[: len(content) // 2])


def change(key: str, values: Array | None) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        with h5py.File(root / MAT, "r+") as file:
            del file[key]
            if values is not None:
                file.create_dataset(key, data=values)

    return apply


def resplit(train: Array, test: Array) -> Callable[[Path], None]:
    return lambda root: scipy.io.savemat(root / SPLITS, {"trainNdxs": train, "testNdxs": test})


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no mat": (lambda root: (root / MAT).unlink(), "there is no .*labeled.mat; get it"),
    "no splits": (lambda root: (root / SPLITS).unlink(), "there is no .*splits.mat; get it"),
    "truncated": (truncate, "is truncated or no MATLAB 7.3 file"),
    "html": (lambda root: (root / MAT).write_text("<html>404</html>"), "16 bytes.* is truncated or no MATLAB 7.3"),
    "empty": (lambda root: (root / MAT).write_bytes(b""), "0 bytes.* is truncated or no MATLAB 7.3"),
    "matlab 5": (lambda root: scipy.io.savemat(root / MAT, {"images": [1]}), "is truncated or no MATLAB 7.3"),
    "lacks raw": (change("rawDepths", None), "lacks rawDepths"),
    "sizes": (change("depths", np.ones((COUNT, WIDTH, HEIGHT - 1), np.float32)), r"depths \(24, 16, 11\)"),
    "axes": (change("images", np.ones((COUNT, HEIGHT, WIDTH, 3), np.uint8)), r"should be \(n, 3, W, H\)"),
    "type": (change("images", np.ones((COUNT, 3, WIDTH, HEIGHT), np.float32)), "float32, expected uint8"),
    "scenes": (change("scenes", np.ones((1, COUNT))), "isn't a cell array of names"),
    "splits html": (lambda root: (root / SPLITS).write_text("<html>404</html>"), "should hold trainNdxs"),
    "splits other": (lambda root: scipy.io.savemat(root / SPLITS, {"x": [1]}), "should hold trainNdxs"),
    "counts from 0": (resplit(TRAIN - 1, TEST - 1), "should count from 1"),
    "leak": (resplit(TRAIN, np.append(TEST, TRAIN[:1])), "names an image twice"),
    "other file": (resplit(TRAIN, np.append(TEST, 99)), "names image 99, but .* has 24"),
    "empty split": (resplit(TRAIN, np.zeros(0)), "the test split .* is empty"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_official_layout_is_one_sentence(case: str, tmp_path: Path) -> None:
    root = write_official(tmp_path)
    breaking, words = BROKEN[case]
    breaking(root)
    with pytest.raises(DataError, match=words) as caught:
        open_split(root, "test")
    assert "\n" not in str(caught.value)
    last = check(root)[-1]
    assert not last.ok
    assert last.advice or case in ("type", "axes", "sizes")


def test_damage_inside_the_file_is_found_when_it_is_read(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (COUNT, 3, WIDTH, HEIGHT), dtype=np.uint8)
    with h5py.File(root / MAT, "r+") as file:
        del file["images"]
        file.create_dataset("images", data=noise, chunks=(1, 3, WIDTH, HEIGHT), compression="gzip")
        start = file["images"].id.get_chunk_info(int(TEST[1, 0]) - 1).byte_offset + 512
    with (root / MAT).open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * 64)
    reader = open_split(root, "test")
    assert reader[0]["image"].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DataError, match=r"image 5 can't be read \(.*\); the file or the disk is damaged"):
        reader[1]


@pytest.mark.parametrize(
    ("layout", "file", "content", "words"),
    [
        ("folders", "test/depth/data/0002.png", None, "no readable .*0002.png"),
        ("folders", "test/depth/data/0002.png", b"", r"can't be decoded .*\(0 bytes\)"),
        ("folders", "test/rgb/data/0002.png", b"\x89PNG", "can't be decoded"),
        ("folders", "test/depth/data/0002.png", np.zeros((HEIGHT, WIDTH), np.uint8), "one-channel uint16 .* is uint8"),
        ("folders", "test/depth/data/0002.png", np.zeros((9, 9), np.uint16), "differ in size .*depth_m 9x9"),
        ("folders", "test/mask_valid/data/0002.png", np.zeros((9, 9), np.uint8), "differ in size"),
        ("bts", "nyu_test.txt", b"", "the test split .* is empty"),
        ("bts", "nyu_test.txt", b"\xff\xfe\n", "expected .<rgb> <depth> <focal>"),
        ("bts", "nyu_test.txt", None, "there is no .*nyu_test.txt"),
        ("bts", "nyu_test.txt", b"gone/rgb.jpg gone/depth.png 518", "no readable .*(depth.png|rgb.jpg)"),
    ],
)
def test_broken_folders_and_lists_are_one_sentence(
    layout: str, file: str, content: Any, words: str, tmp_path: Path
) -> None:
    root = WRITERS[layout](tmp_path)
    (root / file).unlink()
    if isinstance(content, bytes):
        (root / file).write_bytes(content)
    elif content is not None:
        cv2.imwrite(str(root / file), content)
    with pytest.raises(DataError, match=words) as caught:
        open_split(root, "test")[0]
    assert "\n" not in str(caught.value)


def test_a_folder_with_nothing_known_says_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no known layout; expected .*horatio.*splits.mat"):
        open_split(tmp_path, "train")
    (finding,) = check(tmp_path)
    assert not finding.ok
    assert "nyu_depth_v2_labeled.mat" in finding.advice


@pytest.mark.parametrize("layout", list(WRITERS))
def test_check_is_content_with_a_miniature(layout: str, tmp_path: Path) -> None:
    findings = check(WRITERS[layout](tmp_path))
    assert all(finding.ok for finding in findings), [finding for finding in findings if not finding.ok]
    assert any("miniature" in finding.what for finding in findings)


def test_check_counts_the_real_one(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    (root / MARKER).unlink()
    wrong = [finding for finding in check(root) if not finding.ok]
    counts = ["1449 of 480x640", "795", "654"]
    assert [finding.advice.rpartition(" has ")[2] for finding in wrong] == counts


def test_check_notices_a_wrong_unit_and_missing_images(tmp_path: Path) -> None:
    millimeters, short = tmp_path / "mm", tmp_path / "short"
    write_folders(millimeters, masks=False)
    for path in millimeters.glob("*/depth/data/*.png"):
        cv2.imwrite(str(path), read_gray(path, np.uint16) // 6)
    assert any("another unit" in finding.advice for finding in check(millimeters) if not finding.ok)
    short.mkdir()
    write_official(short)
    scipy.io.savemat(short / SPLITS, {"trainNdxs": TRAIN[:-1], "testNdxs": TEST})
    assert any("23 of 24 images" in finding.what for finding in check(short) if not finding.ok)


def test_the_task_selects_on_rooms_held_out_from_train(tmp_path: Path) -> None:
    task = NYUv2Depth(NYUv2DepthOptions(select_fraction=0.3), (8, 8))
    splits = task.open(write_official(tmp_path), seed=0)
    assert not set(splits.train.groups) & set(splits.select.groups)
    ids = [{part[index]["id"] for index in range(len(part))} for part in (splits.train, splits.select, splits.test)]
    assert [len(one) for one in ids] == [len(splits.train), len(splits.select), len(TEST)]
    assert len(ids[0] | ids[1]) == len(TRAIN)
    assert not (ids[0] | ids[1]) & ids[2]
