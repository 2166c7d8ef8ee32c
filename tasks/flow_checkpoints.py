"""What the files of CroCo-Flow say of their training, against the settings of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from croco_bench.contracts import Size
from croco_bench.errors import CheckpointError

# The authors' criteria, and this project's names for them.
_LOSSES = {
    "LaplacianLossBounded": "bounded",
    "LaplacianLossBounded2": "symmetric",
    "LaplacianLoss": "free",
    "L1Loss": "l1",
}


def settings_of(metadata: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings that a CroCo-Flow file was trained with and must be run with, as `--set` names them.

    Raises:
        CheckpointError: it is CroCo-Stereo's, or doesn't say.
    """
    if metadata.get("task") == "stereo":
        raise CheckpointError(
            f"{source} is CroCo-Stereo's: it predicts disparities along rows, not flow; give a file of CroCo-Flow"
        )
    if metadata.get("task") != "flow":
        raise CheckpointError(f"{source} doesn't say that it is CroCo-Flow's (args.task); leave --eval-only out")
    crop, criterion = metadata.get("crop"), str(metadata.get("criterion", ""))
    mode = re.fullmatch(r"conf_expsigmoid_([\d.]+)_([\d.]+)", str(metadata.get("tile_conf_mode", "")))
    name = criterion.partition("(")[0].strip()
    if not (isinstance(crop, list | tuple) and len(crop) == 2 and all(isinstance(side, int) for side in crop)):
        raise CheckpointError(f"{source}: args.crop should be a pair of sides, but is {crop!r}; get the file again")
    if name not in _LOSSES:
        known = ", ".join(_LOSSES)
        raise CheckpointError(f"{source}: args.criterion {criterion!r} isn't known; expected one of {known}")
    if mode is None:
        raise CheckpointError(
            f"{source}: args.tile_conf_mode {metadata.get('tile_conf_mode')!r} isn't known; expected conf_expsigmoid, as in "
            "conf_expsigmoid_10_5"
        )
    beta, gamma = (float(number) for number in mode.groups())
    return {"train.image_size": list(crop), "task.loss": _LOSSES[name], "task.beta": beta, "task.gamma": gamma}


def check_settings(wanted: Mapping[str, Any], image_size: Size, options: Any, source: str) -> None:
    """Refuses settings that aren't the file's, and says which to give.

    Raises:
        CheckpointError: they differ.
    """
    given = {"train.image_size": list(image_size)}
    given |= {f"task.{name}": getattr(options, name) for name in ("loss", "beta", "gamma")}
    changes = [f"--set {key}={_written(value)}" for key, value in wanted.items() if given[key] != value]
    if changes:
        raise CheckpointError(f"{source} was trained with other settings than these; add {' '.join(changes)}")


def _written(value: Any) -> str:
    return (
        f"[{','.join(map(str, value))}]"
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
