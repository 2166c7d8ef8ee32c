"""The folder of a pre-training: checkpoints that other code loads, reconstructions as pictures, the finished backbone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from croco_bench.backbones.export import write_official
from croco_bench.backbones.save import save_backbone
from croco_bench.engine.figures import draw_sheet
from croco_bench.engine.training_log import lines
from croco_bench.errors import RecordError
from croco_bench.files import atomic, exclusive_lock, remove, sweep
from croco_bench.pretraining.objective import Objective
from croco_bench.progress import log


class Output:
    """A folder with `checkpoint-last.pth`, `checkpoint-<n>.pth`, `sheets/`, `facts.json` and `<name>.safetensors`.

    The checkpoints have the format of the objective's authors (`model`, for CroCo with `croco_kwargs`), so that
    `croco-bench run` and the authors' own code load them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The finished backbone in half precision; of CroCo with mask token and prediction head."""
        return self._folder / f"{self._folder.resolve().name}.safetensors"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder and keeps other pre-trainings out of it.

        Raises:
            RecordError: the folder can't be made, or another process holds the lock.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(
                f"can't make the folder {self._folder}: {error.strerror or error}", "give another --out"
            ) from error
        busy = RecordError(f"another pre-training is at work in {self._folder}", "wait for it, or give another --out")
        with exclusive_lock(self._folder / "lock", busy=busy, unwritable="give another --out"):
            yield

    def prepare(self, *, fresh: bool) -> None:
        """Removes leftovers of a killed process. With `fresh` the folder is as new: an unfinished pre-training is removed,
        a finished one is kept in `replaced/` until the next one has ended.
        """
        sweep(self._folder, "last.pt", "checkpoint-*.pth", "log.jsonl", "facts.json", self.path.name)
        sweep(self._folder / "sheets", "*")
        finished = (self._folder / "facts.json").is_file()
        if finished and (self._folder / "last.pt").is_file():  # of a process that was killed when it had ended
            shutil.rmtree(self._replaced, ignore_errors=True)
        if not fresh:
            return
        if finished:
            self._replaced.mkdir(exist_ok=True)  # a killed process may have begun
            log(f"the finished pre-training is kept in {self._replaced} until the new one has ended")
        for item in self._own_files():
            if finished:
                remove(self._replaced / item.name)
                item.rename(self._replaced / item.name)
            else:
                remove(item)

    @property
    def _replaced(self) -> Path:
        return self._folder / "replaced"

    def _own_files(self) -> list[Path]:
        """The files and folders of an earlier pre-training, and no others; the state first, `facts.json`, which says finished,
        last: a finished pre-training that is being moved away has no state.
        """
        numbered = [
            path for path in self._folder.glob("checkpoint-*.pth") if path.stem.removeprefix("checkpoint-").isdecimal()
        ]
        names = ("checkpoint-last.pth", "log.jsonl", "sheets", "tensorboard", self.path.name, "facts.json")
        files = [self._folder / "last.pt", *numbered, *(self._folder / name for name in names)]
        return [path for path in files if path.exists()]

    def refuse_finished_without_state(self) -> None:
        """Protects a finished pre-training from being trained over after its state was deleted to save space.

        Raises:
            RecordError: the folder holds `facts.json`, but no `last.pt`.
        """
        if (self._folder / "facts.json").is_file() and not (self._folder / "last.pt").is_file():
            raise RecordError(
                f"{self._folder} holds a finished pre-training without its state (last.pt), so it can't go on",
                "give another --out, or --fresh to start over",
            )

    def sheet(self, step: int, panels: Mapping[str, NDArray[Any]], title: str) -> None:
        """Draws a row per item, a column per panel (B, H, W, 3), into `sheets/<step>.png`."""
        count = len(next(iter(panels.values())))
        rows = [("", {name: images[row] for name, images in panels.items()}) for row in range(count)]
        draw_sheet(self._folder / "sheets" / f"{step:08d}.png", rows, title)

    def write_last(self, model: Objective) -> None:
        """Replaces `checkpoint-last.pth`."""
        self._write("last", model)

    def write_numbered(self, count: int, model: Objective) -> None:
        """Writes a checkpoint that stays; `count` in the unit of the recipe's length."""
        self._write(str(count), model)

    def finish(self, model: Objective, facts: Mapping[str, Any]) -> None:
        """Writes the finished backbone and `facts.json`, to which the curve of held-out errors is added."""
        curve = [line for line in lines(self._folder) if "held_out" in line]
        facts = {**facts, "curve": curve}
        with atomic(self._folder / "facts.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        # Small enough to keep, and all that completion needs; the decoders of the others are for training alone.
        extra = model.extra_state_dict() if model.views == 2 else {}
        save_backbone(self.path, model.backbone, {"pretraining": _without_folders(facts)}, extra)
        shutil.rmtree(self._replaced, ignore_errors=True)

    def _write(self, which: str, model: Objective) -> None:
        write_official(model.backbone, self._folder / f"checkpoint-{which}.pth", model.extra_state_dict())


def _without_folders(facts: Mapping[str, Any]) -> str:
    """Facts as JSON for the file that is passed on: of absolute paths of more than two names, the last two are left."""
    text, data = json.dumps(facts), facts["settings"]["data"]
    given = [*data["pairs"], data["modalities"], facts.get("init", {}).get("ckpt", "")]
    for path in sorted(filter(os.path.isabs, given), key=len, reverse=True):
        names = Path(path).parts[1:]
        if len(names) > 2:
            text = text.replace(json.dumps(path)[1:-1], json.dumps("/".join(names[-2:]))[1:-1])
    return text
