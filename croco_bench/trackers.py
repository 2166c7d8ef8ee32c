"""Trackers beside the log of a training: TensorBoard, Weights & Biases, MLflow and trackio, the last three through accelerate."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from croco_bench.errors import UsageError
from croco_bench.files import atomic, fingerprint
from croco_bench.progress import log

PROJECT = "croco-bench"
_RUN_ID = "mlflow-run"  # a file that holds the number that MLflow gave a run


class Tracker(ABC):
    """Shows numbers of a training elsewhere. A training goes on where a tracker fails."""

    @abstractmethod
    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Sends numbers of one step."""

    @abstractmethod
    def close(self) -> None:
        """Sends what is left."""


def open_tracker(name: str, folder: Path, start: int, settings: Mapping[str, Any]) -> Tracker | None:
    """The tracker of `train.tracker`; None for `none`.

    Args:
        name: `none`, `tensorboard`, `wandb`, `mlflow` or `trackio`.
        folder: of the training; the run's name comes from it, so that a restart goes on in the same run.
        start: the first step of this process.
        settings: tables of the recipe.

    Raises:
        UsageError: the package isn't installed, or the tracker can't be started.
    """
    if name == "none":
        return None
    try:
        if name == "tensorboard":
            return TensorBoard(folder, start)
        return ThroughAccelerate(name, folder, start, settings)
    except ImportError as error:
        raise UsageError(
            f"train.tracker={name} needs the {name} package", f"install it with: pip install 'croco-bench[{name}]'"
        ) from error


class TensorBoard(Tracker):
    """Event files in `tensorboard` in the folder; steps that a restart repeats are dropped."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard", purge_step=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.add`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Tracker.close`."""
        self._writer.close()


class ThroughAccelerate(Tracker):
    """A tracker of accelerate. The project is `$CROCO_BENCH_PROJECT`, or croco-bench; the rest is the tracker's own."""

    def __init__(self, name: str, folder: Path, start: int, settings: Mapping[str, Any]) -> None:
        from accelerate import tracking

        __import__(name)
        self._name, self._failed = name, False
        project = os.environ.get("CROCO_BENCH_PROJECT") or PROJECT
        kind = tracking.LOGGER_TYPE_TO_CLASS.get(name)
        if kind is None:
            raise UsageError(f"this version of accelerate doesn't know {name}", "pip install --upgrade accelerate")
        try:
            self._tracker = kind(project, **_options(name, folder, start))
            if hasattr(self._tracker, "start"):  # later versions of accelerate start apart
                self._tracker.start()
            if name == "mlflow":
                _keep_run_id(folder, str(self._tracker.tracker.info.run_id))
        except Exception as error:  # of a network, an account, a folder
            raise UsageError(f"train.tracker={name} can't be started: {error}", "set it up, or leave it out") from error
        if start == 0:
            with suppress(Exception):  # trackers that refuse some value show the numbers nevertheless
                self._tracker.store_init_configuration(_flat(settings))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.add`."""
        self._safely(lambda: self._tracker.log(dict(values), step=step))

    def close(self) -> None:
        """See `Tracker.close`."""
        self._safely(self._tracker.finish)

    def _safely(self, work: Any) -> None:
        if self._failed:
            return
        try:
            work()
        except Exception as error:
            self._failed = True
            log(f"train.tracker={self._name} is left out from here: {error}; log.jsonl has all numbers")


def _options(name: str, folder: Path, start: int) -> dict[str, Any]:
    """Arguments that name the run, the same after a restart."""
    run = "/".join(folder.absolute().parts[-4:])
    if name == "wandb":
        return {"name": run, "id": fingerprint(str(folder.absolute())), "resume": "allow", "dir": str(folder)}
    if name == "trackio":
        return {"name": run, "resume": "allow"}
    known = folder / _RUN_ID
    return {"run_name": run, "run_id": known.read_text(encoding="utf-8") if start and known.is_file() else None}


def _keep_run_id(folder: Path, number: str) -> None:
    with atomic(folder / _RUN_ID) as temporary:
        temporary.write_text(number, encoding="utf-8")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`table.key` -> value; what isn't a number or a truth value as text."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float) else str(value)
    return found
