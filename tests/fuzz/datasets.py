"""Targets: datasets of the miniature, through their check and through a task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from croco_bench import registry
from croco_bench.config.load import options_of
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets import habitat, imagenet_c, multimae
from croco_bench.data.datasets.correspondence.hpatches import HPatchesReader
from croco_bench.data.datasets.correspondence.navi import NaviReader
from croco_bench.data.datasets.correspondence.spair71k import SPairReader
from croco_bench.data.datasets.matching import crestereo, middlebury
from croco_bench.data.datasets.megadepth1500 import open_megadepth1500
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.mixtures import flow as mixtures
from croco_bench.errors import DataError
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_text
from tests.fuzz.files import png_differs
from tests.fuzz.target import Target, of_folder

_FAMILY = "datasets, through task and check"
_TEXTS = (".txt", ".csv")


def datasets(data: Path) -> list[Target]:
    """Each dataset of the miniature in `data` by its check, and by a task or an own reader."""
    return [
        of_folder(f"{how} {name}", _FAMILY, partial(_copy, data / name), read, _damaged, knowable=png_differs)
        for name in READERS
        for how, read in (("check", partial(_checked, name)), ("read", READERS[name]))
    ]


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _damaged(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    if path.suffix == ".json":
        return damaged_json(json.loads(content))
    if path.suffix in _TEXTS:
        return damaged_text(content.decode(), "," if path.suffix == ".csv" else None)
    return damaged_bytes(content)


def _checked(name: str, root: Path) -> object:
    findings = dataset_info(name).check(root)
    if all(finding.ok for finding in findings):
        return "sound"
    bad = next(finding for finding in findings if not finding.ok)
    raise DataError(bad.what)


def _by_task(name: str, root: Path) -> object:
    task_type = registry.tasks()[name].load()
    options = {"train_on": {"sintel": 1}} if name == "sintel-flow" else {}
    task = task_type(options_of(task_type.Options, options, "task"), (64, 64))
    data = task.open(root, seed=0)
    readers = [data.test, data.train, data.select, *data.further.values()]
    task.measure_state(data.train)
    prepared = [evaluation.prepare(evaluation.reader[0]) for evaluation in task.evaluations(data)]
    return [*map(_samples, readers), prepared, task.state]


def _samples(reader: Any) -> object:
    return [reader[index] for index in range(len(reader))]


# How each miniature is read: by a task where one task reads no other dataset beside it.
READERS: dict[str, Callable[[Path], object]] = {
    "7scenes": partial(_by_task, "relative-pose"),
    "ade20k": partial(_by_task, "ade20k-seg"),
    "crestereo": lambda root: _samples(crestereo.open_split(root)),
    "flyingchairs": lambda root: [
        _samples(opened["flyingchairs"](root)) for opened in (mixtures.TRAINING, mixtures.SELECTION)
    ],
    "habitat_release": lambda root: _samples(habitat.HabitatPoses(root)),
    "hpatches": lambda root: _samples(HPatchesReader(root, split="test")),
    "imagenet": partial(_by_task, "imagenet-linear"),
    "imagenet_c": lambda root: _samples(imagenet_c.open_corrupted(root)),
    "kitti_depth": partial(_by_task, "kitti-depth"),
    "megadepth1500": lambda root: _samples(open_megadepth1500(root, depth=True)),
    "middlebury": lambda root: _samples(middlebury.open_evaluation(root, split="train")),
    "multimae": lambda root: _samples(multimae.MultimaeReader(root)),
    "navi": lambda root: _samples(NaviReader(root, split="test")),
    "nyuv2": partial(_by_task, "nyuv2-depth"),
    "nyuv2_normals": partial(_by_task, "nyuv2-normals"),
    "scannet1500": lambda root: _samples(open_scannet1500(root, depth=True)),
    "sintel": partial(_by_task, "sintel-flow"),
    "spair71k": lambda root: _samples(SPairReader(root, split="test")),
    "taskonomy": partial(_by_task, "taskonomy-depth"),
}
