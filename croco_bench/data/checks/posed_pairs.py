"""Checks of pairs of posed images: which images and depth maps are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from croco_bench.data.checks.run_check import Finding
from croco_bench.data.posed.reader import PosedViews


def look_at_files(views: PosedViews, unpack: str) -> Iterator[Finding]:
    """Which images are missing, and which depth maps, a part that runs can do without, but for correspondence.

    Args:
        views: the images.
        unpack: advice where images are missing.
    """
    missing = _missing(views.root, views.names)
    yield Finding(not missing, _sentence("images", missing, len(views)), unpack)
    missing = _missing(views.root, views.depths)
    if len(missing) == len(views):
        yield Finding(True, "there are no depth maps, which correspondence needs", absent=True)
        return
    advice = "relative poses need none, but correspondence does"
    yield Finding(not missing, _sentence("depth maps", missing, len(views)), advice, stops=False)


def _missing(root: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (root / name).is_file()]


def _sentence(what: str, missing: Sequence[str], total: int) -> str:
    return f"{what}: {len(missing)} of {total} are missing" + (f", such as {missing[0]}" if missing else "")
