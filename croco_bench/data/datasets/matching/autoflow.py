"""AutoFlow: moving layered shapes, with rendering parameters optimized for training networks."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.flow import read_flo
from croco_bench.data.formats.layout import check_choice, subfolders
from croco_bench.errors import DataError

LINK = "https://autoflow-google.github.io"
PAIRS: dict[str, int] = {"train": 40_000}


def open_split(root: Path, split: str = "train") -> MatchingReader:
    """All pairs; there is one split. Groups are the tables: pairs made with one set of parameters.

    Missing files of a pair are noticed when it is read: there are 40,000 folders.

    Raises:
        DataError: folders are missing.
        UsageError: no such split.
    """
    check_choice("split of AutoFlow", (split,), ("train",))
    parts = [name for name in subfolders(root, LINK) if re.fullmatch(r"static_40k_png_\d_of_4", name)]
    if not parts:
        raise DataError(f"{root} holds no folder static_40k_png_1_of_4", f"unpack {LINK} there")
    pairs = [
        PairPaths(
            id=name,
            group="_".join(name.split("_")[:2]),
            image1=f"{part}/{name}/im0.png",
            image2=f"{part}/{name}/im1.png",
            truth=f"{part}/{name}/forward.flo",
        )
        for part in parts
        for name in subfolders(root / part, LINK)
        if name.startswith("table_")
    ]
    return MatchingReader(
        "autoflow", split, root, pairs, partial(read_truth_file, "flow_px", read_flo), miniature=is_miniature(root)
    )


def check(root: Path) -> list[Finding]:
    """Findings on all four parts together."""
    return check_splits(root, LINK, open_split, PAIRS)
