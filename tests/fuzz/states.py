"""Targets: saved states of a training, and kept vectors."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from hypothesis import strategies as st

from croco_bench import load_backbone, registry
from croco_bench.config.recipe import load_recipe
from croco_bench.contracts import Evaluation
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.loop import TrainingJob, TrainingLoop
from croco_bench.engine.network import Network
from croco_bench.engine.step import State, Stepper, save_state
from croco_bench.probing.feature_cache import FeatureCache
from tests.fuzz.damage import ODD_VALUES, damaged_bytes, damaged_json
from tests.fuzz.target import Edit, Input, Target, of_folder

_STATE = "state and log"
_KEPT = "kept vectors"


def states(data: Path) -> list[Target]:
    """Saved states, and vectors of the miniature in `data`."""
    make, read = partial(_extract, data), partial(_kept, data)
    return [*saved(), of_folder("vectors", _KEPT, make, read, _damaged, knowable=lambda before, after: True)]


def saved() -> list[Target]:
    """`last.pt` of a training."""
    return [Target("last.pt", _STATE, _trained, _damaged_states, _resumed)]


class _Loop(TrainingLoop[TrainingJob]):
    """The loop of a linear layer, which is restored and saved, and takes no steps."""

    title, log_lines = "fuzz", 1

    def after_step(self, done: int, loss: float, rate: float) -> None:
        """Nothing."""

    def is_milestone(self, done: int) -> bool:
        """None."""
        return False

    def status(self, loss: float) -> str:
        """No text."""
        return ""

    def extra_state(self) -> State:
        """A best score."""
        return {"best": 0.5}

    def restore(self, state: State) -> None:
        """The best score is a number."""
        self.best = float(state["best"])


def _loop(folder: Path) -> _Loop:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    nothing: Any = None  # no step is taken, and no item is read
    accelerator = Accelerator(cpu=True)
    stepper = Stepper(layer, optimizer, nothing, nothing, accelerator, accumulate=1, clip_grad=0.0, seed=0)
    job = TrainingJob(
        recipe=load_recipe("nyuv2-depth", "smoke"), plan=Plan(9, 1, 2, 1, 1), seed=0, folder=folder, key="the key"
    )
    return _Loop(job, accelerator, stepper, reader=nothing, transform=nothing)


def _trained(folder: Path) -> None:
    _loop(folder).save(5)


def _resumed(folder: Path) -> object:
    """Weights, moments, counts after a restart."""
    loop = _loop(folder)
    loop._resume()
    return [loop.stepper.state(), loop.start, loop.best if loop.start else None]


def _damaged_states(folder: Path) -> st.SearchStrategy[Input]:
    """Damage of bytes, of which the archive's checksums tell, and sound archives of odd states."""
    content = (folder / "last.pt").read_bytes()
    state = torch.load(io.BytesIO(content), weights_only=True)
    values = st.sampled_from([*ODD_VALUES, torch.zeros(1), torch.full((2, 3), float("nan")), {"state": {}}])
    odd = st.tuples(st.sampled_from(list(state)), values).map(
        lambda change: _saved(folder, {**state, change[0]: change[1]})
    )
    fewer = st.sampled_from(list(state)).map(lambda name: _saved(folder, {k: v for k, v in state.items() if k != name}))
    bytes_ = damaged_bytes(content).map(lambda after: Input((Edit("last.pt", "write", after),), after != content))
    return st.one_of(bytes_, bytes_, odd, fewer)


def _saved(folder: Path, state: Mapping[str, Any]) -> Input:
    path = folder.with_name("odd.pt")
    save_state(path, dict(state))
    return Input((Edit("last.pt", "write", path.read_bytes()),))


def _cache(data: Path, folder: Path) -> tuple[FeatureCache, Evaluation]:
    """A cache over a small random network, and an evaluation."""
    task_type, head_type = registry.tasks()["imagenet-linear"].load(), registry.heads()["linear"].load()
    task = task_type(task_type.Options(), (32, 32))
    evaluation = replace(task.evaluations(task.open(data / "imagenet", seed=0))[0], batch_size=5)
    backbone = load_backbone("random:mini-mae", image_size=32)
    network = Network(backbone, head_type(backbone.feature_spec(), 3, head_type.Options()), frozen=True)
    return FeatureCache(folder, network, "weights", Accelerator(cpu=True), 0), evaluation


def _extract(data: Path, folder: Path) -> None:
    cache, evaluation = _cache(data, folder)
    cache.extract_or_load(evaluation)


def _kept(data: Path, folder: Path) -> object:
    """The vectors, from a copy: damaged ones are extracted anew."""
    copy = folder.with_name(f"{folder.name}.copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, symlinks=True)
    cache, evaluation = _cache(data, copy)
    found = cache.extract_or_load(evaluation)
    return [{how: np.array(one) for how, one in found.vectors.items()}, np.array(found.labels)]


def _damaged(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    return damaged_json(json.loads(content)) if path.suffix == ".json" else damaged_bytes(content)
