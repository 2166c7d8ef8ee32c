"""ADE20K: images with annotations, classes and colors, damaged files, and its check."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from croco_bench.contracts import Reader
from croco_bench.data.datasets.ade20k import NAMES, PALETTE, ADE20KReader, base_of, check
from croco_bench.data.folders import MARKER
from croco_bench.data.miniatures.ade20k import ADE20KMini, write_ade20k
from croco_bench.errors import DataError, UsageError
from croco_bench.types import Array

PARTS = {"train": ("training", "train", 5), "test": ("validation", "val", 3)}


def numbers_of(index: int, height: int = 9, width: int = 14) -> Array:
    """A map of the file's numbers, 0 to 150."""
    rows, columns = np.mgrid[:height, :width]
    numbers: Array = ((13 * rows + 7 * columns + index) % 151).astype(np.uint8)
    return numbers


def write_official(root: Path, folder: str = "ADEChallengeData2016") -> Path:
    """The archive's content, written with Pillow; portrait images at odd places."""
    for part, short, count in PARTS.values():
        for kind in ("images", "annotations"):
            (root / folder / kind / part).mkdir(parents=True)
        for index in range(count):
            numbers = numbers_of(index) if index % 2 else numbers_of(index).T
            name = f"ADE_{short}_{index + 1:08d}"
            image = np.stack([np.full_like(numbers, 40 * index), numbers, 255 - numbers], axis=2)
            Image.fromarray(image).save(root / folder / "images" / part / f"{name}.jpg", quality=98, subsampling=0)
            Image.fromarray(np.ascontiguousarray(numbers)).save(root / folder / "annotations" / part / f"{name}.png")
    return root


@pytest.mark.parametrize("folder", ["ADEChallengeData2016", "."])
def test_samples_count_classes_from_zero_and_keep_the_unlabeled_apart(folder: str, tmp_path: Path) -> None:
    root = write_official(tmp_path, folder)
    for split, (part, short, count) in PARTS.items():
        reader = ADE20KReader(root, split)  # type: ignore[arg-type]
        assert isinstance(reader, Reader)
        assert (len(reader), reader.split, reader.dataset) == (count, part, "ade20k")
        assert reader.available == {"train": 20_210, "test": 2_000}[split]
        assert reader.miniature is False
        assert reader.groups == [f"ADE_{short}_{index + 1:08d}" for index in range(count)]
        for index in range(count):
            sample = reader[index]
            numbers = numbers_of(index) if index % 2 else numbers_of(index).T
            assert sample["id"] == f"ADE_{short}_{index + 1:08d}"
            assert (sample["label"].dtype, sample["image"].dtype) == (np.uint8, np.uint8)
            np.testing.assert_array_equal(sample["label"] == 255, numbers == 0)
            np.testing.assert_array_equal(sample["label"][numbers > 0], numbers[numbers > 0] - 1)
            assert sample["image"].shape == (*numbers.shape, 3)
            # RGB, not BGR: red counts the images.
            assert abs(float(sample["image"][:, :, 0].mean()) - 40 * index) < 8
        with pytest.raises(IndexError):
            reader[count]


def test_readers_are_pickled_and_their_fingerprints_follow_the_files(tmp_path: Path) -> None:
    one, two = write_official(tmp_path / "one"), write_official(tmp_path / "two")
    reader = ADE20KReader(one, "train")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))[1]["label"], reader[1]["label"])
    assert reader.fingerprint() == ADE20KReader(two, "train").fingerprint() != ADE20KReader(two, "test").fingerprint()
    path = base_of(two) / "annotations/training/ADE_train_00000002.png"
    Image.fromarray(np.zeros((9, 14), np.uint8)).save(path)
    assert reader.fingerprint() != ADE20KReader(two, "train").fingerprint()


def test_names_and_colors_of_the_development_kit() -> None:
    """Places in objectInfo150.txt, counted from 1, and colours of color150."""
    known = {
        1: "wall",
        4: "floor",
        6: "ceiling",
        8: "bed",
        20: "chair",
        58: "pillow",
        127: "animal",
        137: "traffic light",
        150: "flag",
    }
    assert len(NAMES) == len(set(NAMES)) == 150
    assert {number: NAMES[number - 1] for number in known} == known
    assert PALETTE.shape == (150, 3) and PALETTE.dtype == np.uint8
    assert PALETTE[[0, 1, 2, 12, 149]].tolist() == [
        [120, 120, 120],
        [180, 120, 120],
        [6, 230, 230],
        [150, 5, 61],
        [92, 0, 255],
    ]


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def save(values: Array) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).save(path)


IMAGE, LABEL = "images/validation/ADE_val_00000002.jpg", "annotations/validation/ADE_val_00000002.png"
DAMAGED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "class 151": (LABEL, save(np.full((9, 14), 151, np.uint8)), "has class 151, expected 0 .unlabelled. to 150"),
    "reduced": (LABEL, save(np.full((9, 14), 255, np.uint8)), "has class 255"),
    "two sizes": (LABEL, save(np.ones((14, 9), np.uint8)), "is 14x9, but its image is 9x14"),
    "colours": (LABEL, save(np.zeros((9, 14, 3), np.uint8)), "one-channel uint8 .* shape .9, 14, 3"),
    "16 bits": (LABEL, save(np.ones((9, 14), np.uint16)), "one-channel uint8 .*is uint16"),
    "half a png": (LABEL, halve, "can't be decoded"),
    "half a jpeg": (IMAGE, halve, "can't be decoded"),
    "no image": (IMAGE, lambda path: path.write_text("<html>"), "can't be decoded .*6 bytes"),
    "empty": (IMAGE, lambda path: path.write_bytes(b""), "can't be decoded .*0 bytes"),
}


@pytest.mark.parametrize("case", list(DAMAGED))
def test_a_damaged_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    file, damage, words = DAMAGED[case]
    root = write_official(tmp_path)
    damage(base_of(root) / file)
    reader = ADE20KReader(root, "test")
    assert reader[0]["id"]
    with pytest.raises(DataError, match=words) as caught:
        reader[1]
    assert "\n" not in str(caught.value) and "ADE_val_00000002" in str(caught.value)
    last = check(root)[-1]
    assert not last.ok and last.what


@pytest.mark.parametrize(("file", "words"), [(IMAGE, "jpg"), (LABEL, "png")])
def test_half_a_pair_is_refused_at_once(file: str, words: str, tmp_path: Path) -> None:
    root = write_official(tmp_path)
    (base_of(root) / file).unlink()
    with pytest.raises(DataError, match=f"there is no .*ADE_val_00000002.{words}, and 1 in all") as caught:
        ADE20KReader(root, "test")
    assert "\n" not in str(caught.value)
    assert len(ADE20KReader(root, "train")) == 5


def test_missing_folders_say_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither ADEChallengeData2016 nor .*unpack http"):
        ADE20KReader(tmp_path, "train")
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    with pytest.raises(DataError, match=r"no readable .*images/training .*No such file"):
        ADE20KReader(tmp_path, "train")
    for kind in ("images", "annotations"):
        (tmp_path / kind / "training").mkdir()
    with pytest.raises(DataError, match=r"holds no \.jpg file"):
        ADE20KReader(tmp_path, "train")


def test_check_counts_the_real_one_and_is_content_with_a_miniature(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    wrong = [finding for finding in check(root) if not finding.ok]
    assert [finding.advice.rpartition(" has ")[2] for finding in wrong] == ["20210", "2000"]
    (root / MARKER).write_text("{}")
    assert all(finding.ok for finding in check(root))


def test_check_notices_annotations_without_labels_and_blank_images(tmp_path: Path) -> None:
    root = write_official(tmp_path)
    for path in base_of(root).glob("annotations/training/*.png"):
        save(np.zeros(np.asarray(Image.open(path)).shape, np.uint8))(path)
    path = base_of(root) / IMAGE
    save(np.full(np.asarray(Image.open(path)).shape, 9, np.uint8))(path)
    words = " ".join(finding.what for finding in check(root) if not finding.ok)
    assert (
        "training: 0% of 5 annotations labelled, mostly nothing" in words
        and "ADE_val_00000002 is a blank image" in words
    )


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of its own: to render those of all datasets takes longer than all of these tests."""
    root = tmp_path_factory.mktemp("rooms")
    with ThreadPoolExecutor(1) as pool:
        write_ade20k(root, ADE20KMini(8, 2, 40, 56), 0, pool, lambda _: None)
    (root / MARKER).write_text("{}")
    return root


def test_rooms_are_written_in_the_official_layout(rooms: Path) -> None:
    files = {str(path.relative_to(rooms)) for path in rooms.rglob("*") if path.is_file()}
    expected = {MARKER}
    for part, short, count in (("training", "train", 8), ("validation", "val", 2)):
        for number in range(1, count + 1):
            expected.add(f"ADEChallengeData2016/images/{part}/ADE_{short}_{number:08d}.jpg")
            expected.add(f"ADEChallengeData2016/annotations/{part}/ADE_{short}_{number:08d}.png")
    assert files == expected
    seen: set[str] = set()
    sizes = set()
    for file in sorted(files - {MARKER}):
        with Image.open(rooms / file) as image:
            assert (image.format, image.mode) == (("JPEG", "RGB") if file.endswith("jpg") else ("PNG", "L"))
            sizes.add(image.size)
    reader = ADE20KReader(rooms, "train")
    assert reader.miniature and len(reader) == 8
    for index in range(8):
        label = reader[index]["label"]
        assert (label == 255).mean() < 0.7
        seen |= {NAMES[one] for one in np.unique(label) if one != 255}
    assert len(sizes) > 5
    assert {"wall", "floor", "ceiling"} < seen < set(NAMES)


def test_images_and_annotations_of_rooms_show_the_same(rooms: Path) -> None:
    """Colours change where classes do: edges of both maps meet more often than shifted ones."""
    reader, here, there = ADE20KReader(rooms, "train"), 0.0, 0.0
    for index in range(len(reader)):
        sample = reader[index]
        step = np.abs(np.diff(sample["image"].astype(float), axis=1)).sum(axis=2)
        edge = np.diff(sample["label"].astype(int), axis=1) != 0
        here += float(step[edge].mean())
        there += float(step[np.roll(edge, 5, axis=1)].mean())
    assert here > 1.5 * there


@pytest.mark.slow
def test_rooms_follow_the_seed(tmp_path: Path) -> None:
    found = []
    with ThreadPoolExecutor(1) as pool:
        for name, seed in (("one", 0), ("same", 0), ("other", 1)):
            write_ade20k(tmp_path / name, ADE20KMini(1, 1, 24, 32), seed, pool, lambda _: None)
            found.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.jpg"))])
    assert found[0] == found[1] and not set(found[0]) & set(found[2])
    assert len(set(found[0])) == 2
    with pytest.raises(UsageError, match="at least 8 pixels"):
        ADE20KMini(height=4)
