"""The built-in tasks against the contract of tasks; a new task is one more class here."""

from typing import ClassVar

import pytest

from croco_bench import registry
from croco_bench.testing import TaskContract, TrainingFreeContract


class TestADE20KSeg(TaskContract):
    name = "ade20k-seg"
    options: ClassVar = {"select_fraction": 0.3}


class TestCorrespondence(TrainingFreeContract):
    name = "correspondence"
    options: ClassVar = {"pairs": 4, "per_side": 4, "select_fraction": 0.5, "measure_pairs": 4, "select_pairs": 6}


class TestHPatchesCorrespondence(TrainingFreeContract):
    name = "correspondence-hpatches"
    options: ClassVar = {"per_side": 4, "measure_pairs": 4, "select_pairs": 12}


class TestImageNetLinear(TaskContract):
    name = "imagenet-linear"
    options: ClassVar = {"select_fraction": 0.25}


class TestNaviCorrespondence(TrainingFreeContract):
    name = "correspondence-navi"
    options: ClassVar = {"per_side": 8, "measure_pairs": 4, "select_pairs": 6}


class TestKITTIDepth(TaskContract):
    name = "kitti-depth"
    options: ClassVar = {"select_fraction": 0.25}


class TestNYUv2Depth(TaskContract):
    name = "nyuv2-depth"
    options: ClassVar = {"hundred": True}


class TestNYUv2Normals(TaskContract):
    name = "nyuv2-normals"
    options: ClassVar = {"select_fraction": 0.25}


class TestRelativePose(TaskContract):
    name = "relative-pose"
    options: ClassVar = {"neighbours": 2}


class TestSintelFlow(TaskContract):
    name = "sintel-flow"
    options: ClassVar = {"train_on": {"flyingchairs": 1.0}, "overlap": 0.5}


class TestSPairCorrespondence(TrainingFreeContract):
    name = "correspondence-spair71k"
    options: ClassVar = {"measure_pairs": 4, "select_pairs": 6}


class TestStereo(TaskContract):
    name = "stereo"
    options: ClassVar = {"train_on": {"crestereo": 1.0}, "overlap": 0.5}


class TestTaskonomyNormals(TaskContract):
    name = "taskonomy-normals"
    options: ClassVar = {"val_rows": 6}
    augments = False


@pytest.mark.parametrize("entry", list(registry.tasks()), ids=lambda entry: entry.name)
def test_every_task_is_tested(entry: registry.Entry[registry.TaskCard]) -> None:
    """Of a group, whose tasks share their code, one."""
    contracts: list[type[TaskContract] | type[TrainingFreeContract]] = [
        *TaskContract.__subclasses__(),
        *TrainingFreeContract.__subclasses__(),
    ]
    tested = {registry.tasks()[contract.name].card for contract in contracts}
    assert entry.card in tested or entry.card.group in {card.group for card in tested if card.group}
