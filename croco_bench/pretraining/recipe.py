"""Recipes of pre-training: typed, frozen, kept as TOML beside this file. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from croco_bench.config.load import RecipeFolder, affecting_score, digest
from croco_bench.config.tables import (
    NOT_IN_FINGERPRINT,
    BaseRecipe,
    DataChecks,
    Layers,
    Loop,
    OptimBase,
    Pixels,
    Share,
    Table,
    Width,
)
from croco_bench.errors import UsageError, unknown
from croco_bench.registry import objectives

AreaShare = Annotated[float, Field(gt=0, le=1)]


class PretrainModel(Table):
    """A ViT and its decoder. Heads: 0 stands for the number in published networks of that width.

    `positions` is CroCo's choice between v1 (cosine) and v2 (rope); MAE and MultiMAE are cosine by definition, which a
    note says where a recipe for several objectives has rope.
    """

    width: Width
    depth: Layers
    heads: Annotated[int, Field(ge=0, le=2**16)] = 0
    patch_size: Pixels = 16
    positions: Literal["cosine", "rope"] = "rope"
    decoder_width: Width
    decoder_depth: Layers
    decoder_heads: Annotated[int, Field(ge=0, le=2**16)] = 0

    @model_validator(mode="after")
    def _divisible(self) -> PretrainModel:
        for part, width, heads in (("", self.width, self.heads), ("decoder_", self.decoder_width, self.decoder_heads)):
            if heads and width % heads:
                raise ValueError(f"model.{part}heads={heads} should divide model.{part}width={width}")
        return self


class PretrainData(DataChecks):
    """Training data. `pairs` and `weights` belong together: a set of weight 2 comes up twice an epoch.

    `holdout` pairs, of scenes that are never trained on, measure progress. `resize`, `color`, `homography` and
    `rotation_deg` are those of `transforms.Augmentation`. The multimae objective reads `modalities` instead of pairs: a
    folder in MultiMAE's layout, cropped to a share `area` of each image and mirrored with probability `flip`.
    """

    pairs: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[PositiveFloat, ...] = ()
    holdout: NonNegativeInt = 0
    resize: NonNegativeInt = 0
    color: Share = 0.4
    homography: Share = 0.0
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    modalities: str = "multimae"
    area: tuple[AreaShare, AreaShare] = (0.2, 1.0)
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _as_many_weights(self) -> PretrainData:
        if self.weights and len(self.weights) != len(self.pairs):
            raise ValueError(f"data.weights has {len(self.weights)} numbers for {len(self.pairs)} sets of pairs")
        return self


class PretrainLoop(Loop):
    """All intervals count in the unit of the length (epochs, or steps).

    `schedule`: length of the cosine; longer than the training, it is left half-way (0: the training's length).
    `check_every`: held-out loss, a sheet of reconstructions, `checkpoint-last.pth`. `keep_every`: a checkpoint that stays
    (0: none). `ema`: decay of a running average of the weights (0: none). `shard`: split weights, gradients and optimiser
    over processes (FSDP).
    """

    schedule: NonNegativeInt = 0
    check_every: Annotated[PositiveInt, NOT_IN_FINGERPRINT] = 1
    keep_every: Annotated[NonNegativeInt, NOT_IN_FINGERPRINT] = 0
    ema: Share = 0.0
    shard: bool = False

    @model_validator(mode="after")
    def _fits(self) -> PretrainLoop:
        if self.schedule and self.schedule < (self.epochs or self.steps or 0):
            raise ValueError("train.schedule is shorter than the training; 0 makes them equal")
        if self.shard and self.ema:
            raise ValueError("train.ema needs the whole weights in every process; leave train.shard or train.ema out")
        if self.shard and self.compile != "off":
            raise ValueError("train.shard goes with train.compile off")
        if self.shard and self.precision == "fp16":
            raise ValueError("train.shard goes with train.precision fp32, tf32 or bf16")
        return self


# Objective of this project -> family of the backbone that it trains.
OBJECTIVES: dict[str, Literal["croco", "mae", "multimae"]] = {"croco": "croco", "mae": "mae", "multimae": "multimae"}

# Settings that the multimae objective doesn't read, and those that no other does.
ONLY_OF_PAIRS = {
    *(f"data.{key}" for key in ("pairs", "weights", "resize", "color", "homography", "rotation_deg")),
    *(f"model.{key}" for key in ("decoder_width", "decoder_depth", "decoder_heads")),
}
ONLY_OF_MODALITIES = {"data.modalities", "data.area", "data.flip"}


class PretrainOptim(OptimBase):
    """AdamW. The highest learning rate is `blr` x batch size / 256; only matrices decay."""

    blr: PositiveFloat
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: NonNegativeFloat = 0.05


class PretrainRecipe(BaseRecipe):
    """One recipe. `croco`, `mae` and `multimae` hold the options of each objective, so that one recipe serves all.

    `own` holds those of an objective that another distribution announces.
    """

    objective: str = "croco"
    decoder: Literal["cross", "cat"] = "cross"
    model: PretrainModel
    croco: dict[str, Any] = Field(default_factory=dict)
    mae: dict[str, Any] = Field(default_factory=dict)
    multimae: dict[str, Any] = Field(default_factory=dict)
    own: dict[str, Any] = Field(default_factory=dict)
    data: PretrainData
    train: PretrainLoop
    optim: PretrainOptim

    @field_validator("objective")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in OBJECTIVES and name not in objectives():
            known = [*OBJECTIVES, *(entry.name for entry in objectives())]
            raise ValueError(str(unknown("objective", name, known)))
        return name

    @model_validator(mode="after")
    def _decoder_is_crocos(self) -> PretrainRecipe:
        if self.decoder != "cross" and self.objective != "croco":
            raise ValueError(f"decoder={self.decoder} is a choice of the croco objective; {self.objective} has its own")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Those of the chosen objective."""
        options: dict[str, Any] = getattr(self, self.objective if self.objective in OBJECTIVES else "own")
        return options

    @property
    def family(self) -> Literal["croco", "mae", "multimae"]:
        """That of the backbone."""
        return OBJECTIVES.get(self.objective) or objectives()[self.objective].card.family

    @property
    def lr(self) -> float:
        """The highest learning rate."""
        return self.optim.blr * self.train.batch_size / 256


_RECIPES = RecipeFolder(PretrainRecipe, owner="pre-training", folder=files("croco_bench.pretraining") / "recipes")


def names() -> list[str]:
    """The recipes that come with the package."""
    return _RECIPES.names()


def load(
    name: str,
    changes: Iterable[str] = (),
    *,
    pairs: Sequence[str] = (),
    objective: str | None = None,
    decoder: str | None = None,
) -> PretrainRecipe:
    """Recipe `name` (or a path to a .toml file), with `KEY=VALUE` changes applied, then the named settings.

    Args:
        name: of a built-in recipe, or a path.
        changes: `KEY=VALUE` strings.
        pairs: sets of pairs; with the multimae objective one folder of modalities. Default: the recipe's.
        objective: default: the recipe's.
        decoder: default: the recipe's.

    Raises:
        UsageError: no such recipe, unknown key, wrong type, several folders of modalities, a change of which the objective takes
            no notice.
    """
    changes = list(changes)
    draft = _RECIPES.read(name).with_sets(changes)
    given = {"objective": objective, "decoder": decoder}
    draft = draft.with_changes({key: value for key, value in given.items() if value is not None})
    if pairs and draft.tables.get("objective") == "multimae":
        if len(pairs) > 1:
            raise UsageError(
                f"the multimae objective learns from one folder, but --pairs names {len(pairs)}", "give one"
            )
        draft = draft.with_changes({"data.modalities": pairs[0]})
    elif pairs:
        draft = draft.with_changes({"data.pairs": list(pairs)})
    recipe = draft.check()
    for change in changes:
        _require_read(recipe, change.partition("=")[0].strip())
    return recipe


def _require_read(recipe: PretrainRecipe, key: str) -> None:
    """Refuses a setting of which the recipe's objective takes no notice."""
    objective = recipe.objective
    if key == "model.positions" and recipe.model.positions == "rope" and recipe.family != "croco":
        raise UsageError(
            f"{objective} has absolute positions; model.positions=rope is a choice of the croco objective",
            "leave it out",
        )
    tables = {*OBJECTIVES, "own"} - {objective if objective in OBJECTIVES else "own"}
    unread = ONLY_OF_PAIRS if objective == "multimae" else ONLY_OF_MODALITIES
    if key.partition(".")[0] in tables or key in unread:
        raise UsageError(f"the {objective} objective takes no notice of {key}", "leave it out")


def settings_of(recipe: PretrainRecipe, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe as plain JSON values; `options` are the objective's, every default filled in."""
    settings = recipe.model_dump(mode="json", exclude={*OBJECTIVES, "own", "summary"})
    return {**settings, recipe.objective: options}


def fingerprint(settings: dict[str, Any]) -> str:
    """Twelve hexadecimal digits over every setting that can change the weights."""
    return digest(affecting_score(settings, PretrainRecipe), separators=(", ", ": "))
