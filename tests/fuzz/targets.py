"""All targets of the fuzzer."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import archives, checkpoints, datasets, files, lists, results, settings, sharing, states
from tests.fuzz.target import Target


def targets(data: Path) -> list[Target]:
    """The targets of all families; `data` is a data root with miniatures."""
    return [
        *files.images(),
        *files.arrays(),
        *lists.lists(),
        *datasets.datasets(data),
        *archives.archives(data),
        *checkpoints.checkpoints(),
        *results.results(Path(__file__).parents[2] / "results"),
        *sharing.sharing(),
        *states.states(data),
        *settings.settings(data),
    ]
