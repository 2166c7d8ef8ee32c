"""Middlebury's stereo of 2005, 2006, 2014 and 2021, and its third evaluation: still scenes indoors, in several lights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.image_pairs import Truth, ViewPair, plain
from croco_bench.data.datasets.matching.stereo import DisparityReader, masked_truth
from croco_bench.data.formats.disparity import read_middlebury_disparity, read_pfm_disparity
from croco_bench.data.formats.layout import file_names, require, subfolders
from croco_bench.errors import DataError

Edition = Literal["2005", "2006", "2014", "2021"]
Split = Literal["train", "test"]
Resolution = Literal["F", "H", "Q"]
LINK = "https://vision.middlebury.edu/stereo/data"
# CroCo v2 selects by these scenes and trains on the others; of the evaluation, by Vintage.
SELECT_SCENES: dict[Edition, tuple[str, ...]] = {
    "2005": ("Reindeer",),
    "2006": ("Rocks1", "Wood2"),
    "2014": ("Umbrella-imperfect", "Vintage-perfect"),
    "2021": ("traproom1", "traproom2"),
}
_FOLDERS: dict[Edition, tuple[str, ...]] = {
    "2005": ("2005/train", "2005"),
    "2006": ("2006",),
    "2014": ("2014",),
    "2021": ("2021/data", "2021"),
}


def open_scenes(root: Path, edition: Edition, *, scenes: Sequence[str] | None = None) -> DisparityReader:
    """All pairs of one year's scenes, or of some: every light and exposure that both views have.

    2005 and 2006 are those of full size, from view 1 to view 5; of 2014 the left view is always im0, the right one im1, im1E
    (other exposure) or im1L (other light); of 2021 both are from `ambient`, and im0 beside it, which repeats one of them, isn't
    used.

    Raises:
        DataError: files are missing.
    """
    base = root / _first(root, _FOLDERS[edition])
    present = subfolders(base, LINK)
    require(base, scenes or (), present, LINK)
    find = _FINDERS[edition]
    pairs = [pair for scene in (present if scenes is None else scenes) for pair in find(base, scene)]
    truth = read_middlebury_disparity if edition in ("2005", "2006") else read_pfm_disparity
    return _reader(root, base, f"{edition} train", pairs, plain("disparity_px", truth))


def open_evaluation(root: Path, split: Split, *, resolution: Resolution = "F") -> DisparityReader:
    """The pairs of MiddEval3 in full, half or quarter size, in the official folders or in CroCo's.

    `occluded` is read where the mask of what both views see is there. `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    official = {"train": "training", "test": "test"}[split]
    folder = _first(root, (f"MiddEval3_{resolution}/{split}", f"MiddEval3/{official}{resolution}"))
    truths = folder if split == "train" else None
    pairs = [evaluation_pair(root, folder, truths, scene, LINK) for scene in subfolders(root / folder, LINK)]
    return _reader(root, root, f"MiddEval3 {split} {resolution}", pairs, masked_truth)


def evaluation_pair(base: Path, folder: str, truths: str | None, scene: str, link: str) -> ViewPair:
    """`im0.png` and `im1.png` of a scene in `folder`; `disp0GT.pfm` and, if it is there, `mask0nocc.png` in `truths`."""
    views = f"{folder}/{scene}"
    require(base / views, ("im0.png", "im1.png"), file_names(base / views, "im", ".png", link), link)
    pair = ViewPair(scene, scene, f"{views}/im0.png", f"{views}/im1.png")
    if truths is None:
        return pair
    names = file_names(base / truths / scene, "", "", link)
    require(base / truths / scene, ("disp0GT.pfm",), names, link)
    mask = f"{truths}/{scene}/mask0nocc.png" if "mask0nocc.png" in names else None
    return pair._replace(truth=f"{truths}/{scene}/disp0GT.pfm", occluded=mask)


def _reader(root: Path, base: Path, split: str, pairs: Sequence[ViewPair], truth: Truth) -> DisparityReader:
    return DisparityReader("middlebury", split, base, pairs, truth, miniature=is_miniature(root))


def _first(root: Path, folders: Sequence[str]) -> str:
    for folder in folders:
        if (root / folder).is_dir():
            return folder
    raise DataError(f"{root} holds no folder {' or '.join(folders)}", f"get {LINK}")


def _of_2005(base: Path, scene: str) -> Iterator[ViewPair]:
    require(base / scene, ("disp1.png",), file_names(base / scene, "disp", ".png", LINK), LINK)
    for folder in (f"{scene}/Illum{light}/Exp{exposure}" for light in (1, 2, 3) for exposure in (0, 1, 2)):
        names = file_names(base / folder, "view", ".png", LINK)
        require(base / folder, ("view1.png", "view5.png"), names, LINK)
        yield ViewPair(folder, scene, f"{folder}/view1.png", f"{folder}/view5.png", f"{scene}/disp1.png")


def _of_2014(base: Path, scene: str) -> Iterator[ViewPair]:
    rights = ("im1", "im1E", "im1L")
    wanted = ("im0.png", *(f"{right}.png" for right in rights), "disp0.pfm")
    require(base / scene, wanted, file_names(base / scene, "", "", LINK), LINK)
    for right in rights:
        yield ViewPair(f"{scene}/{right}", scene, f"{scene}/im0.png", f"{scene}/{right}.png", f"{scene}/disp0.pfm")


def _of_2021(base: Path, scene: str) -> Iterator[ViewPair]:
    require(base / scene, ("disp0.pfm",), file_names(base / scene, "disp", ".pfm", LINK), LINK)
    for light in subfolders(base / scene / "ambient", LINK):
        folder = f"{scene}/ambient/{light}"
        lefts = file_names(base / folder, "im0", ".png", LINK)
        rights = file_names(base / folder, "im1", ".png", LINK)
        require(base / folder, (f"im1{left[3:]}" for left in lefts), rights, LINK)
        for left in lefts:
            stem = left.removesuffix(".png")
            yield ViewPair(
                f"{folder}/{stem}", scene, f"{folder}/{left}", f"{folder}/im1{left[3:]}", f"{scene}/disp0.pfm"
            )


_FINDERS: dict[Edition, Callable[[Path, str], Iterator[ViewPair]]] = {
    "2005": _of_2005,
    "2006": _of_2005,
    "2014": _of_2014,
    "2021": _of_2021,
}
