"""HD1K: a street in various weather, with ground truth from laser scans where it is certain."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.flow import read_kitti_flow
from croco_bench.data.formats.layout import base_of, file_names, require_exactly
from croco_bench.errors import DataError

Split = Literal["train", "test"]
LINK = "http://hci-benchmark.iwr.uni-heidelberg.de"
# The release does not say how many pairs it has.
_PAIRS: dict[Split, int | None] = {"train": None}
PARTS: dict[Split, str] = {"train": "hd1k_input", "test": "hd1k_challenge"}


def open_split(root: Path, split: Split) -> MatchingReader:
    """Pairs of following frames of one sequence. `test` has no flow: it is for submissions.

    The last frame of a sequence has flow too, but no successor.

    Raises:
        DataError: files are missing.
    """
    base = base_of(root, ("hd1k_full_package",), PARTS[split], LINK)
    images, flows = f"{PARTS[split]}/image_2", "hd1k_flow_gt/flow_occ"
    sequences = defaultdict[str, list[str]](list)
    for name in file_names(base / images, "", ".png", LINK):
        sequence, _, frame = name.removesuffix(".png").partition("_")
        if not (sequence.isdecimal() and frame.isdecimal()):
            raise DataError(
                f"{base / images / name} should be called <sequence>_<frame>.png in numbers",
                "give it its name in the release, or move it away",
            )
        sequences[sequence].append(name)
    steps = [(sequence, *step) for sequence, names in sequences.items() for step in pairwise(names)]
    if split == "train":
        present = set(file_names(base / flows, "", ".png", LINK))
        lasts = present & {names[-1] for names in sequences.values()}
        require_exactly(base / flows, {first for _, first, _ in steps} | lasts, present, LINK)
    pairs = [
        PairPaths(
            id=first.removesuffix(".png"),
            group=sequence,
            image1=f"{images}/{first}",
            image2=f"{images}/{second}",
            truth=f"{flows}/{first}" if split == "train" else None,
        )
        for sequence, first, second in steps
    ]
    read_truth = partial(read_truth_file, "flow_px", read_kitti_flow)
    return MatchingReader("hd1k", split, base, pairs, read_truth, miniature=is_miniature(root))


def check(root: Path) -> list[Finding]:
    """Findings on the sequences with flow."""
    return check_splits(root, LINK, open_split, _PAIRS)
