"""Datasets of stereo to train on and to report, so that nothing that is reported is trained on or selects.

Scenes come back: MiddEval3's training scenes are, but for Teddy, those of Middlebury 2014 (rectified perfectly or not) and Art of
2005; some of MiddEval3, and ETH3D's, are there twice, in another light or with another baseline. What shows the same things
counts as one scene here.
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
# The last of MiddEval3's training scenes: CroCo v2 selects by it.
EVALUATION_SELECT = ("Vintage",)
# MiddEval3's scenes in another light, with another exposure or rectified perfectly, and what else they are called.
_AGAIN = {"ArtL": "Art", "MotorcycleE": "Motorcycle", "PianoL": "Piano", "PlaytableP": "Playtable"}


@dataclass(frozen=True)
class Source:
    """A dataset's training part: its folder, how it is opened, and the scenes or the part of its own that CroCo v2 selects by.

    `selects` gets the sorted names of all scenes; `place` makes of a scene's name what it shows.
    """

    folder: str
    open: Callable[[Path], Reader]
    selects: Callable[[Sequence[str]], Collection[str]] = field(default=lambda scenes: ())
    part: Callable[[Path], Reader] | None = None
    place: Callable[[str], str] = str


def _these(*names: str) -> Callable[[Sequence[str]], Collection[str]]:
    return lambda scenes: names


def _last(count: int) -> Callable[[Sequence[str]], Collection[str]]:
    return lambda scenes: scenes[-count:]


def _middlebury_place(scene: str) -> str:
    """`Adirondack-perfect` and `Adirondack-imperfect` show the same, and so do `Piano` and `PianoL`."""
    return _AGAIN.get(scene, scene.partition("-")[0])


def _eth3d_place(scene: str) -> str:
    """`electro_3l` and `electro_3s` are seen from the same place, with a long and a short baseline."""
    return scene.rstrip("ls")


def _middlebury(edition: middlebury.Edition) -> Source:
    return Source(
        "middlebury",
        partial(middlebury.open_scenes, edition=edition),
        _these(*middlebury.SELECT_SCENES[edition]),
        place=_middlebury_place,
    )


def sources(resolution: Resolution) -> dict[str, Source]:
    """By the names that `task.train_on` uses; MiddEval3 in this size."""
    return {
        "booster": Source("booster", partial(booster.open_split, split="train"), _last(2)),
        "crestereo": Source("crestereo", crestereo.open_split),
        "eth3d": Source(
            "eth3d", partial(eth3d.open_split, split="train"), _these(*eth3d.SELECT_SCENES), place=_eth3d_place
        ),
        "kitti2012": Source("kitti2012", partial(kitti.open_stereo, split="train", year=2012)),
        "kitti2015": Source("kitti2015", partial(kitti.open_stereo, split="train", year=2015), _last(5)),
        "middeval3": Source(
            "middlebury",
            partial(middlebury.open_evaluation, split="train", resolution=resolution),
            _these(*EVALUATION_SELECT),
            place=_middlebury_place,
        ),
        "middlebury2005": _middlebury("2005"),
        "middlebury2006": _middlebury("2006"),
        "middlebury2014": _middlebury("2014"),
        "middlebury2021": _middlebury("2021"),
        "sceneflow": Source(
            "sceneflow",
            partial(sceneflow.open_split, split="train"),
            part=partial(sceneflow.open_split, split="test1of100"),
        ),
        "spring": Source("spring", partial(spring.open_stereo, split="train"), _these(*spring.SELECT_SCENES)),
    }


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuses a mixture of nothing, of unknown datasets, or with weights that aren't positive.

    Raises:
        UsageError: so it is.
    """
    mixture.check_weights(weights, sources("F"), "stereo", "crestereo")


# What can be reported: the source that it is the training part of, and its scenes; None for all.
REPORTS: dict[Report, tuple[str, Sequence[str] | None]] = {
    "middlebury": ("middeval3", None),
    "middlebury-subval": ("middeval3", EVALUATION_SELECT),
    "eth3d": ("eth3d", None),
    "eth3d-subval": ("eth3d", eth3d.SELECT_SCENES),
}


def open_reported(data_root: Path, report: Report, resolution: Resolution) -> Reader:
    """The pairs that are scored.

    Raises:
        DataError: they aren't there.
    """
    name, scenes = REPORTS[report]
    source = sources(resolution)[name]
    folder = data_root / source.folder
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}, which task.report={report} scores", "see croco-bench data list")
    whole = source.open(folder)
    if scenes is None:
        return whole
    chosen = _where(whole, lambda scene: scene in scenes)
    if not chosen:
        raise DataError(f"{folder} has none of the scenes {', '.join(scenes)}, which task.report={report} scores")
    return Subset(whole, chosen, f"{whole.split} ({', '.join(scenes)})")


def open_mixture(
    data_root: Path, weights: Mapping[str, float], *, report: Report, resolution: Resolution, seed: int
) -> tuple[Mixture, Reader]:
    """All training parts as one, and the scenes that CroCo v2 selects by of all of them, but for what is reported.

    Where none has any, some scenes of the first dataset select instead.

    Raises:
        DataError: a dataset isn't there, or has no scene left to train on.
    """
    known, barred = sources(resolution), _places(data_root, report, resolution)
    readers: dict[str, Reader] = {}
    selects: list[Reader] = []
    for name in weights:
        folder = folder_for(data_root, known[name].folder, name, weights)
        readers[name], select = _parted(known[name], folder, barred, name, weights)
        selects += [select] if select else []
    if not selects:
        first = next(iter(readers))
        readers[first], carved = split_by_group(readers[first], HELD_OUT, seed=seed)
        selects = [carved]
    train = Mixture(list(readers.values()), list(weights.values()), seed)
    split = selects[0].split if len(selects) == 1 else "select"
    return train, Mixture(selects, [1.0] * len(selects), seed, split=split)


def _places(data_root: Path, report: Report, resolution: Resolution) -> set[tuple[str, str]]:
    """Folders and places that are reported."""
    source = sources(resolution)[REPORTS[report][0]]
    scenes = open_reported(data_root, report, resolution).groups
    return {(source.folder, source.place(scene)) for scene in scenes}


def _parted(
    source: Source, folder: Path, barred: Collection[tuple[str, str]], name: str, weights: Mapping[str, float]
) -> tuple[Reader, Reader | None]:
    """What is trained on, and what selects."""
    whole = source.open(folder)
    selecting = {source.place(scene) for scene in source.selects(sorted(set(whole.groups)))}
    reported = {place for its, place in barred if its == source.folder}
    if not selecting | reported:
        return whole, source.part(folder) if source.part else None
    listed = set(source.selects(sorted(set(whole.groups))))
    kept = _where(whole, lambda scene: source.place(scene) not in selecting | reported)
    if not kept:
        raise DataError(
            f"{folder} holds no scene of {name} to train on beside those that select and report",
            f"{mixture.left_out(name, weights)}",
        )
    selects = _where(whole, lambda scene: scene in listed and source.place(scene) not in reported)
    train = whole if len(kept) == len(whole) else Subset(whole, kept, whole.split)
    return train, Subset(whole, selects, f"{whole.split}, to select by") if selects else None


def _where(reader: Reader, wanted: Callable[[str], bool]) -> list[int]:
    return [index for index, scene in enumerate(reader.groups) if wanted(scene)]
