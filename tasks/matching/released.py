"""Training settings stored in the files of CroCo-Flow and CroCo-Stereo, compared with those of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from croco_bench.errors import CheckpointError
from croco_bench.types import Size

# The authors' criteria, and this project's names for them.
_LOSSES = {
    "LaplacianLossBounded": "bounded",
    "LaplacianLossBounded2": "symmetric",
    "LaplacianLoss": "free",
    "L1Loss": "l1",
}
# Confidence weighting in files (args.tile_conf_mode) and the settings that its numbers stand for.
_MODES = {
    "sigmoid": (r"conf_expsigmoid_([\d.]+)_([\d.]+)", ("beta", "gamma")),
    "exponential": (r"conf_expbeta([\d.]+)", ("beta",)),
}


@dataclass(frozen=True)
class ReleasedMethod:
    """One of the authors' two methods.

    Attributes:
        task: its name in their files (args.task).
        method: its name in the paper.
        predicts: its output, for error messages.
        modes: confidence weightings that a run supports; `task.weights` chooses where there are several.
        example: the usual weighting in their files, for error messages.
    """

    task: str
    method: str
    predicts: str
    modes: tuple[str, ...]
    example: str


FLOW = ReleasedMethod(
    task="flow",
    method="CroCo-Flow",
    predicts="flow",
    modes=("sigmoid",),
    example="conf_expsigmoid, as in conf_expsigmoid_10_5",
)
STEREO = ReleasedMethod(
    task="stereo",
    method="CroCo-Stereo",
    predicts="disparities along rows",
    modes=("sigmoid", "exponential"),
    example="conf_expsigmoid or conf_expbeta, as in conf_expsigmoid_15_3 or conf_expbeta3",
)


def settings_of(metadata: Mapping[str, Any], source: str, released: ReleasedMethod) -> dict[str, Any]:
    """Settings from a file's metadata, by their `--set` keys.

    Raises:
        CheckpointError: the file belongs to the other method, or lacks a setting.
    """
    _refuse_other(metadata, source, released)
    crop, criterion = metadata.get("crop"), str(metadata.get("criterion", ""))
    name = criterion.partition("(")[0].strip()
    if not (isinstance(crop, list | tuple) and len(crop) == 2 and all(isinstance(side, int) for side in crop)):
        raise CheckpointError(f"{source}: args.crop should be a pair of sides, but is {crop!r}", "get the file again")
    if name not in _LOSSES:
        known = ", ".join(_LOSSES)
        raise CheckpointError(f"{source}: args.criterion {criterion!r} isn't known", f"expected one of {known}")
    return {"train.image_size": list(crop), "task.loss": _LOSSES[name], **_weights(metadata, source, released)}


def _refuse_other(metadata: Mapping[str, Any], source: str, released: ReleasedMethod) -> None:
    task = metadata.get("task")
    for other in (FLOW, STEREO):
        if task == other.task and other is not released:
            raise CheckpointError(
                f"{source} is {other.method}'s: it predicts {other.predicts}, not {released.predicts}",
                f"give a file of {released.method}",
            )
    if task != released.task:
        raise CheckpointError(
            f"{source} doesn't say that it is {released.method}'s (args.task)", "leave --eval-only out"
        )


def _weights(metadata: Mapping[str, Any], source: str, released: ReleasedMethod) -> dict[str, Any]:
    """Settings of the confidence weighting."""
    given = str(metadata.get("tile_conf_mode", ""))
    for mode in released.modes:
        pattern, names = _MODES[mode]
        if match := re.fullmatch(pattern, given):
            numbers = {f"task.{name}": float(number) for name, number in zip(names, match.groups(), strict=True)}
            return {**({"task.weights": mode} if len(released.modes) > 1 else {}), **numbers}
    raise CheckpointError(
        f"{source}: args.tile_conf_mode {metadata.get('tile_conf_mode')!r} isn't known", f"expected {released.example}"
    )


def check_settings(wanted: Mapping[str, Any], image_size: Size, options: Any, source: str) -> None:
    """Compares a run's settings with the file's.

    Raises:
        CheckpointError: they differ; the advice names the settings to give.
    """
    given = {key: getattr(options, key.removeprefix("task."), None) for key in wanted}
    given["train.image_size"] = list(image_size)
    changes = [f"--set {key}={_written(value)}" for key, value in wanted.items() if given[key] != value]
    if changes:
        raise CheckpointError(f"{source} was trained with other settings than these", f"add {' '.join(changes)}")


def _written(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
