"""CroCo's Habitat release: checks of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import DataError

_PAIRS = 1_801_209


def check(root: Path) -> list[Finding]:
    """Findings on `pairs.txt` and on pairs spread over it."""
    listing = root / "pairs.txt"
    if not listing.is_file():
        return [Finding(False, f"there is no {listing}", "list one pair a line: two paths relative to this folder")]
    pairs = [line.split() for line in listing.read_text("utf-8", "replace").splitlines() if line.strip()]
    wrong = [number for number, pair in enumerate(pairs, start=1) if len(pair) != 2]
    if wrong or not pairs:
        where = f"line {wrong[0]}" if wrong else "the file"
        return [Finding(False, f"{listing}: {where} should hold two paths", "one pair a line, separated by a space")]
    official = is_miniature(root) or len(pairs) == _PAIRS
    findings = [Finding(official, f"pairs.txt: {len(pairs)} pairs", f"the release has {_PAIRS} for training")]
    for index in sorted({int(place) for place in np.linspace(0, len(pairs) - 1, 5)}):
        try:
            shapes = [read_rgb(root / path).shape[:2] for path in pairs[index]]
        except DataError as error:
            findings.append(Finding(False, str(error), "unpack the archives again"))
            continue
        findings.append(
            Finding(
                shapes[0] == shapes[1],
                f"{pairs[index][0]}: {shapes[0]} and {shapes[1]} pixels",
                "expected two equal sizes",
            )
        )
    return findings
