"""CREStereo: rendered things of four kinds, made to train stereo on."""

from __future__ import annotations

from pathlib import Path

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.image_pairs import ViewPair, plain
from croco_bench.data.datasets.matching.stereo import DisparityReader
from croco_bench.data.formats.disparity import read_crestereo_disparity
from croco_bench.data.formats.layout import chosen, file_names, match, subfolders
from croco_bench.errors import DataError

LINK = "https://github.com/megvii-research/CREStereo"
KINDS = ("hole", "reflective", "shapenet", "tree")
_FOLDERS = ("stereo_trainset/crestereo", "crestereo", ".")
_LEFT, _RIGHT, _TRUTH = "_left.jpg", "_right.jpg", "_left.disp.png"


def open_split(root: Path, split: str = "train") -> DisparityReader:
    """All pairs; there is one split, and each pair is a group of its own.

    Raises:
        DataError: files are missing.
        UsageError: no such split.
    """
    chosen("split of CREStereo", (split,), ("train",))
    base = next((root / name for name in _FOLDERS if any((root / name / kind).is_dir() for kind in KINDS)), None)
    if base is None:
        raise DataError(f"{root} holds no {', '.join(KINDS)}, directly or in {_FOLDERS[0]}", f"unpack {LINK} there")
    pairs = [pair for kind in subfolders(base, LINK) if kind in KINDS for pair in _pairs(base, kind)]
    truth = plain("disparity_px", read_crestereo_disparity)
    return DisparityReader("crestereo", split, base, pairs, truth, miniature=is_miniature(root))


def _pairs(base: Path, kind: str) -> list[ViewPair]:
    names = file_names(base / kind, "", "", LINK)
    stems = [name.removesuffix(_LEFT) for name in names if name.endswith(_LEFT)]
    for suffix in (_RIGHT, _TRUTH):
        match(base / kind, (stem + suffix for stem in stems), [name for name in names if name.endswith(suffix)], LINK)
    return [
        ViewPair(
            id=f"{kind}/{stem}",
            group=f"{kind}/{stem}",
            image1=f"{kind}/{stem}{_LEFT}",
            image2=f"{kind}/{stem}{_RIGHT}",
            truth=f"{kind}/{stem}{_TRUTH}",
        )
        for stem in stems
    ]
