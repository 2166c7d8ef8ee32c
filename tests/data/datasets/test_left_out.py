"""Files whose ending isn't read are told of, never ignored without a word."""

import shutil
from pathlib import Path

import pytest

from croco_bench.data.datasets import ade20k, imagenet, nyuv2
from croco_bench.data.datasets.multimae import MultimaeReader
from croco_bench.data.formats.images import write_image
from croco_bench.data.formats.layout import file_names, kinds_in, kinds_of
from croco_bench.data.splitting import assumptions_of
from croco_bench.errors import DataError


def test_endings_are_counted(tmp_path: Path) -> None:
    assert kinds_in(["a.webp", "b.webp", "c.txt", "d"]) == "2 .webp, 1 .txt, 1 without an ending"
    for name in ("a.webp", "b.webp", ".hidden"):
        (tmp_path / name).touch()
    assert kinds_of(tmp_path) == " (but 2 .webp)"
    with pytest.raises(DataError, match=r"holds no \*\.png \(but 2 \.webp\); unpack LINK there"):
        file_names(tmp_path, "", ".png", "LINK")


def test_imagenet(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "imagenet"))
    first = next(iter(sorted((root / "train").iterdir())))
    assert assumptions_of(imagenet.open_split(root, "train")) == ()
    (first / "more.webp").touch()
    said = assumptions_of(imagenet.open_split(root, "train"))
    assert said == ("imagenet: train: files that aren't .jpeg, .jpg, .png are left out: 1 .webp",)
    for path in first.glob("*.JPEG"):
        path.rename(path.with_suffix(".tiff"))
    with pytest.raises(DataError, match=r"holds no image \(\.jpeg, \.jpg, \.png\), but \d+ \.tiff"):
        imagenet.open_split(root, "train")


def test_multimae(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "multimae", tmp_path / "multimae"))
    next(iter(sorted((root / "train/rgb").iterdir()))).joinpath("x.heic").touch()
    assert MultimaeReader(root).assumptions == ("files whose ending is no image's are left out: 1 .heic",)


def test_ade20k(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "ade20k", tmp_path / "ade20k"))
    for path in root.rglob("images/training/*.jpg"):
        path.rename(path.with_suffix(".jpeg"))
    with pytest.raises(DataError, match=r"holds no \.jpg file \(but \d+ \.jpeg\)"):
        ade20k.ADE20KReader(root, "train")


def test_folders_of_nyuv2(tiny_data: Path, tmp_path: Path) -> None:
    sample = nyuv2.open_split(tiny_data / "nyuv2", "test")[0]
    for split in ("train", "test"):
        for kind in ("rgb", "depth"):
            (tmp_path / split / kind / "data").mkdir(parents=True)
            (tmp_path / split / kind / "data/1.jpg").touch()
    with pytest.raises(DataError, match=r"holds no PNG in a subfolder, but 1 \.jpg"):
        nyuv2.open_split(tmp_path, "test")
    write_image(tmp_path / "test/rgb/data/0.png", sample["image"])
    said = nyuv2.open_split(tmp_path, "test")
    assert "files of test/rgb that aren't .png are left out: 1 .jpg" in assumptions_of(said)[-1]
