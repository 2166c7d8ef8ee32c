"""ImageNet's folders and archives."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.imagenet import open_split, titles
from croco_bench.errors import DataError


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "imagenet"))


@pytest.fixture
def tars(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same images as the official archives hold them."""
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "archives"
    folder.mkdir()
    classes = sorted(path.name for path in (root / "train").iterdir())
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as outer:
        for name in reversed(classes):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for path in sorted((root / "train" / name).iterdir()):
                    archive.add(path, path.name)
            facts = tarfile.TarInfo(f"{name}.tar")
            facts.size = len(inner.getvalue())
            outer.addfile(facts, io.BytesIO(inner.getvalue()))
    # Numbers of classes are not in the order of their names.
    numbers, truth = {name: 1 + (2 * index) % 3 for index, name in enumerate(classes)}, []
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as archive:
        for count, path in enumerate(sorted((root / "val").glob("*/*"), key=lambda path: path.name[::-1]), start=1):
            archive.add(path, f"ILSVRC2012_val_{count:08d}.JPEG")
            truth.append(numbers[path.parent.name])
    write_devkit(folder, numbers, truth)
    return folder


def write_devkit(folder: Path, numbers: dict[str, int], truth: list[int]) -> None:
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O")]
    synsets, meta = np.array([(number, name) for name, number in numbers.items()], dtype=kinds), io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})  # type: ignore[arg-type]  # files are fine
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as kit:
        contents = {"meta.mat": meta.getvalue()}
        contents["ILSVRC2012_validation_ground_truth.txt"] = "\n".join(map(str, truth)).encode()
        for name, content in contents.items():
            facts = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            facts.size = len(content)
            kit.addfile(facts, io.BytesIO(content))


def test_labels_are_places_among_the_sorted_folders(root: Path) -> None:
    train, val = open_split(root, "train"), open_split(root, "val")
    assert (len(train), len(val), len(train.classes)) == (24, 12, 3)
    assert train.classes == sorted(train.classes) == val.classes
    assert [train[index]["label"] for index in (0, 8, 16, 23)] == [0, 1, 2, 2]
    assert train[0]["image"].shape == (40, 40, 3)
    assert train[9]["id"].startswith(train.classes[1])


def test_archives_hold_the_same_images_with_the_same_labels(root: Path, tars: Path) -> None:
    for split in ("train", "val"):
        folders, archives = open_split(root, split), open_split(tars, split)
        assert folders.classes == archives.classes
        pictures = {(one["image"].tobytes(), one["label"]) for one in (folders[i] for i in range(len(folders)))}
        assert pictures == {
            (one["image"].tobytes(), one["label"]) for one in (archives[i] for i in range(len(archives)))
        }


def test_the_list_of_an_archive_is_kept_and_is_of_that_archive(tars: Path, tmp_path: Path) -> None:
    open_split(tars, "train")
    (kept,) = (tmp_path / "cache" / "archives").glob("*.json")
    before = kept.stat().st_mtime_ns
    open_split(tars, "train")
    assert kept.stat().st_mtime_ns == before
    path = tars / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="truncated or isn't a tar archive"):
        open_split(tars, "train")


def test_gray_cmyk_and_transparent_images_become_rgb(root: Path) -> None:
    reader = open_split(root, "train")
    folder = root / "train" / reader.classes[0]
    for index, mode in enumerate(("L", "CMYK", "RGBA")):
        path = sorted(folder.iterdir())[index]
        Image.new(mode, (30, 20)).save(path, format="PNG" if mode == "RGBA" else "JPEG")
    assert all(open_split(root, "train")[index]["image"].shape == (20, 30, 3) for index in range(3))


def test_damage_is_a_sentence(root: Path) -> None:
    reader = open_split(root, "train")
    path = root / "train" / reader.groups[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=f"{path.name} can't be decoded"):
        reader[0]
    path.write_bytes(b"not an image")
    with pytest.raises(
        DataError, match=rf"{path.name} can't be decoded as an image \(its format, or its kind of pixels, isn't read\)"
    ):
        open_split(root, "train")[0]
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        reader[0]
    (root / "val" / reader.classes[0]).rename(root / "val" / "n99999999")
    with pytest.raises(DataError, match="the same class folders, but only one has"):
        open_split(root, "val")
    for item in (root / "train" / reader.classes[1]).iterdir():
        item.unlink()
    with pytest.raises(DataError, match="holds no image"):
        open_split(root, "train")
    with pytest.raises(DataError, match=r"neither train/<class>/ nor ILSVRC2012_img_train\.tar"):
        open_split(root / "nowhere", "train")


def test_missing_labels_of_the_archives(tars: Path) -> None:
    (tars / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(DataError, match=r"there is no .*devkit_t12\.tar\.gz, which has the labels"):
        open_split(tars, "val")


@pytest.mark.parametrize("size", [0, 50, 200])
def test_damaged_labels_of_the_archives(tars: Path, size: int) -> None:
    path = tars / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"has the labels of ILSVRC2012_img_val\.tar, but can't be read"):
        open_split(tars, "val")


def test_labels_beyond_the_classes(tars: Path) -> None:
    write_devkit(tars, {"n1": 1, "n2": 2, "n3": 3}, [1] * 12)
    with pytest.raises(DataError, match=r"should have the same classes, but only one has n"):
        open_split(tars, "val")
    classes = open_split(tars, "train").classes
    write_devkit(tars, {name: index + 1 for index, name in enumerate(classes)}, [1, 4] * 6)
    with pytest.raises(DataError, match="has the label 4, expected 1 to 3"):
        open_split(tars, "val")


def test_a_damaged_list_of_an_archive_is_made_anew(tars: Path, tmp_path: Path) -> None:
    before = open_split(tars, "train")
    (kept,) = (tmp_path / "cache" / "archives").glob("*.json")
    for text in ("[", "[[1]]", "7"):
        kept.write_text(text)
        assert open_split(tars, "train").fingerprint() == before.fingerprint()


def test_classes_are_called_what_people_call_them(root: Path) -> None:
    assert titles(root, open_split(root, "train").classes) == ["ball", "bed", "box"]
    (root / "LOC_synset_mapping.txt").write_text("n1 tench, Tinca tinca\nn2\n")
    assert titles(root, ["n1", "n2", "n3"]) == ["tench", "n2", "n3"]
    assert titles(root / "train", ["n1"]) == ["n1"]


@pytest.mark.parametrize("names", [["ball", "bed", "box"], ["ball, toy", "BED", "Box"], ["0", "1", "2"]])
def test_class_folders_may_have_other_names_in_each_split(root: Path, names: list[str]) -> None:
    before = [open_split(root, split).fingerprint() for split in ("train", "val")]
    wnids = open_split(root, "train").classes
    words = ("ball, toy", "bed", "box, case")
    lines = [f"{wnid} {text}\n" for wnid, text in zip(wnids, words, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    for wnid, name in zip(wnids, names, strict=True):
        (root / "val" / wnid).rename(root / "val" / name)
    assert [open_split(root, split).fingerprint() for split in ("train", "val")] == before
    (root / "val").rename(root / "validation")
    assert open_split(root, "val").fingerprint() == before[1]


def test_words_of_imagenet_1k_need_no_list(root: Path) -> None:
    """Without a list in the folder the words are timm's; folders by number need all 1000."""
    (root / "LOC_synset_mapping.txt").unlink()
    for split, names in {
        "train": ("n01440764", "n01443537", "n02123045"),
        "val": ("tench", "goldfish", "tabby"),
    }.items():
        for folder, name in zip(sorted((root / split).iterdir()), names, strict=True):
            folder.rename(folder.with_name(name))
    assert open_split(root, "val").classes == ["n01440764", "n01443537", "n02123045"]
    (root / "val/tabby").rename(root / "val/crane")  # a bird, and a machine
    with pytest.raises(DataError, match=r"only one has crane; .* or put LOC_synset_mapping\.txt"):
        open_split(root, "val")


def test_the_checker_counts(root: Path) -> None:
    findings = dataset_info("imagenet").check(root)
    assert all(finding.ok for finding in findings)
    assert [finding.what for finding in findings if "classes" in finding.what] == [
        "train: 24 images of 3 classes",
        "val: 12 images of 3 classes",
    ]
