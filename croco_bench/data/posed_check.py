"""7-Scenes: checks of the files."""

from __future__ import annotations

from pathlib import Path

from croco_bench.data.places import Finding, is_miniature
from croco_bench.data.posed import open_posed
from croco_bench.errors import DataError

_FRAMES = {"train": 26_000, "test": 17_000}


def check(root: Path) -> list[Finding]:
    """Findings on the splits' frames, and on one frame of every sequence."""
    try:
        sequences = open_posed(root)
    except DataError as error:
        return [Finding(False, str(error), "unpack the scenes and the sequences in them")]
    findings = []
    for split, expected in _FRAMES.items():
        count = sum(len(sequence) for sequence in sequences if sequence.split == split)
        fits = count == expected or (is_miniature(root) and count > 0)
        findings.append(Finding(fits, f"{split}: {count} frames", f"the release has {expected}; unpack all sequences"))
    for sequence in sequences:
        try:
            frame = sequence.frame(len(sequence) // 2)
            known = 0.0 if frame is None else float((frame.depth_m() > 0).mean())
        except DataError as error:
            findings.append(Finding(False, str(error), "unpack this sequence again"))
            continue
        what = f"{sequence.name}: {len(sequence)} frames, depth known in {known:.0%} of the middle one"
        findings.append(Finding(known > 0.2, what, "depth should be in 16-bit millimetres"))
    return findings
