"""CREStereo: rendered training data for stereo, of four kinds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_crestereo_disparity
from croco_bench.data.formats.layout import check_choice, file_names, require_exactly, subfolders
from croco_bench.errors import DataError

LINK = "https://github.com/megvii-research/CREStereo"
PAIRS: dict[str, int] = {"train": 200_000}
KINDS = ("hole", "reflective", "shapenet", "tree")
_FOLDERS = ("stereo_trainset/crestereo", "crestereo", ".")
_LEFT, _RIGHT, _TRUTH = "_left.jpg", "_right.jpg", "_left.disp.png"


def open_split(root: Path, split: str = "train") -> MatchingReader:
    """All pairs; there is one split, and each pair is a group of its own.

    Raises:
        DataError: files are missing.
        UsageError: no such split.
    """
    check_choice("split of CREStereo", (split,), ("train",))
    base = next((root / name for name in _FOLDERS if any((root / name / kind).is_dir() for kind in KINDS)), None)
    if base is None:
        raise DataError(f"{root} holds no {', '.join(KINDS)}, directly or in {_FOLDERS[0]}", f"unpack {LINK} there")
    pairs = [pair for kind in subfolders(base, LINK) if kind in KINDS for pair in _pairs(base, kind)]
    read_truth = partial(read_truth_file, "disparity_px", read_crestereo_disparity)
    return MatchingReader("crestereo", split, base, pairs, read_truth, miniature=is_miniature(root))


def _pairs(base: Path, kind: str) -> list[PairPaths]:
    names = file_names(base / kind, "", "", LINK)
    stems = [name.removesuffix(_LEFT) for name in names if name.endswith(_LEFT)]
    for suffix in (_RIGHT, _TRUTH):
        require_exactly(
            base / kind, (stem + suffix for stem in stems), [name for name in names if name.endswith(suffix)], LINK
        )
    return [
        PairPaths(
            id=f"{kind}/{stem}",
            group=f"{kind}/{stem}",
            image1=f"{kind}/{stem}{_LEFT}",
            image2=f"{kind}/{stem}{_RIGHT}",
            truth=f"{kind}/{stem}{_TRUTH}",
        )
        for stem in stems
    ]


def check(root: Path) -> list[Finding]:
    """Findings on all four kinds together."""
    return check_splits(root, LINK, open_split, PAIRS)
