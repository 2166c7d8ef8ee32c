"""Recipes of tasks: named, typed, frozen sets of hyper-parameters, kept as TOML beside the task. No torch here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from croco_bench.config.load import RecipeFolder, affecting_score, digest, names_in
from croco_bench.config.tables import (
    NOT_IN_FINGERPRINT,
    UNWRITTEN_DEFAULT,
    BaseRecipe,
    DataChecks,
    Inputs,
    Layers,
    Loop,
    NamedRecipe,
    OptimBase,
    Protocol,
    Share,
    Steps,
    Table,
    Width,
)
from croco_bench.registry import TaskCard, tasks


class HeadChoice(Table):
    """Which head, and its options. In TOML the options stand beside the name."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"name": value.get("name"), "options": {key: item for key, item in value.items() if key != "name"}}
        return value


def _frozen_part(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """One sentence where the parts of a union would each have one."""
    try:
        return read(value)
    except ValidationError:
        raise ValueError("should be true, false or encoder") from None


class Train(Loop):
    """Length and data of a fine-tuning. `select_every` and `optim.warmup` count in the unit of the length.

    `labels`: the share of the training images that is used, drawn with the run's seed; smaller shares are parts of larger ones.
    `frozen`: the backbone isn't trained; with "encoder", of a backbone for two views its decoder alone is. `channels_last`: the
    head's convolutions have their weights with channels last in memory, as a GPU multiplies them.
    """

    select_every: PositiveInt = 1
    labels: Annotated[float, Field(gt=0, le=1), UNWRITTEN_DEFAULT] = 1.0
    frozen: Annotated[bool | Literal["encoder"], WrapValidator(_frozen_part)] = False
    channels_last: Annotated[bool, UNWRITTEN_DEFAULT] = False


class Optim(OptimBase):
    """An optimiser of timm, its highest learning rate, and the layer-wise decay of that rate."""

    name: str = "adamw"
    lr: PositiveFloat
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    drop_path: Share = 0.0


class FreshDecoder(Table):
    """The decoder that tasks with two views give to backbones without one; default: that of CroCo's small models.

    `replaces`: it takes the place of a backbone's own decoder, too.
    """

    width: Annotated[Width, Field(multiple_of=4)] = 512
    depth: Layers = 8
    heads: Width = 16
    replaces: Annotated[bool, UNWRITTEN_DEFAULT] = False

    @model_validator(mode="after")
    def _divisible(self) -> FreshDecoder:
        if self.width % self.heads:
            raise ValueError(f"decoder.heads={self.heads} should divide decoder.width={self.width}")
        return self


class Probe(Table):
    """A head trained on vectors that are extracted once, from images without augmentation.

    All `rates` (for 256 images a batch) and poolings are trained together for `train.epochs`, with momentum and cosine,
    and the best on the selection split is reported. Beside it: L-BFGS logistic regression with the best of `costs` (the
    inverse of the regularisation's weight per image) and the k nearest neighbours with the best of `neighbours`.
    """

    rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    momentum: Share = 0.9
    costs: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1e-3, 1e-2, 0.1, 1.0, 10.0)
    neighbours: Annotated[tuple[Steps, ...], Field(min_length=1)] = (10, 20, 100, 200)
    temperature: PositiveFloat = 0.07


class Grid(Table):
    """Copies of the head, one for each pair of rate (for 256 images a batch) and weight decay.

    They start with the same weights and are trained together on the same features of a frozen backbone; the best on the
    selection split is reported. `optim.lr` and `optim.weight_decay` are not used.
    """

    rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    weight_decays: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0,)


class TokenProbe(Table):
    """Heads trained together on tokens that are extracted once, from images without augmentation.

    Each candidate of the head (itself, or with `head.layers="auto"` one per block) is trained with each of `rates` as
    `optim.lr`; the best head at its best step on the selection split is reported. Beyond 1e30, Adam's steps overflow.
    """

    rates: Annotated[tuple[Annotated[float, Field(gt=0, le=1e30)], ...], Field(min_length=1)]


class TaskProtocol(Protocol):
    """The publication that a recipe of a task follows, and each deviation from it.

    `training_deviations` concern networks and their training alone: they don't hold for methods without learning.
    """

    training_deviations: Annotated[tuple[str, ...], NOT_IN_FINGERPRINT] = ()


class Recipe(BaseRecipe):
    """A recipe of one task.

    `task` holds the task's own options, checked against its `Options` by `options_of`; `backbone` holds facts about the
    checkpoint that it doesn't say itself, checked against `BackboneFacts`. No built-in recipe has any.
    """

    task_name: str
    head: HeadChoice
    task: dict[str, Any] = Field(default_factory=dict)
    backbone: dict[str, Any] = Field(default_factory=dict)
    data: Annotated[DataChecks, NOT_IN_FINGERPRINT] = DataChecks()
    train: Train
    optim: Optim
    decoder: FreshDecoder | None = None
    probe: Probe | None = None
    grid: Grid | None = None
    token_probe: TokenProbe | None = None
    protocol: TaskProtocol

    @model_validator(mode="after")
    def _grid_fits(self) -> Recipe:
        """Copies that are trained together must not change each other."""
        if self.grid is None:
            return self
        if self.probe is not None or self.train.frozen is not True:
            raise ValueError("[grid] needs train.frozen=true, and no [probe]")
        if self.optim.clip_grad or self.train.precision == "fp16":
            raise ValueError("[grid] needs optim.clip_grad=0 and another train.precision than fp16")
        return self


class TrainingFreeRecipe(NamedRecipe):
    """A recipe of a task that trains nothing; `task` and `backbone` as in `Recipe`, `train` describes the network's input."""

    task_name: str
    task: dict[str, Any] = Field(default_factory=dict)
    backbone: dict[str, Any] = Field(default_factory=dict)
    data: Annotated[DataChecks, NOT_IN_FINGERPRINT] = DataChecks()
    train: Inputs
    protocol: TaskProtocol


TaskRecipe = Recipe | TrainingFreeRecipe


def fingerprint(settings: Mapping[str, Any], task_options: Any) -> str:
    """Twelve hexadecimal digits over every setting that can change a headline number.

    Args:
        settings: from `resolve`.
        task_options: the task's options. Those that only add numbers, or describe files, are marked with
            `field(metadata={"affects_score": False})`.
    """
    kept = affecting_score(settings, Recipe)
    ignored = {item.name for item in fields(task_options) if not item.metadata.get("affects_score", True)}
    kept["task"] = {key: value for key, value in settings["task"].items() if key not in ignored}
    return digest(kept, separators=(",", ":"))


def resolve(recipe: TaskRecipe, task_options: Any, head_options: Any = None) -> dict[str, Any]:
    """The recipe as plain JSON values, every default filled in. A recipe without training has no head."""
    settings: dict[str, Any] = {
        "task": _plain(task_options),
        "backbone": recipe.backbone or None,
        "data": recipe.data if recipe.data.accepts else None,
        "train": recipe.train,
    }
    if isinstance(recipe, Recipe):
        settings = {
            "head": {"name": recipe.head.name, **_plain(head_options)},
            **settings,
            "optim": recipe.optim,
            "decoder": recipe.decoder,
            "probe": recipe.probe,
            "grid": recipe.grid,
            "token_probe": recipe.token_probe,
        }
    return {
        key: value.model_dump(mode="json") if isinstance(value, Table) else value
        for key, value in settings.items()
        if value is not None
    }


def without_networks(settings: Mapping[str, Any], task_options: Any) -> dict[str, Any]:
    """Those of resolved settings that a method without learning uses: options of the task.

    Options that only networks use are marked with `field(metadata={"networks_only": True})`.
    """
    unused = {item.name for item in fields(task_options) if item.metadata.get("networks_only", False)}
    return {"task": {key: value for key, value in settings["task"].items() if key not in unused}}


def _plain(options: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return values


def names_of(task: str) -> list[str]:
    """The recipes that come with a task."""
    return names_in(_recipe_folder(tasks()[task].card, task))


def text_of(task: str, name: str) -> str:
    """The TOML text of a recipe that comes with a task."""
    return (_recipe_folder(tasks()[task].card, task) / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(task: str, name: str, changes: Iterable[str] = ()) -> Recipe:
    """Recipe `name` of a task that is trained (or a path to a .toml file), with `KEY=VALUE` changes applied.

    Raises:
        UsageError: no such recipe, unknown key, wrong type.
    """
    recipe = load_task_recipe(task, name, changes)
    assert isinstance(recipe, Recipe), "the task is trained"
    return recipe


def load_task_recipe(task: str, name: str, changes: Iterable[str] = ()) -> TaskRecipe:
    """The same for any task.

    Raises:
        UsageError: no such recipe, unknown key, wrong type.
    """
    folder = _recipe_folder(tasks()[task].card, task)
    if tasks()[task].card.training_free:
        return RecipeFolder(TrainingFreeRecipe, task, folder, {"task_name": task}).load(name, changes)
    return RecipeFolder(Recipe, task, folder, {"task_name": task}).load(name, changes)


def _recipe_folder(card: TaskCard, task: str) -> Traversable:
    """The folder of a task's recipes; its package is imported, not its module, so that this stays free of torch."""
    package, _, folder = card.recipes.partition(":")
    if not package:
        package, folder = card.target.partition(":")[0].rpartition(".")[0], f"recipes/{card.group or task}"
    return files(importlib.import_module(package)).joinpath(*folder.split("/"))
