"""The check of Taskonomy's files: lists, and a few views of every split and domain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from croco_bench.data.checks.run_check import Finding, optional, run_check
from croco_bench.data.datasets.taskonomy import DOMAINS, TaskonomyReader, open_split
from croco_bench.data.datasets.taskonomy_files import LINK, TITLES, has_domain, layout_of, mask_source
from croco_bench.data.datasets.taskonomy_lists import LISTS, VIEWS, Split, read_list
from croco_bench.data.folders import is_miniature
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import AbsentError

_VIEWS_LOOKED_AT = 5
_MASKS = {
    "mask_valid": "valid pixels from mask_valid",
    "depth": "no mask_valid, so valid is where depth_zbuffer isn't 65535",
}


def check(root: Path) -> list[Finding]:
    """Findings on the lists, and on a few views of every split and domain; domains are independent of each other."""
    looks = [partial(_look_at, domain=domain, split=split) for domain in DOMAINS for split in VIEWS]
    return run_check(root, _look_at_lists, *(optional(look) for look in looks))


def _look_at_lists(root: Path) -> Iterator[Finding]:
    layout = layout_of(root)
    yield Finding(True, f"layout: {TITLES[layout]}; {_MASKS[mask_source(root, layout)]}")
    buildings: dict[Split, set[str]] = {}
    for split, expected in VIEWS.items():
        rows = read_list(root, split, layout)
        buildings[split] = {building for building, _, _ in rows}
        yield Finding.count(
            is_miniature(root) or expected is None or len(rows) == expected,
            f"{split}: {len(rows)} views of {len(buildings[split])} buildings",
            f"the published protocol has {expected}; take its list from {LISTS}",
        )
    shared = buildings["test"] & (buildings["train"] | buildings["val"])
    yield Finding(
        not shared,
        f"{len(shared)} buildings of the test list are in another list",
        f"the splits should be of different buildings; take the lists from {LISTS}",
        stops=False,
    )


def _look_at(root: Path, *, domain: str, split: Split) -> Iterator[Finding]:
    layout, folder = layout_of(root), DOMAINS[domain].folder
    if not has_domain(root, layout, folder):
        raise AbsentError(f"{domain}: there is no {folder}, which taskonomy-{domain} needs", f"get it from {LINK}")
    reader = open_split(root, split, domain=domain, layout=layout)
    for note in reader.assumptions:
        if "left out" in note:
            yield Finding.count(False, note, f"get them from {LINK}")
    yield _look_at_views(reader, f"{split} {domain}")


def _look_at_views(reader: TaskonomyReader, title: str) -> Finding:
    samples = [reader[i] for i in spread_indices(len(reader), _VIEWS_LOOKED_AT)]
    known = np.concatenate([sample["target"][sample["valid"]].ravel() for sample in samples])
    share = float(np.mean([sample["valid"].mean() for sample in samples]))
    varied = bool(known.size) and float(np.ptp(known)) > 0
    return Finding(
        varied and share > 0.2,
        f"{title}: {share:.0%} valid, mean {known.mean() if known.size else float('nan'):.3f}",
        "expected more than 20 % valid pixels and a target that varies; these files may hold something else",
        stops=False,
        reader=reader,
    )
