"""What a run is asked to do, and what it scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from croco_bench.config.load import parse_set
from croco_bench.config.recipe import TaskRecipe
from croco_bench.config.tables import AUTO
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import size_text
from croco_bench.types import PositionKind, Size

_SIZE_SETTINGS = ("train.image_size", "train.nearest_size")


@dataclass(frozen=True)
class RunRequest:
    """One run to do: the arguments of `croco_bench.run`, with the recipe loaded.

    `backbone` is the network of a run that was given an object; `ckpt` is its class then.
    """

    task: str
    ckpt: str
    recipe: TaskRecipe
    data_root: Path | None = None
    results: Path = Path("results")
    name: str | None = None
    seed: int = 0
    limit: int | None = None
    changes: tuple[str, ...] = ()
    device: str = "auto"
    eval_only: bool = False
    fresh: bool = False
    backbone: Backbone | None = None

    @property
    def classical_method(self) -> str | None:
        """NAME of `--ckpt classical:NAME`; None for a checkpoint."""
        prefix, colon, name = self.ckpt.partition(":")
        return name if colon and prefix == "classical" else None

    def at_size(self, size: Size) -> RunRequest:
        """The same with images of a size that `train.image_size=auto` stands for; otherwise this request."""
        if not self.recipe.train.nearest_size:
            return self
        made = [change for change in self.changes if change.partition("=")[0].strip() not in _SIZE_SETTINGS]
        sizes = {parse_set(change)[1] for change in self.changes if change not in made} - {AUTO, True}
        as_recipe = size == self.recipe.train.image_size and not sizes
        named = [] if as_recipe else [f"train.image_size={size_text(size)}"]
        recipe = self.recipe.model_copy(update={"train": self.recipe.train.at_size(size)})
        return replace(self, recipe=recipe, changes=(*made, *named))

    @property
    def learns(self) -> bool:
        """Whether anything is trained."""
        return not self.eval_only and self.classical_method is None


@dataclass(frozen=True)
class ModelIdentity:
    """Name, family, origin and kind of positions of what is scored, as the result records them."""

    name: str
    family: str
    origin: Origin
    positions: PositionKind | None = None
