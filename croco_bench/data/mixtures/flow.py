"""Datasets of optical flow to train on, by name and weight, each in the folder of its name beside the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from croco_bench.contracts import Reader
from croco_bench.data.datasets.matching import (
    autoflow,
    flyingchairs,
    flyingthings,
    hd1k,
    kitti,
    sintel,
    spring,
    tartanair,
)
from croco_bench.data.mixtures import mixture
from croco_bench.data.mixtures.mixture import HELD_OUT, Mixture, folder_for
from croco_bench.data.splitting import split_by_group

Opener = Callable[[Path], Reader]
# What each name's training part is.
TRAINING: dict[str, Opener] = {
    "autoflow": autoflow.open_split,
    "flyingchairs": partial(flyingchairs.open_split, split="train"),
    "flyingthings": partial(flyingthings.open_split, split="train"),
    "hd1k": partial(hd1k.open_split, split="train"),
    "kitti2012": partial(kitti.open_flow, split="train", year=2012),
    "kitti2015": partial(kitti.open_flow, split="train", year=2015),
    "sintel": partial(sintel.open_split, split="train"),
    "spring": partial(spring.open_split, split="train"),
    "tartanair": tartanair.open_split,
}
# What weights may be selected by, of datasets that have such a part.
SELECTION: dict[str, Opener] = {
    "flyingchairs": partial(flyingchairs.open_split, split="val"),
    "flyingthings": partial(flyingthings.open_split, split="test1024"),
}


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuses a mixture of nothing, of unknown datasets, or with weights that aren't positive.

    Raises:
        UsageError: so it is.
    """
    mixture.check_weights(weights, TRAINING, "optical flow", "flyingchairs")


def open_mixture(
    data_root: Path, weights: Mapping[str, float], *, sintel_scenes: Sequence[str], seed: int
) -> tuple[Mixture, Reader | None]:
    """All training parts as one, and what weights may be selected by; None where Sintel's own scenes can do that.

    Of Sintel only `sintel_scenes` are trained on.

    Raises:
        DataError: a dataset isn't there; the sentence says how to leave it out.
    """
    readers: dict[str, Reader] = {}
    for name in weights:
        folder = folder_for(data_root, name, name, weights)
        if name == "sintel":
            readers[name] = sintel.open_split(folder, "train", scenes=sintel_scenes)
        else:
            readers[name] = TRAINING[name](folder)
    select: Reader | None = None
    if "sintel" not in readers:
        chosen = next((name for name in SELECTION if name in readers), None)
        if chosen:
            select = SELECTION[chosen](data_root / chosen)
        else:
            first = next(iter(readers))
            readers[first], select = split_by_group(readers[first], HELD_OUT, seed=seed)
    return Mixture(list(readers.values()), list(weights.values()), seed), select
