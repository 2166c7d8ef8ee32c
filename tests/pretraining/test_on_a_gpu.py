"""Pre-training on a GPU, with tensors that have a device and no values: nothing mixes devices or waits for a value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from croco_bench.backbones import export
from croco_bench.pretraining.build import build
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.recipe import load

# One for all tests: tables of positions are kept, and belong to a mode. It has no backward pass.
MODE = FakeTensorMode()
OBJECTIVES = [("croco", "cross"), ("croco", "cat"), ("mae", None), ("multimae", None)]


def batch_for(objective: Objective) -> dict[str, torch.Tensor]:
    """Random inputs of two samples."""
    height, width = objective.backbone.image_size
    masks = [objective.sample_mask(np.random.default_rng(seed)) for seed in (0, 1)]
    batch = {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]}
    views = {f"view{number}": torch.rand(2, 3, height, width) for number in (1, 2)}
    depth, semseg = torch.rand(2, 1, height, width), torch.zeros(2, height, width, dtype=torch.int64)
    return {**batch, **views, "image": views["view1"], "depth": depth, "semseg": semseg}


def on_gpu(objective: Objective, mode: FakeTensorMode) -> Objective:
    """The same module, with all parameters and buffers on the GPU."""
    for module in objective.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(mode.from_tensor(parameter).detach().cuda()))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer).cuda())
    return objective


@pytest.fixture(params=OBJECTIVES, ids=lambda given: given[1] or given[0])
def objective(request: pytest.FixtureRequest, tiny_settings: Callable[..., list[str]]) -> Objective:
    name, decoder = request.param
    return build(load("mini", tiny_settings(objective=name), objective=name, decoder=decoder), seed=0)


def test_a_loss_needs_no_value(objective: Objective) -> None:
    given = batch_for(objective)
    with MODE as mode:
        loss = on_gpu(objective, mode)({name: mode.from_tensor(value).cuda() for name, value in given.items()})
        assert loss.device.type == "cuda"


def test_files_hold_tensors_of_the_cpu(objective: Objective, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(torch, "save", lambda content, _: written.update(content))
    with MODE as mode:
        network = on_gpu(objective, mode)
        export.write_official(network.backbone, tmp_path / "file.pth", network.extra_state_dict())
    devices = {tensor.device.type for tensor in written["model"].values()}
    assert devices == {"cpu"}
