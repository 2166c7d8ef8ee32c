"""Builds and cross-checks the network (or classical method), task and data of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from croco_bench import files, registry
from croco_bench.backbones import load_backbone
from croco_bench.backbones.locate import weight_file
from croco_bench.backbones.networks.architecture import Decoder
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.paired import with_decoder, without_decoder
from croco_bench.backbones.save import read_finetuned
from croco_bench.backbones.weights import fill
from croco_bench.config import recipe as recipes
from croco_bench.config.load import options_of, parse_set
from croco_bench.config.recipe import FreshDecoder, Recipe
from croco_bench.config.tables import AUTO
from croco_bench.contracts import (
    Backbone,
    BankHead,
    ClassicalMethod,
    Evaluation,
    Head,
    Origin,
    PairBackbone,
    PooledHead,
    Reader,
    Task,
    TaskData,
    TrainingSplits,
)
from croco_bench.data.checks.values import require_usual
from croco_bench.data.folders import data_folder
from croco_bench.data.splitting import assumptions_of, limit
from croco_bench.engine.evaluate import ClassicalPredictor, NetworkPredictor, Predictor
from croco_bench.engine.network import Network, spec_for
from croco_bench.errors import CheckpointError, FitError, SizeError, UsageError, size_text, unknown
from croco_bench.registry import TaskCard
from croco_bench.runs.builtin import changed_settings
from croco_bench.seeding import derive
from croco_bench.types import Size

# Patches and head may each ask for another size.
_SIZES_TRIED = 3
_SIZE_SETTINGS = ("train.image_size", "train.nearest_size")


@dataclass(frozen=True)
class RunRequest:
    """One run to do: the arguments of `croco_bench.run`, with the recipe loaded.

    `backbone` is the network of a run that was given an object; `ckpt` is its class then.
    """

    task: str
    ckpt: str
    recipe: Recipe
    data_root: Path | None = None
    results: Path = Path("results")
    name: str | None = None
    seed: int = 0
    limit: int | None = None
    changes: tuple[str, ...] = ()
    device: str = "auto"
    eval_only: bool = False
    fresh: bool = False
    backbone: Backbone | None = None

    @property
    def classical_method(self) -> str | None:
        """NAME of `--ckpt classical:NAME`; None for a checkpoint."""
        prefix, colon, name = self.ckpt.partition(":")
        return name if colon and prefix == "classical" else None

    def at_size(self, size: Size) -> RunRequest:
        """The same with images of a size that `train.image_size=auto` stands for; otherwise this request."""
        if not self.recipe.train.nearest_size:
            return self
        made = [change for change in self.changes if change.partition("=")[0].strip() not in _SIZE_SETTINGS]
        sizes = {parse_set(change)[1] for change in self.changes if change not in made} - {AUTO, True}
        as_recipe = size == self.recipe.train.image_size and not sizes
        named = [] if as_recipe else [f"train.image_size={size_text(size)}"]
        recipe = self.recipe.model_copy(update={"train": self.recipe.train.at_size(size)})
        return replace(self, recipe=recipe, changes=(*made, *named))

    @property
    def learns(self) -> bool:
        """Whether anything is trained."""
        return not self.eval_only and self.classical_method is None


@dataclass(frozen=True)
class ModelIdentity:
    """Name, family and origin of what is scored, as the result records them."""

    name: str
    family: str
    origin: Origin


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
    task: Task
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
    def network(self) -> Network:
        """The network, where it isn't a classical method that is scored."""
        assert isinstance(self.predictor, NetworkPredictor)
        return self.predictor.network


def set_up(request: RunRequest, processes: int) -> RunSetup:
    """Builds task, data, backbone and head and checks that they fit each other; cheap checks first.

    Raises:
        BenchError: a name, a setting, a file or a size is wrong.
    """
    recipe, entry = request.recipe, registry.tasks()[request.task]
    task_type: type[Task] = entry.load()
    head_type = _head_type(request.task, task_type, recipe)
    task_options = options_of(task_type.Options, recipe.task, f"[task] of {request.task}")
    head_options = options_of(head_type.Options, recipe.head.options, f"[head] of {recipe.head.name}")
    task = task_type(task_options, recipe.train.image_size)
    data = _open(request, task, data_folder(request.data_root, entry.card.dataset))
    unusual = require_usual(_opened(data), classes=len(data.class_names) or None, accept=recipe.data.accepts)
    if request.classical_method is None:
        request, network = build_network(request, task, data, head_type, head_options)
        if request.recipe is not recipe:
            task = task_type(task_options, request.recipe.train.image_size)
        data = replace(data, notes=(*data.notes, *_prepare_weights(request, task, data, network)))
        predictor: Predictor = NetworkPredictor(network)
        model = ModelIdentity(network.backbone.name, network.backbone.family, network.backbone.origin)
    else:
        predictor = ClassicalPredictor(_classical_method(request.classical_method, request.task, task))
        origin = Origin(request.ckpt, "classical")
        model = ModelIdentity(request.name or request.classical_method, "classical", origin)
    settings = recipes.resolve(request.recipe, task_options, head_options)
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


def _head_type(task: str, task_type: type[Task], recipe: Recipe) -> type[Head]:
    """The class of the recipe's head, if the task and the kind of training can use it."""
    head_type: type[Head] = registry.heads()[recipe.head.name].load()
    if head_type.dense != task_type.dense:
        one = "pixel" if task_type.dense else "image"
        fit = ", ".join(entry.name for entry in registry.heads() if entry.load().dense == task_type.dense)
        raise UsageError(
            f"{task} needs a head with an output per {one}, which {recipe.head.name} isn't; take one of {fit}"
        )
    if recipe.probe and not (recipe.train.frozen and issubclass(head_type, PooledHead)):
        raise UsageError("a recipe with [probe] needs train.frozen=true and a head on pooled vectors, such as linear")
    if issubclass(head_type, BankHead) and (recipe.train.frozen is not True or task_type.unlabeled is None):
        raise UsageError(
            f"the head {recipe.head.name} isn't trained: it needs train.frozen=true and a task that classifies pixels, "
            "such as ade20k-seg"
        )
    if recipe.token_probe and (recipe.probe or recipe.grid or recipe.train.frozen is not True or task_type.views == 2):
        raise UsageError(
            "a recipe with [token_probe] needs train.frozen=true, a task with one view, and no [probe] or [grid]"
        )
    return head_type


def _open(request: RunRequest, task: Task, folder: Path) -> TaskData:
    """The task's data, limited where that was asked for."""
    # The selection split is part of the protocol: it doesn't depend on the run's seed.
    data = task.open(folder, seed=0) if request.learns else task.open_test(folder)
    if request.limit is None:
        return data
    limited = partial(limit, count=request.limit, seed=request.seed)
    training = data.training and TrainingSplits(limited(data.training.train), limited(data.training.select))
    return replace(data, test=limited(data.test), training=training)


def _opened(data: TaskData) -> list[Reader]:
    """The readers of a task's data, without that of the selection split, which is a part of the training split."""
    return [data.test, *([data.train] if data.training else []), *data.further.values()]


def build_network(
    request: RunRequest, task: Task, data: TaskData, head_type: type[Head], head_options: Any
) -> tuple[RunRequest, Network]:
    """The backbone of the checkpoint, with a decoder where the task has two views, and a new head.

    With `train.image_size=auto`, at the nearest size that fits; the request that is returned names the size.

    Raises:
        FitError: they don't go together, or the image size doesn't fit; the advice then is the setting that does.
    """
    size = request.recipe.train.image_size
    for _ in range(_SIZES_TRIED if request.recipe.train.nearest_size else 1):
        tried = request.at_size(size)
        try:
            network = _network(tried, task, data, head_type, head_options)
        except SizeError as error:
            factor = head_type.grid_multiple if error.of_patches else 1
            refused, size = error.for_setting(factor), error.fitting(factor)
        else:
            return tried, network
    raise refused


def _network(request: RunRequest, task: Task, data: TaskData, head_type: type[Head], head_options: Any) -> Network:
    recipe = request.recipe
    facts = options_of(BackboneFacts, recipe.backbone, "[backbone]")
    # A copy of an object, because training changes it.
    given = request.ckpt if request.backbone is None else deepcopy(request.backbone)
    backbone = load_backbone(given, image_size=recipe.train.image_size, name=request.name, facts=facts).cpu().float()
    if task.views == 2:
        backbone = _paired(backbone, request)
    elif recipe.train.frozen == "encoder":
        raise UsageError(
            f"train.frozen=encoder leaves a decoder to train, but {request.task} has one view", "take train.frozen=true"
        )
    torch.manual_seed(derive(request.seed, "head"))
    head = head_type(spec_for(backbone, task.views), task.out_channels(data), head_options)
    return Network(
        backbone,
        head,
        views=task.views,
        frozen=recipe.train.frozen,
        symmetric=task.symmetric,
        decode=task.decode,
    )


def _paired(backbone: Backbone, request: RunRequest) -> PairBackbone:
    """The backbone with its own decoder, or a fresh one where it has none or the recipe replaces it.

    Raises:
        FitError: the recipe freezes the decoder, but the backbone has none.
    """
    fresh, frozen = request.recipe.decoder or FreshDecoder(), request.recipe.train.frozen
    if request.learns and fresh.replaces:
        backbone = without_decoder(backbone)
    if frozen is True and not backbone.binocular:
        raise FitError(
            f"{backbone.name} has no decoder, and one with random weights must not be frozen",
            "take --recipe frozen-encoder, or --set train.frozen=encoder, which trains a new decoder",
        )
    torch.manual_seed(derive(request.seed, "decoder"))
    return with_decoder(backbone, Decoder(fresh.width, fresh.depth, fresh.heads, 4 * fresh.width))


def _prepare_weights(request: RunRequest, task: Task, data: TaskData, network: Network) -> tuple[str, ...]:
    """Before training, the task's state and drop path; before an evaluation, the fine-tuned head. Returns notes."""
    if data.training is None:
        return _load_finetuned(request, task, network.head)
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
    task.state = dict(finetuned.metadata.get("task_state", {}))
    return ()


def _classical_method(name: str, task_name: str, task: Task) -> ClassicalMethod:
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
