"""Sources of pre-training pairs: held-out scenes, and images that are too small."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

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


def test_an_image_that_is_too_small_is_named(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        paint_pair(folder / "1.png", folder / "2.png")
    (tmp_path / "list.txt").write_text("a/1.png a/2.png\nb/1.png b/2.png\n")
    source = opened([str(tmp_path / "list.txt")], "data.holdout=0", "data.resize=0")
    for prepare in (source.train_transform, source.val_transform):
        with pytest.raises(DataError, match=r"a/1\.png: an image of 16x16 pixels is smaller than the crop of 64x64"):
            prepare(source.train[0], np.random.default_rng(0))


def write_views(folder: Path, stems: Iterable[str], ending: str = "jpg") -> None:
    """For each stem the same two images of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    views = [cv2.imencode(".jpg", image)[1].tobytes() for image in noise]
    for stem in stems:
        (folder / stem).parent.mkdir(exist_ok=True)
        for number, view in enumerate(views, start=1):
            (folder / f"{stem}_{number}.{ending}").write_bytes(view)


def scenes_of(folder: Path, scenes: int, each: int) -> str:
    """A list of pairs."""
    folder.mkdir()
    stems = [f"s{scene}/{pair}" for scene in range(scenes) for pair in range(each)]
    (folder / "pairs.txt").write_text("".join(f"{stem}_1.jpeg {stem}_2.jpeg\n" for stem in stems))
    write_views(folder, stems, "jpeg")
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


def test_scenes_that_a_list_says_are_held_out_whole(tmp_path: Path) -> None:
    """Ten scenes, five pairs each, under running numbers in two folders."""
    write_views(tmp_path, [f"{i % 2}/{i}" for i in range(50)])
    (tmp_path / "listing.txt").write_text("# pair_path\n" + "".join(f"{i % 2}/{i}\n" for i in range(50)))
    (tmp_path / "scenes.txt").write_text("".join(f"room {i // 5}\n" for i in range(50)))
    source = opened([str(tmp_path)], "data.holdout=8")
    assert source.held_out is not None
    assert len(set(source.held_out.groups)) >= 2 and not source.notes
    assert not set(source.train.groups) & set(source.held_out.groups)


def test_folders_that_may_not_be_scenes_are_said(tmp_path: Path) -> None:
    write_views(tmp_path, [f"{i // 5}/{i}" for i in range(50)])
    (tmp_path / "listing.txt").write_text("# pair_path\n" + "".join(f"{i // 5}/{i}\n" for i in range(50)))
    (note,) = opened([str(tmp_path)], "data.holdout=8").notes
    assert "listing.txt doesn't say which scene" in note and "scenes.txt" in note
    (tmp_path / "listing.txt").write_text("# pair_path\n0/1\n0/2\n")
    with pytest.raises(DataError, match=r"of one folder, which stands for a scene where there is no scenes\.txt"):
        opened([str(tmp_path)], "data.holdout=2")


def test_nothing_held_out_is_said(tmp_path: Path) -> None:
    (note,) = opened([scenes_of(tmp_path / "a", 3, 2)], "data.holdout=0").notes
    assert "no held-out error, no ratio, no sheets" in note


def test_without_another_scene_there_is_no_wrong_reference(tmp_path: Path) -> None:
    source = opened([scenes_of(tmp_path / "a", 2, 20)], "data.holdout=8")
    assert source.held_out is not None
    assert len(set(source.held_out.groups)) == 1
    assert any("no wrong reference of another scene" in note for note in source.notes)
    assert not opened([str(tmp_path / "a")], "data.holdout=8", "objective=mae").notes
