"""Checks Taskonomy files: lists, counts, and a look at samples of every domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.taskonomy import DOMAINS, LISTS, Split, layout_of, open_split
from croco_bench.errors import DataError

# Rows of MultiMAE's lists; how many its list for training has isn't known here, 800 of them are used.
_COUNTS: dict[Split, int] = {"val": 35_774, "test": 54_514}
_LOOKED_AT = 5


def check(root: Path) -> list[Finding]:
    """Findings on the dataset folder `root`; stops at the first thing without which the rest can't be looked at."""
    findings: list[Finding] = []
    try:
        findings.extend(_findings(root))
    except DataError as error:
        what, _, advice = str(error).partition("; ")
        findings.append(Finding(False, what, advice))
    return findings


def _findings(root: Path) -> Iterator[Finding]:
    layout = layout_of(root)
    yield Finding(
        True, f"layout: {'domains that hold buildings' if layout == 'tasks' else 'buildings that hold domains'}"
    )
    if is_miniature(root):
        yield Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset")
    splits: tuple[Split, ...] = ("train", "val", "test")
    parts: dict[Split, set[str]] = {}
    for split in splits:
        reader = open_split(root, split, domain="depth", layout=layout)
        expected, parts[split] = _COUNTS.get(split), set(reader.groups)
        yield Finding(
            reader.miniature or expected is None or len(reader) == expected,
            f"{split}: {len(reader)} views of {len(parts[split])} buildings",
            f"the published protocol has {expected}; take its list from {LISTS}",
        )
        for domain in DOMAINS:
            yield _look(root, split, domain)
    shared = parts["test"] & (parts["train"] | parts["val"])
    yield Finding(
        not shared,
        f"{len(shared)} buildings of the test list are in another list",
        f"the splits should be of different buildings; take the lists from {LISTS}",
    )


def _look(root: Path, split: Split, domain: str) -> Finding:
    """A look at a few samples spread over the split."""
    reader = open_split(root, split, domain=domain)
    samples = [reader[int(index)] for index in np.unique(np.linspace(0, len(reader) - 1, _LOOKED_AT).astype(int))]
    seen = np.concatenate([sample["target"][sample["valid"]].ravel() for sample in samples])
    share = float(np.mean([sample["valid"].mean() for sample in samples]))
    varied = bool(seen.size) and float(np.ptp(seen)) > 0
    return Finding(
        varied and share > 0.2,
        f"{split} {domain}: {share:.0%} valid, mean {seen.mean() if seen.size else float('nan'):.3f}",
        "expected more than 20 % valid pixels and a target that varies; get the files again",
    )
