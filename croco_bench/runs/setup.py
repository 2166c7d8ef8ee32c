"""Builds and cross-checks the network (or classical method), task and data of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from croco_bench import files, registry
from croco_bench.backbones.locate import weight_file
from croco_bench.backbones.save import read_finetuned
from croco_bench.backbones.weights import fill
from croco_bench.config import recipe as recipes
from croco_bench.config.load import options_of
from croco_bench.config.recipe import Recipe
from croco_bench.contracts import (
    BankHead,
    ClassicalMethod,
    Evaluation,
    Head,
    Origin,
    PooledHead,
    Reader,
    ScoredTask,
    Task,
    TaskData,
    TrainingSplits,
)
from croco_bench.data.checks.values import require_usual
from croco_bench.data.folders import data_folder
from croco_bench.data.splitting import assumptions_of, limit, take_share
from croco_bench.engine.evaluate import BackbonePredictor, ClassicalPredictor, NetworkPredictor, Predictor
from croco_bench.engine.network import BareNetwork, Network
from croco_bench.errors import CheckpointError, UsageError, unknown
from croco_bench.registry import TaskCard
from croco_bench.runs.builtin import changed_settings
from croco_bench.runs.networks import at_fitting_size, backbone_of, build_network
from croco_bench.runs.request import ModelIdentity, RunRequest


@dataclass(frozen=True)
class RunSetup:
    """Everything a run needs, opened and cross-checked.

    Attributes:
        request: what was asked for.
        card: of the task, with its version and headline metrics.
        task: with its state measured or read.
        data: limited to `request.limit` items per split.
        model: identity of what is scored.
        predictor: what is scored.
        evaluations: of the test split, headline protocol first.
        settings: recipe and options as JSON values, every default filled in; of a classical method only those that it uses.
        unusual: notes on unusual values in the data, which the settings accept.
        changed: those of `settings` that differ from the built-in recipe of the same name; None if there is no such recipe.
        fingerprint: of the settings that affect scores.
        key: equal only for runs with equal settings, data, weights and number of processes.
    """

    request: RunRequest
    card: TaskCard
    task: ScoredTask
    data: TaskData
    model: ModelIdentity
    predictor: Predictor
    evaluations: Sequence[Evaluation]
    settings: Mapping[str, Any]
    unusual: tuple[str, ...]
    changed: Mapping[str, Any] | None
    fingerprint: str
    key: str

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the readers assume about their files, or leave out."""
        training = self.data.training
        selecting = [training.select] if training else []
        return (*assumptions_of(*_opened(self.data), *selecting), *self.unusual)

    @property
    def scored_network(self) -> Network | BareNetwork:
        """The network, with or without a head, where it isn't a classical method that is scored."""
        return self.network if isinstance(self.predictor, NetworkPredictor) else self.bare_predictor.network

    @property
    def bare_predictor(self) -> BackbonePredictor:
        """The backbone of a task that trains nothing."""
        assert isinstance(self.predictor, BackbonePredictor)
        return self.predictor

    @property
    def network(self) -> Network:
        """The network with its head, of a task that trains one."""
        assert isinstance(self.predictor, NetworkPredictor)
        return self.predictor.network


def set_up(request: RunRequest, processes: int) -> RunSetup:
    """Builds task, data, backbone and head and checks that they fit each other; cheap checks first.

    Raises:
        BenchError: a name, a setting, a file or a size is wrong.
    """
    recipe, entry = request.recipe, registry.tasks()[request.task]
    task_type: type[ScoredTask] = entry.load()
    head = _head_choice(request, task_type)
    task_options = options_of(task_type.Options, recipe.task, f"[task] of {request.task}")
    task = task_type(task_options, recipe.train.image_size)
    data = _open(request, task, data_folder(request.data_root, entry.card.dataset))
    unusual = require_usual(_opened(data), classes=len(data.class_names) or None, accept=recipe.data.accepts)
    predictor: Predictor
    if request.classical_method is None:
        request, predictor = _predictor(request, task, data, head)
        if request.recipe is not recipe:
            task = task_type(task_options, request.recipe.train.image_size)
        data = replace(data, notes=(*data.notes, *_prepare_weights(request, task, data, predictor)))
        backbone = predictor.network.backbone
        model = ModelIdentity(backbone.name, backbone.family, backbone.origin, backbone.position_kind)
    else:
        predictor = ClassicalPredictor(_classical_method(request.classical_method, request.task, task))
        origin = Origin(request.ckpt, "classical")
        model = ModelIdentity(request.name or request.classical_method, "classical", origin)
    settings = recipes.resolve(request.recipe, task_options, head and head.options)
    fingerprint = recipes.fingerprint(settings, task_options)
    changed = changed_settings(request.task, recipe.name, settings)
    if request.classical_method is not None:
        settings = recipes.without_networks(settings, task_options)
        changed = changed and {key: value for key, value in changed.items() if is_setting(key, settings)}
    return RunSetup(
        request=request,
        card=entry.card,
        task=task,
        data=data,
        model=model,
        predictor=predictor,
        evaluations=[predictor.adapt(evaluation) for evaluation in task.evaluations(data)],
        settings=settings,
        unusual=unusual,
        changed=changed,
        fingerprint=fingerprint,
        key=_key(request, data, model, [fingerprint, entry.card.version], processes),
    )


@dataclass(frozen=True)
class _HeadChoice:
    """The class of the recipe's head, and its options."""

    kind: type[Head]
    options: Any


def _head_choice(request: RunRequest, task_type: type[ScoredTask]) -> _HeadChoice | None:
    """The recipe's head, if the task and the kind of training can use it; None for a task that trains nothing."""
    recipe = request.recipe
    if not isinstance(recipe, Recipe):
        if request.eval_only:
            raise UsageError(
                f"{request.task} trains nothing, so there are no fine-tuned weights", "leave --eval-only out"
            )
        return None
    assert issubclass(task_type, Task)
    kind = _head_type(request.task, task_type, recipe)
    return _HeadChoice(kind, options_of(kind.Options, recipe.head.options, f"[head] of {recipe.head.name}"))


def _predictor(
    request: RunRequest, task: ScoredTask, data: TaskData, head: _HeadChoice | None
) -> tuple[RunRequest, NetworkPredictor | BackbonePredictor]:
    """The network to be scored, and the request that names its image size."""
    if head is None:
        request, bare = at_fitting_size(request, lambda tried: BareNetwork(backbone_of(tried), views=task.views))
        return request, BackbonePredictor(bare)
    assert isinstance(task, Task)
    request, network = build_network(request, task, data, head.kind, head.options)
    return request, NetworkPredictor(network)


def _head_type(task: str, task_type: type[Task], recipe: Recipe) -> type[Head]:
    """The class of the recipe's head, if the task and the kind of training can use it."""
    head_type: type[Head] = registry.heads()[recipe.head.name].load()
    takes_bank = recipe.train.frozen is True and task_type.unlabeled is not None
    if head_type.dense != task_type.dense:
        one = "pixel" if task_type.dense else "image"
        types = {entry.name: entry.load() for entry in registry.heads()}
        right = (name for name, kind in types.items() if takes_bank or not issubclass(kind, BankHead))
        fit = ", ".join(name for name in right if types[name].dense == task_type.dense)
        raise UsageError(
            f"{task} needs a head with an output per {one}, which {recipe.head.name} isn't; take one of {fit}"
        )
    if recipe.probe and not (recipe.train.frozen and issubclass(head_type, PooledHead)):
        raise UsageError("a recipe with [probe] needs train.frozen=true and a head on pooled vectors, such as linear")
    if issubclass(head_type, BankHead) and not takes_bank:
        raise UsageError(
            f"the head {recipe.head.name} isn't trained: it needs train.frozen=true and a task that classifies pixels, "
            "such as ade20k-seg"
        )
    if recipe.token_probe and (recipe.probe or recipe.grid or recipe.train.frozen is not True or task_type.views == 2):
        raise UsageError(
            "a recipe with [token_probe] needs train.frozen=true, a task with one view, and no [probe] or [grid]"
        )
    return head_type


def _open(request: RunRequest, task: ScoredTask, folder: Path) -> TaskData:
    """The task's data: the recipe's share of the training images, limited where that was asked for."""
    # The selection split is part of the protocol: it doesn't depend on the run's seed.
    data = task.open(folder, seed=0) if request.learns else task.open_test(folder)
    if data.training and isinstance(request.recipe, Recipe):
        used = take_share(data.training.train, request.recipe.train.labels, request.seed)
        data = replace(data, training=replace(data.training, train=used))
    if request.limit is None:
        return data
    limited = partial(limit, count=request.limit, seed=request.seed)
    training = data.training and TrainingSplits(limited(data.training.train), limited(data.training.select))
    return replace(data, test=limited(data.test), training=training)


def _opened(data: TaskData) -> list[Reader]:
    """The readers of a task's data, without that of the selection split, which is a part of the training split."""
    return [data.test, *([data.train] if data.training else []), *data.further.values()]


def _prepare_weights(
    request: RunRequest, task: ScoredTask, data: TaskData, predictor: NetworkPredictor | BackbonePredictor
) -> tuple[str, ...]:
    """Before training, the task's state and drop path; before an evaluation, the fine-tuned head. Returns notes."""
    if not isinstance(task, Task) or not isinstance(predictor, NetworkPredictor):
        return ()
    network = predictor.network
    if data.training is None:
        return _load_finetuned(request, task, network.head)
    assert isinstance(request.recipe, Recipe)
    if request.recipe.token_probe is None and len(network.head.candidates()) > 1:
        raise UsageError(
            "head.layers=auto leaves open which block is read, which only a probe on kept tokens finds out",
            "take a recipe with [token_probe], such as linear, or name the block",
        )
    task.measure_state(data.training.train)
    network.backbone.set_drop_path(request.recipe.optim.drop_path)
    return ()


def _load_finetuned(request: RunRequest, task: Task, head: Head) -> tuple[str, ...]:
    """Fills the head and the task's state from the checkpoint; returns notes about weights that others fine-tuned."""
    ckpt = request.ckpt
    if request.backbone is not None:
        raise CheckpointError(
            f"a {type(request.backbone).__name__} object has no fine-tuned head",
            f"give a file: {ckpt}@weights.safetensors",
        )
    file = weight_file(ckpt)
    finetuned = read_finetuned(file) if file is not None and file.is_file() else None
    if finetuned is None:
        raise CheckpointError(
            f"{ckpt} holds no fine-tuned head, which --eval-only needs",
            "give the weights.safetensors of a finished run, or leave --eval-only out to fine-tune",
        )
    if not finetuned.is_native:
        notes = task.check_released(finetuned.metadata, ckpt)
        head.load_released(finetuned.head)
        return notes
    trained_on = finetuned.metadata.get("task", request.task)
    if trained_on != request.task:
        raise CheckpointError(f"{ckpt} was fine-tuned on {trained_on}, not on {request.task}", "leave --eval-only out")
    fill(head, finetuned.head, ckpt)
    task.state = _kept_state(finetuned.metadata.get("task_state", {}), task.state, ckpt)
    return ()


def _kept_state(state: object, known: Mapping[str, float], ckpt: str) -> dict[str, Any]:
    """The state of the task that was fine-tuned: a table with a finite number for each key of `known`.

    Raises:
        CheckpointError: it is none.
    """
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{ckpt}: the state of the task should be a table, but is {state!r:.80}", "fine-tune again"
        )
    for name in known:
        value = state.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckpointError(
                f"{ckpt}: the state of the task should have a finite number {name}, but has {value!r:.80}",
                "fine-tune again",
            )
    return state


def _classical_method(name: str, task_name: str, task: ScoredTask) -> ClassicalMethod:
    known = task.classical_methods()
    if not known:
        raise UsageError(f"{task_name} has no classical method", "give a checkpoint: croco-bench models")
    if name not in known:
        raise unknown(f"classical method of {task_name}", name, known)
    return known[name]


def is_setting(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether `table.key` is among the settings of a run."""
    table, _, name = key.partition(".")
    return name in settings.get(table, {})


def _key(request: RunRequest, data: TaskData, model: ModelIdentity, task: list[Any], processes: int) -> str:
    """Hash of settings, data and weights; see `RunSetup.key`."""
    training = data.training or TrainingSplits(data.test, data.test)
    identity = [
        *task,
        model.origin.identity,
        *(reader.fingerprint() for reader in (training.train, training.select, data.test)),
        request.seed,
        request.limit,
        request.eval_only,
        processes,
    ]
    return files.fingerprint(json.dumps(identity))
