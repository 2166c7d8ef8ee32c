"""From what a user asked for to a network, a task and data that fit each other, before any work is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from croco_bench import files, registry
from croco_bench.backbones import load_backbone
from croco_bench.backbones.networks.architecture import Decoder
from croco_bench.backbones.networks.paired import with_decoder
from croco_bench.backbones.save import read_finetuned
from croco_bench.backbones.weights import fill
from croco_bench.config import recipe as recipes
from croco_bench.config.load import options_of
from croco_bench.config.recipe import FreshDecoder, Recipe
from croco_bench.contracts import Backbone, Evaluation, Head, Origin, PairBackbone, PooledHead, Splits, Task
from croco_bench.data.folders import data_folder
from croco_bench.data.splitting import limit
from croco_bench.engine.network import Network, Unlearned, spec_for
from croco_bench.errors import CheckpointError, UsageError, unknown
from croco_bench.runs.builtin import changed_settings
from croco_bench.seeding import derive
from croco_bench.types import Array, Batch

Baseline = Callable[[Batch], list[Array]]
_CLASSICAL = "classical:"


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for, its recipe read. See `croco_bench.runs.runner.run` for the fields."""

    task: str
    ckpt: str
    recipe: Recipe
    data_root: Path | None
    name: str | None
    seed: int
    limit: int | None
    eval_only: bool
    changes: tuple[str, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether anything is to be trained."""
        return not self.eval_only and not self.ckpt.startswith(_CLASSICAL)


@dataclass(frozen=True)
class Model:
    """What is tested, as the result names it."""

    name: str
    family: str
    origin: Origin


@dataclass(frozen=True)
class RunSetup:
    """Everything opened and checked. `settings` is the resolved recipe; `key` is the same only for the very same run.

    `baseline` is the method that predicts in the network's place, where one without learning is tested.
    """

    request: RunRequest
    task: Task
    version: int
    model: Model
    splits: Splits
    network: Network
    settings: dict[str, Any]
    fingerprint: str
    key: str
    baseline: Baseline | None = None

    @property
    def learns(self) -> bool:
        """Whether anything is to be trained."""
        return self.request.learns

    def evaluations(self) -> list[Evaluation]:
        """How the test split is scored, headline protocol first."""
        found = self.task.evaluations(self.splits.test)
        baseline = self.baseline
        if baseline is None:
            return found
        name = self.request.ckpt.removeprefix(_CLASSICAL)
        suited = [self.task.evaluation_for(name, one) for one in found]
        return [replace(one, predict=lambda network, batch: baseline(batch)) for one in suited]


def set_up(request: RunRequest, processes: int) -> RunSetup:
    """Opens task, data, backbone and head and checks them against each other; cheap checks first.

    Raises:
        BenchError: a name, a setting, a file or a size is wrong.
    """
    recipe, entry = request.recipe, registry.tasks()[request.task]
    task_type: type[Task] = entry.load()
    head_type: type[Head] = registry.heads()[recipe.head.name].load()
    if head_type.dense != task_type.dense:
        raise UsageError(_wrong_head(request.task, task_type, recipe.head.name))
    task_options = options_of(task_type.Options, recipe.task, f"[task] of {request.task}")
    head_options = options_of(head_type.Options, recipe.head.options, f"[head] of {recipe.head.name}")
    settings = recipes.resolve(recipe, task_options, head_options)
    task = task_type(task_options, recipe.train.image_size)
    splits = _open(request, task, entry.card.dataset)
    fingerprint = recipes.fingerprint(settings, task_options)
    resolved: dict[str, Any] = {}
    baseline = None
    if recipe.probe and not (recipe.train.frozen and issubclass(head_type, PooledHead)):
        raise UsageError("a recipe with [probe] needs train.frozen=true and a head on pooled vectors, such as linear")
    if request.ckpt.startswith(_CLASSICAL):
        baseline = _baseline(request, task)
        network: Network = Unlearned()
        model = Model(
            request.name or request.ckpt.removeprefix(_CLASSICAL), "classical", Origin(request.ckpt, "classical")
        )
    else:
        network = _network(request, task, splits, head_type, head_options)
        resolved["head"] = network.head.resolved()
        model = Model(network.backbone.name, network.backbone.family, network.backbone.origin)
    resolved["task"] = {**task.state, **(task.resolved(splits.test) if baseline is None else {})}
    identity = [
        fingerprint,
        entry.card.version,
        model.origin.sha256 or model.origin.source,
        *(reader.fingerprint() for reader in (splits.train, splits.select, splits.test)),
        *(request.seed, request.limit, request.eval_only, processes),
    ]
    key = files.fingerprint(json.dumps(identity))
    changed = changed_settings(request.task, recipe.name, settings)
    settings |= {"limit": request.limit, "key": key, "changed": changed, "resolved": resolved}
    version = entry.card.version
    return RunSetup(request, task, version, model, splits, network, settings, fingerprint, key, baseline)


def _network(request: RunRequest, task: Task, splits: Splits, head_type: type[Head], head_options: Any) -> Network:
    recipe = request.recipe
    backbone = load_backbone(request.ckpt, image_size=recipe.train.image_size, name=request.name)
    if task.views == 2:
        backbone = _paired(backbone, recipe.decoder or FreshDecoder(), request.seed)
    torch.manual_seed(derive(request.seed, "head"))
    head = head_type(spec_for(backbone, task.views), task.out_channels, head_options)
    if request.eval_only:
        _load_finetuned(request, head, task)
    else:
        task.measure_state(splits.train)
        backbone.set_drop_path(recipe.optim.drop_path)
    return Network(backbone, head, views=task.views, frozen=recipe.train.frozen, symmetric=task.symmetric)


def _wrong_head(task: str, task_type: type[Task], head: str) -> str:
    one = "pixel" if task_type.dense else "image"
    fit = ", ".join(entry.name for entry in registry.heads() if entry.load().dense == task_type.dense)
    return f"{task} needs a head with an output per {one}, which {head} isn't; take one of {fit}"


def _baseline(request: RunRequest, task: Task) -> Baseline:
    name, known = request.ckpt.removeprefix(_CLASSICAL), task.baselines()
    if not known:
        raise UsageError(f"{request.task} knows no method without learning", "give a checkpoint: croco-bench models")
    if name not in known:
        raise unknown(f"classical method of {request.task}", name, known)
    return known[name]


def _paired(backbone: Backbone, fresh: FreshDecoder, seed: int) -> PairBackbone:
    torch.manual_seed(derive(seed, "decoder"))
    return with_decoder(backbone, Decoder(fresh.width, fresh.depth, fresh.heads, 4 * fresh.width))


def _open(request: RunRequest, task: Task, dataset: str) -> Splits:
    folder = data_folder(request.data_root, dataset)
    if request.learns:
        # The selection split is part of the protocol, so it does not move with the run's seed.
        splits = task.splits(folder, seed=0)
    else:
        test = task.test_split(folder)
        splits = Splits(test, test, test)  # nothing will be read of the first two
    if request.limit is None:
        return splits
    return Splits(
        train=limit(splits.train, request.limit, request.seed),
        select=limit(splits.select, request.limit, request.seed),
        test=limit(splits.test, request.limit, request.seed),
    )


def _load_finetuned(request: RunRequest, head: Head, task: Task) -> None:
    ckpt = request.ckpt
    finetuned = read_finetuned(Path(ckpt)) if Path(ckpt).is_file() else None
    if finetuned is None:
        raise CheckpointError(
            f"{ckpt} holds no fine-tuned head, which --eval-only needs",
            "give the weights.safetensors of a finished run, or leave --eval-only out to fine-tune",
        )
    if not finetuned.is_native:
        task.use_released_settings(finetuned.metadata, ckpt)
        head.load_released(finetuned.head)
        return
    trained_on = finetuned.metadata.get("task", request.task)
    if trained_on != request.task:
        raise CheckpointError(f"{ckpt} was fine-tuned on {trained_on}, not on {request.task}", "leave --eval-only out")
    fill(head, finetuned.head, ckpt)
    task.state = dict(finetuned.metadata.get("task_state", {}))
