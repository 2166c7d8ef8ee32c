"""Optical flow datasets to train on, by name and weight. The folder of a dataset has its name."""

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
# Dataset -> its training part.
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
# Dataset -> its part for selecting weights, where it has one.
SELECTION: dict[str, Opener] = {
    "flyingchairs": partial(flyingchairs.open_split, split="val"),
    "flyingthings": partial(flyingthings.open_split, split="test1024"),
}


def check_weights(weights: Mapping[str, float]) -> None:
    """Checks the mixture `task.train_on`.

    Raises:
        UsageError: the mixture is empty, names an unknown dataset, or has a weight that isn't positive.
    """
    mixture.check_weights(weights, TRAINING, "optical flow", "flyingchairs")


def open_mixture(
    data_root: Path, weights: Mapping[str, float], *, sintel_scenes: Sequence[str], seed: int
) -> tuple[Mixture, Reader | None]:
    """The mixture of all training parts, and the part for selecting weights.

    Args:
        data_root: folder of all datasets.
        weights: dataset name -> weight.
        sintel_scenes: scenes of Sintel to train on.
        seed: for the order of the mixture and for held-out groups.

    Returns:
        The mixture, and the selection part: None with Sintel, whose other scenes select; else the selection part of the first
        dataset that has one; else held-out groups of the first dataset.

    Raises:
        DataError: a dataset is missing; the advice is the mixture without it.
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
        selecting = next((name for name in SELECTION if name in readers), None)
        if selecting:
            select = SELECTION[selecting](data_root / selecting)
        else:
            first = next(iter(readers))
            readers[first], select = split_by_group(readers[first], HELD_OUT, seed=seed)
    return Mixture(list(readers.values()), list(weights.values()), seed), select
