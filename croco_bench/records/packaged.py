"""The results that come with this package: those of its small backbones on the miniature of rendered rooms."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from croco_bench.records.store import ResultFile


def folder() -> Path:
    """The results folder inside the package. In the repository it is `results`, of which recipe `mini` is packaged."""
    return Path(str(files("croco_bench") / "measured"))


def is_packaged(file: ResultFile) -> bool:
    """Whether a result was read from the package, so that it was made elsewhere."""
    return file.paths.results == folder()
