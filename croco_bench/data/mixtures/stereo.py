"""Stereo datasets to train on and to report: no reported scene is trained on or used for selection.

Scenes recur between datasets. MiddEval3's training scenes are those of Middlebury 2014 (rectified perfectly or not), Art of 2005
and Teddy of 2003. Some scenes of MiddEval3 and of ETH3D occur twice, with another light or baseline. All images of one
location count as one scene here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.contracts import Reader
from croco_bench.data.datasets.matching import booster, crestereo, eth3d, kitti, middlebury, sceneflow, spring
from croco_bench.data.mixtures import mixture
from croco_bench.data.mixtures.mixture import HELD_OUT, Mixture, folder_for
from croco_bench.data.splitting import Subset, split_by_group
from croco_bench.errors import DataError

Resolution = middlebury.Resolution
Report = Literal["middlebury", "middlebury-subval", "eth3d", "eth3d-subval"]
# MiddEval3's training scene by which CroCo v2 selects.
EVALUATION_SELECT = ("Vintage",)
# MiddEval3's names of scenes with another light, exposure or rectification -> names of the same locations.
_SAME_LOCATION = {"ArtL": "Art", "MotorcycleE": "Motorcycle", "PianoL": "Piano", "PlaytableP": "Playtable"}
# Folders of the scenes of 2003, which have other names in each size; Teddy is one of MiddEval3's.
_SAME_LOCATION |= {f"{scene}{size}": scene.capitalize() for scene in ("cones", "teddy") for size in ("", "F", "H", "Q")}


@dataclass(frozen=True)
class TrainingSet:
    """The training part of one dataset.

    Attributes:
        folder: its folder below the data root.
        open: opens the training part.
        selection_scenes: sorted names of all scenes -> those by which CroCo v2 selects.
        selection_split: opens a separate split by which CroCo v2 selects, if there is one; None where its part isn't there.
        location: scene name -> name of the location that the scene shows.
    """

    folder: str
    open: Callable[[Path], Reader]
    selection_scenes: Callable[[Sequence[str]], Collection[str]] = field(default=lambda scenes: ())
    selection_split: Callable[[Path], Reader | None] | None = None
    location: Callable[[str], str] = str


def _named(*names: str) -> Callable[[Sequence[str]], Collection[str]]:
    return lambda scenes: names


def _last(count: int) -> Callable[[Sequence[str]], Collection[str]]:
    return lambda scenes: scenes[-count:]


def _middlebury_location(scene: str) -> str:
    """`Adirondack-perfect`, `Adirondack-imperfect` -> `Adirondack`; `PianoL` -> `Piano`."""
    return _SAME_LOCATION.get(scene, scene.partition("-")[0])


def _eth3d_location(scene: str) -> str:
    """`electro_3l` (long baseline), `electro_3s` (short baseline) -> `electro_3`."""
    return scene.rstrip("ls")


def _middlebury(edition: middlebury.Edition) -> TrainingSet:
    return TrainingSet(
        folder="middlebury",
        open=partial(middlebury.open_scenes, edition=edition),
        selection_scenes=_named(*middlebury.SELECT_SCENES[edition]),
        location=_middlebury_location,
    )


def _sceneflow_selection(root: Path) -> Reader | None:
    """Every hundredth test pair of FlyingThings, where that is there."""
    return sceneflow.open_split(root, "test1of100") if sceneflow.has_things(root) else None


def training_sets(resolution: Resolution) -> dict[str, TrainingSet]:
    """All datasets by the names that `task.train_on` uses; MiddEval3 at `resolution`."""
    return {
        "booster": TrainingSet("booster", partial(booster.open_split, split="train"), _last(2)),
        "crestereo": TrainingSet("crestereo", crestereo.open_split),
        "eth3d": TrainingSet(
            folder="eth3d",
            open=partial(eth3d.open_split, split="train"),
            selection_scenes=_named(*eth3d.SELECT_SCENES),
            location=_eth3d_location,
        ),
        "kitti2012": TrainingSet("kitti2012", partial(kitti.open_stereo, split="train", year=2012)),
        "kitti2015": TrainingSet("kitti2015", partial(kitti.open_stereo, split="train", year=2015), _last(5)),
        "middeval3": TrainingSet(
            folder="middlebury",
            open=partial(middlebury.open_evaluation, split="train", resolution=resolution),
            selection_scenes=_named(*EVALUATION_SELECT),
            location=_middlebury_location,
        ),
        "middlebury2001": _middlebury("2001"),
        "middlebury2003": _middlebury("2003"),
        "middlebury2005": _middlebury("2005"),
        "middlebury2006": _middlebury("2006"),
        "middlebury2014": _middlebury("2014"),
        "middlebury2021": _middlebury("2021"),
        "sceneflow": TrainingSet(
            folder="sceneflow",
            open=partial(sceneflow.open_split, split="train"),
            selection_split=_sceneflow_selection,
        ),
        "spring": TrainingSet("spring", partial(spring.open_stereo, split="train"), _named(*spring.SELECT_SCENES)),
    }


def check_weights(weights: Mapping[str, float]) -> None:
    """Checks the mixture `task.train_on`.

    Raises:
        UsageError: the mixture is empty, names an unknown dataset, or has a weight that isn't positive.
    """
    mixture.check_weights(weights, training_sets("F"), "stereo", "crestereo")


# Each report: the dataset (by its name in `training_sets`) and the scored scenes of its training part; None for all.
REPORTS: dict[Report, tuple[str, Sequence[str] | None]] = {
    "middlebury": ("middeval3", None),
    "middlebury-subval": ("middeval3", EVALUATION_SELECT),
    "eth3d": ("eth3d", None),
    "eth3d-subval": ("eth3d", eth3d.SELECT_SCENES),
}


def open_reported(data_root: Path, report: Report, resolution: Resolution) -> Reader:
    """The scored pairs.

    Raises:
        DataError: the dataset or its scored scenes are missing.
    """
    name, scenes = REPORTS[report]
    dataset = training_sets(resolution)[name]
    folder = data_root / dataset.folder
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}, which task.report={report} scores", "see croco-bench data list")
    whole = dataset.open(folder)
    if scenes is None:
        return whole
    indices = _indices_where(whole, lambda scene: scene in scenes)
    if not indices:
        raise DataError(
            f"{folder} has none of the scenes {', '.join(scenes)}, which task.report={report} scores",
            f"--set task.report={report.removesuffix('-subval')} scores all that are there",
        )
    # Each scene of both benchmarks is one pair.
    return Subset(whole, indices, f"{whole.split} ({', '.join(scenes)})", available=len(scenes))


def open_mixture(
    data_root: Path, weights: Mapping[str, float], *, report: Report, resolution: Resolution, seed: int
) -> tuple[Mixture, Reader]:
    """The mixture of all training parts, and the selection part.

    The selection part holds the scenes by which CroCo v2 selects, of all datasets, without the reported locations. Where no
    dataset has such scenes, a few scenes of the first dataset are held out instead.

    Raises:
        DataError: a dataset is missing, or has no scene left to train on.
    """
    known, reported = training_sets(resolution), _reported_locations(data_root, report, resolution)
    readers: dict[str, Reader] = {}
    selection: list[Reader] = []
    for name in weights:
        folder = folder_for(data_root, known[name].folder, name, weights)
        readers[name], part = _split(known[name], folder, reported, name, weights)
        selection += [part] if part else []
    if not selection:
        first = next(iter(readers))
        readers[first], held_out = split_by_group(readers[first], HELD_OUT, seed=seed)
        selection = [held_out]
    train = Mixture(list(readers.values()), list(weights.values()), seed)
    split = selection[0].split if len(selection) == 1 else "select"
    return train, Mixture(selection, [1.0] * len(selection), seed, split=split)


def _reported_locations(data_root: Path, report: Report, resolution: Resolution) -> set[tuple[str, str]]:
    """(folder, location) of all reported scenes."""
    dataset = training_sets(resolution)[REPORTS[report][0]]
    scenes = open_reported(data_root, report, resolution).groups
    return {(dataset.folder, dataset.location(scene)) for scene in scenes}


def _split(
    dataset: TrainingSet,
    folder: Path,
    reported: Collection[tuple[str, str]],
    name: str,
    weights: Mapping[str, float],
) -> tuple[Reader, Reader | None]:
    """The part of one dataset to train on, and its selection part, if any."""
    whole = dataset.open(folder)
    selection_scenes = set(dataset.selection_scenes(sorted(set(whole.groups))))
    barred = {location for of_folder, location in reported if of_folder == dataset.folder}
    held_out = barred | {dataset.location(scene) for scene in selection_scenes}
    if not held_out:
        return whole, dataset.selection_split(folder) if dataset.selection_split else None
    kept = _indices_where(whole, lambda scene: dataset.location(scene) not in held_out)
    if not kept:
        raise DataError(
            f"{folder} holds no scene of {name} to train on beside those that select and report",
            f"{mixture.left_out(name, weights)}",
        )
    selected = _indices_where(whole, lambda scene: scene in selection_scenes and dataset.location(scene) not in barred)
    train = whole if len(kept) == len(whole) else Subset(whole, kept, whole.split)
    return train, Subset(whole, selected, f"{whole.split}, to select by") if selected else None


def _indices_where(reader: Reader, wanted: Callable[[str], bool]) -> list[int]:
    """Indices of the items whose scene is wanted."""
    return [index for index, scene in enumerate(reader.groups) if wanted(scene)]
