"""What a pre-training leaves behind: checkpoints that other code loads, sheets to look at, a small file to hand on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from croco_bench.backbones.export import write_official
from croco_bench.backbones.weights import save_backbone
from croco_bench.engine.training_log import lines
from croco_bench.files import atomic
from croco_bench.pretraining.objective import Objective
from croco_bench.runs.contact_sheet import draw_sheet


class Output:
    """A folder with `checkpoint-last.pth`, `checkpoint-<n>.pth`, `sheets/`, `facts.json` and `<name>.safetensors`.

    The checkpoints have the format of the objective's authors (`model`, for CroCo with `croco_kwargs`), so that
    `croco-bench run` and the authors' own code load them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The finished backbone, alone, in half precision."""
        return self._folder / f"{self._folder.resolve().name}.safetensors"

    def sheet(self, step: int, panels: Mapping[str, NDArray[Any]], title: str) -> None:
        """Draws a row per item, a column per panel (B, H, W, 3), into `sheets/<step>.png`."""
        count = len(next(iter(panels.values())))
        rows = [("", {name: images[row] for name, images in panels.items()}) for row in range(count)]
        draw_sheet(self._folder / "sheets" / f"{step:08d}.png", rows, title)

    def latest(self, model: Objective) -> None:
        """Replaces `checkpoint-last.pth`."""
        self._write("last", model)

    def keep(self, count: int, model: Objective) -> None:
        """Writes a checkpoint that stays; `count` in the unit of the recipe's length."""
        self._write(str(count), model)

    def finish(self, model: Objective, facts: Mapping[str, Any]) -> None:
        """Writes `facts.json`, the curve of held-out errors in it, and the finished backbone."""
        curve = [line for line in lines(self._folder) if "held_out" in line]
        facts = {**facts, "curve": curve}
        with atomic(self._folder / "facts.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        save_backbone(self.path, model.backbone, {"pretraining": json.dumps(facts)})

    def _write(self, which: str, model: Objective) -> None:
        write_official(model.backbone, self._folder / f"checkpoint-{which}.pth", model.beside())
