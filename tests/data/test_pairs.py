"""Lists of image pairs in every published layout."""

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.datasets.habitat import prepare as list_habitat
from croco_bench.data.pairs import PairList, open_pairs
from croco_bench.errors import DataError

# Colours (RGB) that JPEG keeps apart.
LEFT, RIGHT = (200, 40, 40), (40, 40, 200)


def paint(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), color[::-1], dtype=np.uint8))
    return path


def paint_pair(first: Path, second: Path) -> None:
    paint(first, LEFT)
    paint(second, RIGHT)


def shown(reader: PairList, index: int) -> tuple[list[int], list[int]]:
    """The middle pixel of both views, rounded as JPEG's losses ask."""
    pair = reader[index]["pair"]
    first, second = (np.round(pair.image(number)[8, 8] / 40.0).astype(int) * 40 for number in (1, 2))
    return first.tolist(), second.tolist()


def named_list(folder: Path, text: str, name: str = "list.txt") -> PairList:
    (folder / name).write_bytes(text.encode())
    return open_pairs(folder / name)


def habitat(root: Path) -> Path:
    paint_pair(root / "hm3d/scene/00000000_1.jpeg", root / "hm3d/scene/00000000_2.jpeg")
    (root / "pairs.txt").write_text("hm3d/scene/00000000_1.jpeg hm3d/scene/00000000_2.jpeg\n")
    return root


def crops(root: Path) -> Path:
    paint_pair(root / "00/0a/0000000f_1.jpg", root / "00/0a/0000000f_2.jpg")
    (root / "listing.txt").write_text("# pair_path\n00/0a/0000000f\n")
    return root


def mimic(root: Path) -> Path:
    paint_pair(root / "scannet/s0/p0/0000.jpg", root / "scannet/s0/p0/0001.jpg")
    line = "scannet/s0/p0/corresponding.npy,scannet/s0/p0/0000.jpg,scannet/s0/p0/0001.jpg"
    (root / "train.csv").write_text(f"correspondence,path1,path2\n{line}\n")
    return root / "train.csv"


def mimic_folder(root: Path) -> Path:
    return mimic(root).parent


def two_columns(root: Path) -> Path:
    paint_pair(root / "a/left.png", root / "b/right.png")
    (root / "mine.lst").write_text("a/left.png\tb/right.png\n")
    return root / "mine.lst"


def absolute(root: Path) -> Path:
    paint_pair(root / "far/left.jpg", root / "far/right.jpg")
    (root / "lists").mkdir()
    (root / "lists/all.txt").write_text(f"{root}/far/left.jpg {root}/far/right.jpg\n")
    return root / "lists/all.txt"


def mined(root: Path) -> Path:
    paint_pair(root / "video/000.jpg", root / "video/010.jpg")
    (root / "out").mkdir()
    (root / "out/pairs.txt").write_text("000.jpg 010.jpg\n")
    (root / "out/pairs.json").write_text(json.dumps({"root": str(root / "video")}))
    return root / "out"


@pytest.mark.parametrize("layout", [habitat, crops, mimic, mimic_folder, two_columns, absolute, mined])
def test_every_layout(layout: Any, tmp_path: Path) -> None:
    reader = open_pairs(layout(tmp_path))
    assert len(reader) == reader.available == 1
    assert shown(reader, 0) == ([200, 40, 40], [40, 40, 200])
    assert reader.dataset
    assert shown(pickle.loads(pickle.dumps(reader)), 0) == shown(reader, 0)  # as workers get it


def test_a_root_relative_to_the_list(tmp_path: Path) -> None:
    mined(tmp_path)
    (tmp_path / "out/pairs.json").write_text('{"root": "../video"}')
    assert shown(open_pairs(tmp_path / "out"), 0)[0] == [200, 40, 40]


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"roots": 1}'])
def test_a_damaged_root_is_one_sentence(text: str, tmp_path: Path) -> None:
    mined(tmp_path)
    (tmp_path / "out/pairs.json").write_text(text)
    with pytest.raises(DataError, match=r"pairs.json should say the root"):
        open_pairs(tmp_path / "out")


@pytest.mark.parametrize(
    "text",
    [
        "a/1.jpg a/2.jpg\nb/1.jpg b/2.jpg\n",
        "a/1.jpg a/2.jpg\nb/1.jpg b/2.jpg",
        "a/1.jpg a/2.jpg\r\nb/1.jpg b/2.jpg\r\n",
        "\n\na/1.jpg a/2.jpg\n\nb/1.jpg b/2.jpg\n\n\n",
        "\r\na/1.jpg a/2.jpg\r\n\r\nb/1.jpg b/2.jpg\r\n\r\n",
        "  \na/1.jpg a/2.jpg\n \t \nb/1.jpg b/2.jpg\n  ",
        "# first second\n  a/1.jpg   a/2.jpg \nb/1.jpg\tb/2.jpg\n# end",
    ],
)
def test_line_ends_blanks_and_comments(text: str, tmp_path: Path) -> None:
    reader = named_list(tmp_path, text)
    assert [reader.names(index) for index in range(len(reader))] == [("a/1.jpg", "a/2.jpg"), ("b/1.jpg", "b/2.jpg")]
    assert list(reader.groups) == ["a", "b"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_have_a_header(end: str, mark: str, tmp_path: Path) -> None:
    text = mark + end.join(["path1, path2, correspondence", "a/1.jpg, a/2.jpg, a/c.npy", "b/1.jpg,b/2.jpg,", ""])
    reader = named_list(tmp_path, text, "some.csv")
    assert [reader.names(index) for index in range(len(reader))] == [("a/1.jpg", "a/2.jpg"), ("b/1.jpg", "b/2.jpg")]


def test_listings_without_their_first_line_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "listing.txt").write_text("00/01\n00/02")
    assert open_pairs(tmp_path).names(0) == ("00/01_1.jpg", "00/01_2.jpg")
    assert len(open_pairs(tmp_path)) == 2


@pytest.mark.parametrize("line", ["one.jpg", "one.jpg two.jpg three.jpg", "a\0b c\0d", "\udcff.jpg"])
def test_lines_that_are_no_pair(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(f"a.jpg b.jpg\n{line}\n".encode("utf-8", "surrogateescape"))
    reader = open_pairs(tmp_path / "list.txt")
    assert reader.names(0) == ("a.jpg", "b.jpg")
    with pytest.raises(DataError, match="doesn't hold a pair of paths") as caught:
        reader[1]
    assert "list.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="doesn't hold a pair"):
        list(reader.groups)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "", "lists no pairs"),
        ("list.txt", "\n \r\n", "lists no pairs"),
        ("some.csv", "path1,path2\n", "lists no pairs"),
        ("some.csv", "left,right\na,b\n", "should begin with the columns path1,path2; found left,right"),
        ("some.csv", "path1,path2\na.jpg\n", "doesn't hold a pair"),
    ],
)
def test_wrong_lists_are_one_sentence(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        named_list(tmp_path, text, name)[0]


def test_folders_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither pairs\.txt, listing\.txt nor one \.csv"):
        open_pairs(tmp_path)
    for name in ("train.csv", "val.csv"):  # which of them, is for the user to say
        (tmp_path / name).write_text("path1,path2\na,b\n")
    with pytest.raises(DataError, match=r"nor one \.csv"):
        open_pairs(tmp_path)
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        open_pairs(tmp_path / "nowhere")


def test_lists_are_told_apart_by_their_content(tmp_path: Path) -> None:
    one, same, other = (
        named_list(tmp_path, text, name) for text, name in [("a b\n", "1"), ("a b\n", "2"), ("a c\n", "3")]
    )
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_listing_below_a_path_that_says_val(tmp_path: Path) -> None:
    root = tmp_path / "eval" / "val" / "habitat_release"
    for scene in ("hm3d/train/b", "hm3d/train/a", "hm3d/val/c", "hm3d/minival/d", "valley", "replica_cad_baked"):
        paint_pair(root / scene / "00000000_1.jpeg", root / scene / "00000000_2.jpeg")
    paint(root / "hm3d/train/a/00000001_1.jpeg", LEFT)  # its second view is missing
    paint(root / "hm3d/train/a/00000000_1_depth.jpeg", LEFT)
    assert list_habitat(root) == f"{root / 'pairs.txt'} with 4 pairs"
    reader = open_pairs(root)
    assert list(reader.groups) == ["hm3d/train/a", "hm3d/train/b", "replica_cad_baked", "valley"]
    assert shown(reader, 3) == ([200, 40, 40], [40, 40, 200])
    with pytest.raises(DataError, match="is there already"):
        list_habitat(root)


def test_a_release_without_pairs_isnt_listed(tmp_path: Path) -> None:
    paint_pair(tmp_path / "hm3d/val/s/00000000_1.jpeg", tmp_path / "hm3d/val/s/00000000_2.jpeg")
    with pytest.raises(DataError, match="holds no pairs"):
        list_habitat(tmp_path)
    assert not (tmp_path / "pairs.txt").exists()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_images_of_any_kind_become_rgb(channels: int, kind: type, tmp_path: Path) -> None:
    scale = 257 if kind is np.uint16 else 1
    blue_green_red_opacity = np.array([30, 60, 90, 128]) if channels > 1 else np.array([60])
    pixels: Any = np.tile(blue_green_red_opacity[:channels] * scale, (5, 7, 1)).astype(kind)
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = named_list(tmp_path, "a.png a.png\n")[0]["pair"].image(2)
    assert (image.dtype, image.shape) == (np.uint8, (5, 7, 3))
    assert image[2, 3].tolist() == ([90, 60, 30] if channels > 1 else [60, 60, 60])


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_half_an_image_is_no_image(ending: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = cv2.imencode(f".{ending}", noise)[1].tobytes()
    (tmp_path / f"a.{ending}").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=rf"a\.{ending} can't be decoded"):
        named_list(tmp_path, f"a.{ending} a.{ending}\n")[0]["pair"].image(1)


def test_missing_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no readable .*gone\.jpg \(No such file"):
        named_list(tmp_path, "gone.jpg gone.jpg\n")[0]["pair"].image(1)
