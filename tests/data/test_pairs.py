"""Lists of pairs in every published layout, mixtures of them, what is held out, and rooms without end."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.datasets.habitat import prepare as list_habitat
from croco_bench.data.mixtures.mixture import Mixture
from croco_bench.data.pairs import PairList, open_pairs
from croco_bench.data.rooms.endless import EndlessRooms
from croco_bench.errors import BenchError, DataError
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.sources import PretrainSource, open_source

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


# --- layouts ---


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


# --- the release's own list ---


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


# --- images ---


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


def test_an_image_that_is_too_small_is_named(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        paint_pair(folder / "1.png", folder / "2.png")
    (tmp_path / "list.txt").write_text("a/1.png a/2.png\nb/1.png b/2.png\n")
    source = opened([str(tmp_path / "list.txt")], "data.holdout=0", "data.resize=0")
    for prepare in (source.train_transform, source.val_transform):
        with pytest.raises(DataError, match=r"a/1\.png: an image of 16x16 pixels is smaller than the crop of 64x64"):
            prepare(source.train[0], np.random.default_rng(0))


# --- mixtures ---


class Numbers:
    """A reader of its own name and indices."""

    split, miniature = "train", False

    def __init__(self, name: str, count: int) -> None:
        self.dataset, self.available = name, count
        self.groups = [f"{name}{index // 2}" for index in range(count)]

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": (self.dataset, index), "group": self.groups[index]}

    def fingerprint(self) -> str:
        return f"{self.dataset}{self.available}"


def test_weights_say_how_often_a_set_comes_up() -> None:
    mixture = Mixture([Numbers("a", 10), Numbers("b", 7), Numbers("c", 8), Numbers("d", 6)], [1, 2, 0.5, 1.5], seed=0)
    assert len(mixture) == mixture.available == 10 + 14 + 4 + 9
    items = [mixture[index] for index in range(len(mixture))]
    counts = Counter(item["id"] for item in items)
    by_set = {name: sorted(count for (of, _), count in counts.items() if of == name) for name in "abcd"}
    assert by_set == {"a": [1] * 10, "b": [2] * 7, "c": [1] * 4, "d": [1, 1, 1, 2, 2, 2]}
    assert [group.partition("/")[2] for group in mixture.groups] == [item["group"] for item in items]
    assert mixture.dataset == "a+2*b+0.5*c+1.5*d"


def test_mixtures_are_the_same_everywhere_and_say_what_they_hold() -> None:
    def order(weights: list[float], seed: int = 0) -> list[Any]:
        mixture = Mixture([Numbers("a", 9), Numbers("b", 9)], weights, seed)
        return [mixture[index]["id"] for index in range(len(mixture))]

    assert order([1, 0.5]) == order([1, 0.5])
    assert order([1, 0.5]) != order([1, 0.5], seed=1)
    prints = {
        Mixture([Numbers("a", 9), Numbers("b", 9)], weights, 0).fingerprint()
        for weights in ([1, 1], [1, 2], [2, 1], [1, 0.5])
    }
    assert len(prints) == 4
    assert len(Mixture([Numbers("a", 9)], [0.01], 0)) == 1


# --- what is held out ---


def scenes_of(folder: Path, scenes: int, each: int) -> str:
    """A list of pairs whose images aren't there."""
    folder.mkdir()
    lines = [f"s{scene}/{pair}_1.jpeg s{scene}/{pair}_2.jpeg\n" for scene in range(scenes) for pair in range(each)]
    (folder / "pairs.txt").write_text("".join(lines))
    return str(folder)


def opened(pairs: list[str], *changes: str) -> PretrainSource:
    recipe = recipes.load("mini", [f"data.pairs={json.dumps(pairs)}", *changes])
    return open_source(recipe.data, build(recipe, 0), recipe.train.image_size, None)


def test_held_out_scenes_are_never_trained_on(tmp_path: Path) -> None:
    source = opened([scenes_of(tmp_path / "a", 40, 5)], "data.holdout=20")
    assert source.held_out is not None
    assert len(source.held_out) == 20
    assert len(source.train) == 200 - 20
    assert not set(source.train.groups) & set(source.held_out.groups)
    again = opened([str(tmp_path / "a")], "data.holdout=20").held_out
    assert again is not None
    assert list(again.groups) == list(source.held_out.groups)


def test_large_scenes_are_held_out_several_at_once(tmp_path: Path) -> None:
    """As in the Habitat release: one scene would do for the number, but not for a reference view of another scene."""
    source = opened([scenes_of(tmp_path / "a", 50, 100)], "data.holdout=32")
    assert source.held_out is not None
    assert len(source.held_out) == 32
    assert len(set(source.held_out.groups)) >= 4
    assert not set(source.train.groups) & set(source.held_out.groups)


def test_every_set_has_its_part_held_out(tmp_path: Path) -> None:
    pairs = [scenes_of(tmp_path / name, 10, 4) for name in ("a", "b")]
    source = opened(pairs, "data.holdout=16", "data.weights=[1.0, 2.0]")
    assert source.held_out is not None
    assert Counter(group[:2] for group in source.held_out.groups) == {"0/": 8, "1/": 8}
    assert not set(source.train.groups) & set(source.held_out.groups)
    assert Counter(group[:2] for group in source.train.groups) == {"0/": 32, "1/": 64}


def test_pairs_of_one_scene_cant_be_held_out(tmp_path: Path) -> None:
    pairs = [scenes_of(tmp_path / "a", 1, 9)]
    with pytest.raises(BenchError, match=r"data\.holdout=0"):
        opened(pairs, "data.holdout=2")
    assert opened(pairs, "data.holdout=0").held_out is None


# --- rooms ---


def test_rooms_are_a_function_of_seed_and_index() -> None:
    def views(seed: int, index: int) -> np.ndarray[Any, Any]:
        pair = EndlessRooms(16, count=10, seed=seed)[index]["pair"]
        return np.stack([pair.image(1), pair.image(2)])

    first = views(0, 3)
    assert (first.dtype, first.shape) == (np.uint8, (2, 16, 16, 3))
    assert np.array_equal(first, views(0, 3))
    assert not np.array_equal(first, views(0, 4))
    assert not np.array_equal(first, views(1, 3))
    assert not np.array_equal(first[0], first[1])


def test_rooms_say_what_they_are() -> None:
    prints = {EndlessRooms(side, count, seed).fingerprint() for side in (16, 24) for count in (5, 6) for seed in (0, 1)}
    assert len(prints) == 8
    rooms = EndlessRooms(16, count=6)
    assert len(set(rooms.groups)) == len(rooms) == 6
    assert rooms.miniature
