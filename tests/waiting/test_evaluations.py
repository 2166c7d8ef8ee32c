"""No batch of an evaluation waits for the device, until the numbers of an earlier one are read."""

from pathlib import Path

import pytest
import torch

from croco_bench.config.recipe import load_task_recipe
from croco_bench.engine import evaluate
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.scoring import DeviceScorer
from croco_bench.runs.request import RunRequest
from croco_bench.runs.setup import set_up
from tests.waiting.waits import Waits, treat_as_gpu

CPU = torch.device("cpu")
TASKS = (
    "ade20k-seg",
    "correspondence",
    "correspondence-hpatches",
    "correspondence-navi",
    "correspondence-spair71k",
    "imagenet-linear",
    "kitti-depth",
    "nyuv2-depth",
    "nyuv2-normals",
    "relative-pose",
    "sintel-flow",
    "stereo",
    "taskonomy-normals",
)


@pytest.mark.parametrize("task", TASKS)
def test_no_batch_of_an_evaluation_waits(
    task: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treat_as_gpu(monkeypatch)
    monkeypatch.setattr(evaluate, "stays_on", lambda device: True)
    recipe = load_task_recipe(task, "smoke")
    request = RunRequest(task, "random:mini-croco", recipe, data_root=tiny_data, results=tmp_path, device="cpu")
    setup = set_up(request, 1)
    for evaluation in setup.task.evaluations(setup.data):
        scorer = setup.predictor.scorer(evaluation, CPU)
        assert isinstance(scorer, DeviceScorer)
        count = min(2 * evaluation.batch_size, len(evaluation.reader))
        batches = evaluation_batches(evaluation, list(range(count)), device=CPU, workers=0, to_move=True)
        waits = Waits()
        with torch.inference_mode():
            for batch in list(batches)[:2]:  # numbers are read two batches later
                with waits.counted(monkeypatch):
                    scorer.add(batch)
        assert waits.found == []
