"""Middlebury stereo of 2001, 2003, 2005, 2006, 2014 and 2021, and its third evaluation: indoor scenes under several lights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, ReadTruth, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_middlebury_disparity, read_pfm_disparity
from croco_bench.data.formats.images import read_gray
from croco_bench.data.formats.layout import file_names, require, subfolders
from croco_bench.errors import AbsentError
from croco_bench.types import Array, Sample

Edition = Literal["2001", "2003", "2005", "2006", "2014", "2021"]
Split = Literal["train", "test"]
Resolution = Literal["F", "H", "Q"]
LINK = "https://vision.middlebury.edu/stereo/data"
# CroCo v2 selects by these scenes and trains on the others; of the evaluation, by Vintage.
SELECT_SCENES: dict[Edition, tuple[str, ...]] = {
    "2001": (),
    "2003": (),
    "2005": ("Reindeer",),
    "2006": ("Rocks1", "Wood2"),
    "2014": ("Umbrella-imperfect", "Vintage-perfect"),
    "2021": ("traproom1", "traproom2"),
}
_FOLDERS: dict[Edition, tuple[str, ...]] = {
    "2001": ("2001/data", "2001"),
    "2003": ("2003",),
    "2005": ("2005/train", "2005"),
    "2006": ("2006",),
    "2014": ("2014",),
    "2021": ("2021/data", "2021"),
}
# Pairs of each year, and of each split of the evaluation.
PAIRS: dict[Edition, int] = {"2001": 8, "2003": 2, "2005": 54, "2006": 189, "2014": 138, "2021": 355}
EVALUATION_PAIRS = 15
# Rows of the scenes of 2005 and 2006 in half and third size (1110 in full size) -> by what disparities are to be divided.
_REDUCED = {555: 2, 370: 3}
# Rows of the scenes of 2003 in quarter and half size -> steps per pixel of their disparities; one in full size.
_STEPS = {375: 4, 750: 2}
# Scenes of 2001 (in lower case) with other names of files than the rest -> left image, right image, disparity.
_OTHER_NAMES = {
    "map": ("im0.pgm", "im1.pgm", "disp0.pgm"),
    "tsukuba": ("scene1.row3.col3.ppm", "scene1.row3.col4.ppm", "truedisp.row3.col3.pgm"),
}
_USUAL_NAMES = ("im2.ppm", "im6.ppm", "disp2.pgm")
_PAGES_OF_2001 = ("anigif", "imagehtml")
# Steps per pixel of the disparities of 2001; more for tsukuba's file of this name.
_STEPS_OF_2001, _TSUKUBA_STEPS = 8, {"truedisp.row3.col3.pgm": 16}
# The value of non-occluded pixels in mask0nocc.png.
_NOT_OCCLUDED = 255


def open_scenes(root: Path, edition: Edition, *, scenes: Sequence[str] | None = None) -> MatchingReader:
    """All pairs of one year's scenes, or of some: every light and exposure that both views have.

    2001: six scenes of planes, of which view 2 is the left and view 6 the right one, map and tsukuba. 2003: cones and teddy in
    quarter, half or full size; view 2 is the left and view 6 the right one. 2005 and 2006: full, half or third size; view 1 is
    the left and view 5 the right one. 2014: the left view is im0, the right one im1, im1E (other exposure) or im1L (other
    light). 2021: both are from `ambient`; im0 beside that folder repeats one of them and isn't used.

    Raises:
        DataError: files are missing.
    """
    base = root / _first(root, _FOLDERS[edition])
    present = subfolders(base, LINK)
    require(base, scenes or (), present, LINK)
    find = _FINDERS[edition]
    pairs = [pair for scene in (present if scenes is None else scenes) for pair in find(base, scene)]
    truth = _READERS.get(edition, read_pfm_disparity)
    read_truth = partial(read_truth_file, "disparity_px", truth)
    return _reader(root, base, f"{edition} train", pairs, read_truth, released=PAIRS[edition] if scenes is None else 0)


def open_evaluation(root: Path, split: Split, *, resolution: Resolution = "F") -> MatchingReader:
    """The pairs of MiddEval3 in full, half or quarter size, in the official folders or in CroCo's.

    `occluded` is there where the mask of non-occluded pixels is. `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    official = {"train": "training", "test": "test"}[split]
    folder = _first(root, (f"MiddEval3_{resolution}/{split}", f"MiddEval3/{official}{resolution}"))
    truths = folder if split == "train" else None
    pairs = [evaluation_pair(root, folder, truths, scene, LINK) for scene in subfolders(root / folder, LINK)]
    name = f"MiddEval3 {split} {resolution}"
    return _reader(root, root, name, pairs, read_masked_truth, released=EVALUATION_PAIRS)


def evaluation_pair(base: Path, folder: str, truths: str | None, scene: str, link: str) -> PairPaths:
    """`im0.png` and `im1.png` of a scene in `folder`; `disp0GT.pfm` and, if it is there, `mask0nocc.png` in `truths`."""
    views = f"{folder}/{scene}"
    require(base / views, ("im0.png", "im1.png"), file_names(base / views, "im", ".png", link), link)
    pair = PairPaths(scene, scene, f"{views}/im0.png", f"{views}/im1.png")
    if truths is None:
        return pair
    names = file_names(base / truths / scene, "", "", link)
    require(base / truths / scene, ("disp0GT.pfm",), names, link)
    mask = f"{truths}/{scene}/mask0nocc.png" if "mask0nocc.png" in names else None
    return pair._replace(truth=f"{truths}/{scene}/disp0GT.pfm", occluded=mask)


def read_masked_truth(base: Path, pair: PairPaths) -> Sample:
    """Disparity from a .pfm; `occluded` are known pixels that aren't in the mask of non-occluded pixels."""
    disparity, valid = read_pfm_disparity(base / str(pair.truth))
    sample: Sample = {"disparity_px": disparity, "valid": valid}
    if pair.occluded is not None:
        visible = read_gray(base / pair.occluded, np.uint8) == _NOT_OCCLUDED
        # The reader refuses a mask of another size.
        sample["occluded"] = valid & ~visible if visible.shape == valid.shape else ~visible
    return sample


def _reader(
    root: Path, base: Path, split: str, pairs: Sequence[PairPaths], read_truth: ReadTruth, *, released: int
) -> MatchingReader:
    mini = is_miniature(root)
    return MatchingReader("middlebury", split, base, pairs, read_truth, miniature=mini, released=released)


def _first(root: Path, folders: Sequence[str]) -> str:
    for folder in folders:
        if (root / folder).is_dir():
            return folder
    raise AbsentError(f"{root} holds no folder {' or '.join(folders)}", f"get {LINK}")


def _read_of_2001(path: Path) -> tuple[Array, Array]:
    """Disparity in pixels of the image."""
    disparity, valid = read_middlebury_disparity(path)
    return disparity / np.float32(_TSUKUBA_STEPS.get(path.name, _STEPS_OF_2001)), valid


def _of_2001(base: Path, scene: str) -> Iterator[PairPaths]:
    """The pair of a scene; nothing for the two folders of web pages beside the scenes."""
    if scene in _PAGES_OF_2001:
        return
    wanted = _OTHER_NAMES.get(scene.lower(), _USUAL_NAMES)
    require(base / scene, wanted, file_names(base / scene, "", "", LINK), LINK)
    left, right, truth = (f"{scene}/{name}" for name in wanted)
    yield PairPaths(scene, scene, left, right, truth)


def _read_of_2003(path: Path) -> tuple[Array, Array]:
    """Disparity in pixels of the image."""
    disparity, valid = read_middlebury_disparity(path)
    return disparity / np.float32(_STEPS.get(disparity.shape[0], 1)), valid


def _of_2003(base: Path, scene: str) -> Iterator[PairPaths]:
    names = file_names(base / scene, "", "", LINK)
    image = ".ppm" if "im2.ppm" in names else ".png"
    truth = ".pgm" if "disp2.pgm" in names else ".png"
    require(base / scene, (f"im2{image}", f"im6{image}", f"disp2{truth}"), names, LINK)
    yield PairPaths(scene, scene, f"{scene}/im2{image}", f"{scene}/im6{image}", f"{scene}/disp2{truth}")


def _read_of_2005(path: Path) -> tuple[Array, Array]:
    """Disparity in pixels of the image: files of half and third size hold that of full size."""
    disparity, valid = read_middlebury_disparity(path)
    return disparity / np.float32(_REDUCED.get(disparity.shape[0], 1)), valid


def _of_2005(base: Path, scene: str) -> Iterator[PairPaths]:
    require(base / scene, ("disp1.png",), file_names(base / scene, "disp", ".png", LINK), LINK)
    for folder in (f"{scene}/Illum{light}/Exp{exposure}" for light in (1, 2, 3) for exposure in (0, 1, 2)):
        names = file_names(base / folder, "view", ".png", LINK)
        require(base / folder, ("view1.png", "view5.png"), names, LINK)
        yield PairPaths(folder, scene, f"{folder}/view1.png", f"{folder}/view5.png", f"{scene}/disp1.png")


def _of_2014(base: Path, scene: str) -> Iterator[PairPaths]:
    rights = ("im1", "im1E", "im1L")
    wanted = ("im0.png", *(f"{right}.png" for right in rights), "disp0.pfm")
    require(base / scene, wanted, file_names(base / scene, "", "", LINK), LINK)
    for right in rights:
        yield PairPaths(f"{scene}/{right}", scene, f"{scene}/im0.png", f"{scene}/{right}.png", f"{scene}/disp0.pfm")


def _of_2021(base: Path, scene: str) -> Iterator[PairPaths]:
    require(base / scene, ("disp0.pfm",), file_names(base / scene, "disp", ".pfm", LINK), LINK)
    for light in subfolders(base / scene / "ambient", LINK):
        folder = f"{scene}/ambient/{light}"
        lefts = file_names(base / folder, "im0", ".png", LINK)
        rights = file_names(base / folder, "im1", ".png", LINK)
        require(base / folder, (f"im1{left[3:]}" for left in lefts), rights, LINK)
        for left in lefts:
            stem = left.removesuffix(".png")
            yield PairPaths(
                f"{folder}/{stem}", scene, f"{folder}/{left}", f"{folder}/im1{left[3:]}", f"{scene}/disp0.pfm"
            )


_READERS: dict[Edition, Callable[[Path], tuple[Array, Array]]] = {
    "2001": _read_of_2001,
    "2003": _read_of_2003,
    "2005": _read_of_2005,
    "2006": _read_of_2005,
}
_FINDERS: dict[Edition, Callable[[Path, str], Iterator[PairPaths]]] = {
    "2001": _of_2001,
    "2003": _of_2003,
    "2005": _of_2005,
    "2006": _of_2005,
    "2014": _of_2014,
    "2021": _of_2021,
}


def check(root: Path) -> list[Finding]:
    """Findings on the years and resolutions that are there, of which one is enough."""
    resolutions: tuple[Resolution, ...] = ("F", "H", "Q")
    splits: tuple[Split, ...] = ("train", "test")
    parts = [
        Part(year, partial(open_scenes, root, year), pairs) for year, pairs in PAIRS.items() if (root / year).is_dir()
    ]
    parts += [
        Part(f"MiddEval3 {split} {size}", partial(open_evaluation, root, split, resolution=size), EVALUATION_PAIRS)
        for size in resolutions
        if (root / f"MiddEval3_{size}").is_dir() or (root / f"MiddEval3/training{size}").is_dir()
        for split in splits
    ]
    if not parts:
        return [Finding(False, f"{root} holds none of {', '.join(PAIRS)}, MiddEval3", f"get {LINK}")]
    return check_parts(root, LINK, parts)
