"""No step of a fine-tuning waits for the device."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from croco_bench import registry
from croco_bench.config.recipe import Recipe, load_recipe
from croco_bench.contracts import Task
from croco_bench.engine import devices
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.train import FineTuneJob, Trainer
from croco_bench.probing.head_grid import GridTrainer
from croco_bench.runs.request import RunRequest
from croco_bench.runs.setup import set_up
from tests.waiting.waits import Waits, treat_as_gpu, waits_of

FINE_TUNINGS = [
    ("ade20k-seg", "smoke", []),
    ("imagenet-linear", "smoke-attentive", []),
    ("kitti-depth", "smoke", []),
    ("nyuv2-depth", "smoke", ["train.accumulate=2", "optim.clip_grad=1"]),
    ("nyuv2-depth", "smoke", ["task.loss=l1", "task.target=metres"]),
    ("nyuv2-depth", "smoke", ["task.loss=silog_gradient", "task.target=bins"]),
    ("nyuv2-depth", "smoke-dpt-frozen", []),
    ("nyuv2-normals", "smoke", []),
    ("relative-pose", "smoke", ["task.rotation=svd9"]),
    ("relative-pose", "smoke", ["task.rotation=r6d"]),
    ("relative-pose", "smoke", ["task.rotation=quaternion"]),
    ("sintel-flow", "smoke", []),
    ("sintel-flow", "smoke", ["task.loss=l1"]),
    ("stereo", "smoke", []),
    ("taskonomy-normals", "smoke", []),
]


def trainer_of(task: str, recipe: Recipe, data: Path, folder: Path, accelerator: Accelerator) -> Trainer:
    """A fine-tuning of the miniature CroCo that has not begun."""
    request = RunRequest(task, "random:mini-croco", recipe, data_root=data, results=folder, device="cpu")
    setup = set_up(request, 1)
    assert isinstance(setup.task, Task) and setup.data.training is not None
    job = FineTuneJob(
        recipe=recipe,
        task=setup.task,
        splits=setup.data.training,
        network=setup.network,
        plan=Plan.of(recipe.train, len(setup.data.training.train), 1),
        seed=0,
        folder=folder,
        key="a key",
    )
    return (Trainer if recipe.grid is None else GridTrainer)(job, accelerator)


def test_waits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next tests look for is found where it is."""
    numbers, waits = torch.tensor([1.0, 2.0]), Waits()
    with waits.counted(monkeypatch):
        assert numbers[numbers > 1].cpu().tolist() == [2.0] and bool(numbers.sum() > 0) and float(numbers[0]) == 1
        numbers.masked_select(numbers > 1)
        torch.linalg.inv(torch.eye(2))
    assert waits.found == [
        "index",
        "cpu",
        "tolist",
        "_local_scalar_dense",
        "_local_scalar_dense",
        "masked_select",
        "_linalg_check_errors",
    ]


def test_every_task_that_trains_is_among_them() -> None:
    """Of a group of tasks, one: their losses are the same."""
    counted = {registry.tasks()[task].card.group or task for task, _, _ in FINE_TUNINGS}
    trained = {one.card.group or one.name for one in registry.tasks() if not one.card.training_free}
    assert counted == trained


@pytest.mark.parametrize(("task", "recipe", "changes"), FINE_TUNINGS)
def test_no_step_of_a_fine_tuning_waits(
    task: str, recipe: str, changes: list[str], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treat_as_gpu(monkeypatch)
    loaded = load_recipe(task, recipe, [*changes, "train.steps=5", "optim.warmup=1"])
    trainer = trainer_of(task, loaded, tiny_data, tmp_path, devices.start("cpu", "fp32", 0))
    waits = waits_of(trainer, monkeypatch)
    # Depth's first three batches are checked on the host for plausible values.
    assert waits[3:] == [[], []]
