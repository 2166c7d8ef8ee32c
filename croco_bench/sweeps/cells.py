"""One run of a sweep, and where all of its runs read and write. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from croco_bench.records.store import ResultPaths


@dataclass(frozen=True)
class Cell:
    """One run: arguments of `croco_bench.run`. `name` is that of the model in the results."""

    task: str
    recipe: str
    name: str
    ckpt: str
    seed: int
    changes: tuple[str, ...] = ()
    limit: int | None = None

    @property
    def recipe_name(self) -> str:
        """The recipe's name in results: of a TOML file, its stem."""
        return Path(self.recipe).stem if self.recipe.endswith(".toml") else self.recipe

    @property
    def label(self) -> str:
        """One line for people."""
        return f"{self.recipe_name} {self.task} {self.name} seed {self.seed}"

    @property
    def place(self) -> str:
        """The path of its files below a folder, without an ending; equal for equal results."""
        return f"{self.recipe_name}/{self.task}/{self.name}/{self.seed}"

    def paths(self, results: Path) -> ResultPaths:
        """The place of its result."""
        return ResultPaths(results, self.recipe_name, self.task, self.name, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Surroundings:
    """What all runs of a sweep share.

    Attributes:
        results: where result files go; the sweep's own state lies in `.sweep` below it.
        data_root: folder with one folder per dataset; None: `$CROCO_BENCH_DATA`.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        replace: runs start over where a result or saved state has other settings, data or weights, or can't be read; otherwise
            they fail.
        processes: of each run; more than one are started by torchrun.
        verify: finished results are set up again, to see that settings, data and weights are still theirs.
    """

    results: Path
    data_root: Path | None = None
    device: str = "auto"
    replace: bool = False
    verify: bool = False
    processes: int = 1
