"""Evaluations with tensors that are on a GPU and have no values: nothing mixes devices or waits for a value."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks.bench import training
from benchmarks.bench.samples import MemoryReader, raw_samples
from croco_bench.contracts import Evaluation, TensorPredict
from croco_bench.engine import network as network_module
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.scoring import DeviceScorer

MODE = FakeTensorMode(allow_non_fake_inputs=True)
TASKS = [
    "ade20k-seg",
    "correspondence",
    "imagenet-linear",
    "nyuv2-depth",
    "relative-pose",
    "sintel-flow",
    "stereo",
    "taskonomy-normals",
]


def on_gpu(value: Any) -> Any:
    """Tensors, alone, in lists or in modules, without values."""
    if isinstance(value, list):
        return [on_gpu(one) for one in value]
    if isinstance(value, Tensor):
        return MODE.from_tensor(value).cuda()
    if isinstance(value, nn.Module):
        for module in value.modules():
            for name, parameter in module.named_parameters(recurse=False):
                module.register_parameter(name, nn.Parameter(on_gpu(parameter.detach()), requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, on_gpu(buffer))
    return value


def batch_of(evaluation: Evaluation, task: str) -> dict[str, Any]:
    """A batch of the loader."""
    count = 3 if task != "stereo" else 1
    readable = MemoryReader(raw_samples(task, test=True, size=(64, 96), count=count), count)
    numbers = list(range(count))
    evaluation = Evaluation(**{**vars(evaluation), "reader": readable})
    cpu = torch.device("cpu")
    (batch, *_) = evaluation_batches(evaluation, numbers, device=cpu, workers=0, to_move=True)
    return batch


def numbers_of(scorer: DeviceScorer, predict: TensorPredict, network: nn.Module, batch: dict[str, Any]) -> list[Tensor]:
    """What is copied to the host."""
    found = list(predict.tensors(network, batch))
    samples = [{key: value[i] for key, value in batch.items() if key[:5] != "image"} for i in range(len(found))]
    if scorer._meter is None:
        return found
    return [scorer._numbers(one, sample) for one, sample in zip(found, samples, strict=True)]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_waits_for_a_value(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_module, "upload", lambda array, device: on_gpu(torch.from_numpy(array)))
    subject = training.subject_of(task, "smoke", "random:mini-croco", (), (64, 96))
    evaluations = subject.evaluations()
    batches = [batch_of(evaluation, task) for evaluation in evaluations]
    with MODE, torch.inference_mode():
        network = on_gpu(subject.network.eval())
        for evaluation, batch in zip(evaluations, batches, strict=True):
            assert isinstance(evaluation.predict, TensorPredict)
            scorer = DeviceScorer(evaluation, torch.device("cpu"), lambda batch: [], may_fail=False)
            numbers = numbers_of(
                scorer, evaluation.predict, network, {key: on_gpu(value) for key, value in batch.items()}
            )
            assert {one.device.type for one in numbers} == {"cuda"}
            # Copied are some hundred numbers of an image, or its scores of classes, not its pixels.
            assert all(one.numel() <= 1000 for one in numbers)


def test_a_wait_would_be_seen() -> None:
    with MODE, pytest.raises(DataDependentOutputException):
        on_gpu(torch.ones(3)).sum().item()
