"""What the files of CroCo-Flow and CroCo-Stereo say of their training, against the settings of a run."""

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
# How files name the weights of windows (args.tile_conf_mode) and what the numbers in it are.
_MODES = {
    "sigmoid": (r"conf_expsigmoid_([\d.]+)_([\d.]+)", ("beta", "gamma")),
    "exponential": (r"conf_expbeta([\d.]+)", ("beta",)),
}


@dataclass(frozen=True)
class Released:
    """One of the authors' two methods.

    `task` is what their files call it (args.task), `predicts` what it does; `modes` are the weights of windows that a run may
    be told (`task.weights` says which, where there is a choice), `example` is the usual one of the files.
    """

    task: str
    method: str
    predicts: str
    modes: tuple[str, ...]
    example: str


FLOW = Released("flow", "CroCo-Flow", "flow", ("sigmoid",), "conf_expsigmoid, as in conf_expsigmoid_10_5")
STEREO = Released(
    *("stereo", "CroCo-Stereo", "disparities along rows", ("sigmoid", "exponential")),
    "conf_expsigmoid or conf_expbeta, as in conf_expsigmoid_15_3 or conf_expbeta3",
)


def settings_of(metadata: Mapping[str, Any], source: str, released: Released) -> dict[str, Any]:
    """The settings that such a file was trained with and must be run with, as `--set` names them.

    Raises:
        CheckpointError: it is the other method's, or doesn't say.
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


def _refuse_other(metadata: Mapping[str, Any], source: str, released: Released) -> None:
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


def _weights(metadata: Mapping[str, Any], source: str, released: Released) -> dict[str, Any]:
    """The settings of windows' weights."""
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
    """Refuses settings that aren't the file's, and says which to give.

    Raises:
        CheckpointError: they differ.
    """
    given = {key: getattr(options, key.removeprefix("task."), None) for key in wanted}
    given["train.image_size"] = list(image_size)
    changes = [f"--set {key}={_written(value)}" for key, value in wanted.items() if given[key] != value]
    if changes:
        raise CheckpointError(f"{source} was trained with other settings than these", f"add {' '.join(changes)}")


def _written(value: Any) -> str:
    return (
        f"[{','.join(map(str, value))}]"
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
