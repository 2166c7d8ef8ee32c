"""The state of sweeps on disk: a small file per run below `RESULTS/.sweep/`, written whole or not at all. No torch here.

Several sweeps over one folder of results share these files; the process that does a run writes its file. A run that says
nothing for `SILENT_S` is lost: its process or its machine died.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from croco_bench import registry
from croco_bench.backbones.locate import parse_source
from croco_bench.config.recipe import load_task_recipe
from croco_bench.data.folders import data_folder
from croco_bench.errors import BenchError, RecordError
from croco_bench.files import atomic, fingerprint, parse_json
from croco_bench.sweeps.cells import Cell, Surroundings

FOLDER = ".sweep"
BEAT_S = 15.0
SILENT_S = 90.0
State = TypeVar("State", bound=BaseModel)
Status = Literal["waiting", "running", "done", "failed", "stopped", "lost"]


class CellState(BaseModel):
    """The last known state of one run.

    Attributes:
        status: of the run.
        signature: of all that the run reads, when it was started; see `signature`.
        key: that of the result, once there is one.
        text: the headline of a finished run, the error of a failed one, the stage of a running one.
        left_s: seconds to the end of the stage; None where they aren't known.
        resumed: the run went on where an earlier process had stopped, or its result was there: `seconds` aren't its time.
        host, pid: where it runs or ran.
        started, beat: seconds since 1970; `beat` is the last sign of life.
        seconds: how long it ran.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    status: Literal["running", "done", "failed", "stopped"]
    signature: str = ""
    key: str | None = None
    text: str = ""
    left_s: float | None = None
    resumed: bool = False
    host: str
    pid: int
    started: float
    beat: float
    seconds: float = 0.0


class PlanState(BaseModel):
    """A sweep that was started: its runs, how many at a time, and when its process gave the last sign of life."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cells: tuple[Cell, ...]
    jobs: int
    host: str
    pid: int
    started: float
    beat: float


@dataclass(frozen=True)
class View:
    """A run as a look at the disk shows it. `state` is None where no sweep has begun it."""

    cell: Cell
    status: Status
    state: CellState | None

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started."""
        return 0.0 if self.state is None else max(time.time() - self.state.started, 0.0)


class SweepFolder:
    """The files of all sweeps over one folder of results."""

    def __init__(self, results: Path) -> None:
        self.results, self.root = results, results / FOLDER

    def log(self, cell: Cell) -> Path:
        """What a run prints."""
        return self.root / "logs" / f"{cell.place}.txt"

    def write(self, cell: Cell, state: CellState) -> None:
        """Writes the state of a run."""
        self._put(self._cell(cell), state)

    def read(self, cell: Cell) -> CellState | None:
        """The state of a run; None where no sweep has begun it, or the file is damaged."""
        return _load(CellState, self._cell(cell))

    def close(self, cell: Cell, status: Literal["failed", "stopped"], text: str) -> None:
        """Writes how a run ended that couldn't write it itself; nothing where it did."""
        state, now = self.read(cell), time.time()
        if state is not None and state.status == status:
            return
        known = state or CellState(status=status, host=socket.gethostname(), pid=os.getpid(), started=now, beat=now)
        self.write(cell, known.model_copy(update={"status": status, "text": text, "left_s": None}))

    def view(self, cell: Cell) -> View:
        """A run as its files show it."""
        state, there = self.read(cell), cell.paths(self.results).json.is_file()
        if state is None or (state.status == "done" and not there):
            return View(cell, "done" if there else "waiting", None)
        return View(cell, "lost" if state.status == "running" and silent(state) else state.status, state)

    def finished(self, cell: Cell, signature: str) -> bool:
        """Whether the result of exactly this run is there, as far as can be told without opening data and weights."""
        state = self.read(cell)
        if state is None or state.status != "done" or state.signature != signature or not signature:
            return False
        with suppress(OSError, ValueError, LookupError, TypeError):
            content = parse_json(cell.paths(self.results).json.read_bytes())
            return bool(content["settings"]["key"] == state.key)
        return False

    def announce(self, cells: Sequence[Cell], jobs: int, started: float) -> None:
        """Writes or renews the plan's file, so that `croco-bench sweep status` knows its runs."""
        name = fingerprint(json.dumps([cell.to_json() for cell in cells]))
        state = PlanState(
            cells=tuple(cells), jobs=jobs, started=started, beat=time.time(), host=socket.gethostname(), pid=os.getpid()
        )
        self._put(self.root / "plans" / f"{name}.json", state)

    def plans(self) -> list[PlanState]:
        """All sweeps that were started here, the latest first."""
        found = (_load(PlanState, path) for path in (self.root / "plans").glob("*.json"))
        return sorted((plan for plan in found if plan is not None), key=lambda plan: plan.beat, reverse=True)

    def _cell(self, cell: Cell) -> Path:
        return self.root / "cells" / f"{cell.place}.json"

    def _put(self, path: Path, content: BaseModel) -> None:
        with atomic(path) as temporary:
            temporary.write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _load(kind: type[State], path: Path) -> State | None:
    try:
        return kind.model_validate(parse_json(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def silent(state: CellState | PlanState) -> bool:
    """Whether the process gave no sign of life for long, or is known to be gone."""
    if time.time() - state.beat > SILENT_S:
        return True
    return state.host == socket.gethostname() and not _alive(state.pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def signature(cell: Cell, around: Surroundings) -> str:
    """A hash of what a run reads: settings, the checkpoint's size and time, the data's folder. Empty where one is missing.

    It is weaker than the key of a result, which needs data and weights to be opened, and is known at once.
    """
    card = registry.tasks()[cell.task].card
    recipe = load_task_recipe(cell.task, cell.recipe, cell.changes)
    try:
        data = data_folder(around.data_root, card.dataset).resolve()
        parts = [cell.to_json(), card.version, recipe.model_dump(mode="json"), _stamp(data), _stamp(_file(cell.ckpt))]
    except (BenchError, OSError):
        return ""
    return fingerprint(json.dumps(parts, sort_keys=True))


def _file(ckpt: str) -> Path | None:
    """The file behind a checkpoint's name, where it lies on this machine."""
    source = parse_source(ckpt)
    file = source.weights or source
    path = file.entry.asset if file.entry else Path(file.name).expanduser()
    return path if path is not None and path.exists() else None


def _stamp(path: Path | None) -> list[object]:
    if path is None:
        return []
    facts = path.stat()
    return [str(path), facts.st_size, facts.st_mtime_ns]


def require_folder(results: Path) -> None:
    """Refuses a folder of results in which no sweep was started.

    Raises:
        RecordError: there is none.
    """
    if not (results / FOLDER).is_dir():
        raise RecordError(f"no sweep was started in {results}", "name the folder with --results")
