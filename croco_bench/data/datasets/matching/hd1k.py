"""HD1K: a street in all weathers, with truth from laser scans and what is uncertain left out."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.flow import FlowReader
from croco_bench.data.datasets.matching.image_pairs import ViewPair, plain
from croco_bench.data.formats.flow import read_kitti_flow
from croco_bench.data.formats.layout import base_of, file_names, match
from croco_bench.errors import DataError

Split = Literal["train", "test"]
LINK = "http://hci-benchmark.iwr.uni-heidelberg.de"
PARTS: dict[Split, str] = {"train": "hd1k_input", "test": "hd1k_challenge"}


def open_split(root: Path, split: Split) -> FlowReader:
    """Pairs of following frames of one sequence. `test` has no flow: it is for submissions.

    The last frame of a sequence has flow too, but nothing that it leads to.

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
                f"{base / images / name} should be called <sequence>_<frame>.png in numbers", f"get {LINK} again"
            )
        sequences[sequence].append(name)
    steps = [(sequence, *step) for sequence, names in sequences.items() for step in pairwise(names)]
    if split == "train":
        present = set(file_names(base / flows, "", ".png", LINK))
        lasts = present & {names[-1] for names in sequences.values()}
        match(base / flows, {first for _, first, _ in steps} | lasts, present, LINK)
    pairs = [
        ViewPair(
            id=first.removesuffix(".png"),
            group=sequence,
            image1=f"{images}/{first}",
            image2=f"{images}/{second}",
            truth=f"{flows}/{first}" if split == "train" else None,
        )
        for sequence, first, second in steps
    ]
    return FlowReader("hd1k", split, base, pairs, plain("flow_px", read_kitti_flow), miniature=is_miniature(root))
