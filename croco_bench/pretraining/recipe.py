"""Recipes of pre-training: typed, frozen, kept as TOML beside this file. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from croco_bench.config.recipe import Protocol
from croco_bench.config.tables import NOT_IN_FINGERPRINT, Length, Loop, Table, keys_of, read_tables, readable
from croco_bench.errors import UsageError, unknown

Share = Annotated[float, Field(ge=0, lt=1)]


class Model(Table):
    """A ViT and its decoder. Heads: 0 stands for what published networks of that width have.

    `positions` is CroCo's choice between v1 (cosine) and v2 (rope); MAE and MultiMAE are cosine by definition.
    """

    width: Length
    depth: Length
    heads: Annotated[int, Field(ge=0)] = 0
    patch_size: Length = 16
    positions: Literal["cosine", "rope"] = "rope"
    decoder_width: Length
    decoder_depth: Length
    decoder_heads: Annotated[int, Field(ge=0)] = 0


class Data(Table):
    """What is learned from. `pairs` and `weights` belong together: a set of weight 2 comes up twice an epoch.

    `holdout` pairs, of scenes that are never trained on, measure progress. `resize`, `color`, `homography` and
    `rotation_deg` are those of `samples.Augmentation`. The multimae objective reads `modalities` instead of pairs: a
    folder in MultiMAE's layout, cropped to a share `area` of each image and mirrored with probability `flip`.
    """

    pairs: tuple[str, ...]
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    holdout: Annotated[int, Field(ge=0)] = 0
    resize: Annotated[int, Field(ge=0)] = 0
    color: Share = 0.4
    homography: Share = 0.0
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    modalities: str = "multimae"
    area: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.2, 1.0)
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _as_many_weights(self) -> Data:
        if self.weights and len(self.weights) != len(self.pairs):
            raise ValueError(f"data.weights has {len(self.weights)} numbers for {len(self.pairs)} sets of pairs")
        return self


class Train(Loop):
    """Everything that counts, counts in the unit of the length (epochs, or steps).

    `schedule`: length of the cosine; longer than the training, it is left half-way (0: the same). `check_every`: held-out
    loss, a sheet of reconstructions, `checkpoint-last.pth`. `keep_every`: a checkpoint that stays (0: none). `ema`: decay
    of a running average of the weights (0: none). `shard`: split weights, gradients and optimiser over processes (FSDP).
    """

    schedule: Annotated[int, Field(ge=0)] = 0
    check_every: Length = 1
    keep_every: Annotated[int, Field(ge=0)] = 0
    ema: Share = 0.0
    shard: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Train:
        if self.schedule and self.schedule < (self.epochs or self.steps or 0):
            raise ValueError("train.schedule is shorter than the training; 0 makes them equal")
        if self.shard and self.ema:
            raise ValueError("train.ema needs the whole weights in every process; leave train.shard or train.ema out")
        if self.shard and self.precision == "fp16":
            raise ValueError("train.shard goes with train.precision bf16 or fp32")
        return self


class Optim(Table):
    """AdamW. The learning rate is `blr` x batch size / 256; only matrices decay."""

    blr: Annotated[float, Field(gt=0)]
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[int, Field(ge=0)] = 0
    clip_grad: Annotated[float, Field(ge=0)] = 0.0


class Pretraining(Table):
    """One recipe. `croco`, `mae` and `multimae` hold the options of each objective, so that one recipe serves all."""

    name: str
    summary: str
    objective: Literal["croco", "mae", "multimae"] = "croco"
    decoder: Literal["cross", "cat"] = "cross"
    model: Model
    croco: dict[str, Any] = Field(default_factory=dict)
    mae: dict[str, Any] = Field(default_factory=dict)
    multimae: dict[str, Any] = Field(default_factory=dict)
    data: Data
    train: Train
    optim: Optim
    protocol: Protocol

    @model_validator(mode="after")
    def _decoder_is_crocos(self) -> Pretraining:
        if self.decoder != "cross" and self.objective != "croco":
            raise ValueError(f"decoder={self.decoder} is a choice of the croco objective; {self.objective} has its own")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Those of the chosen objective."""
        chosen: dict[str, Any] = getattr(self, self.objective)
        return chosen

    @property
    def lr(self) -> float:
        """The highest learning rate."""
        return self.optim.blr * self.train.batch_size / 256


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def load(name: str, changes: Iterable[str] = ()) -> Pretraining:
    """Recipe `name` (or a path to a .toml file), with `KEY=VALUE` changes applied.

    Raises:
        UsageError: no such recipe, unknown key, wrong type.
    """
    source: Traversable = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not source.is_file():
        if name.endswith(".toml"):
            raise UsageError(f"no recipe file {name}", f"give a path to a .toml file or one of {', '.join(names())}")
        raise unknown("pre-training recipe", name, names())
    tables = read_tables(source, changes)
    try:
        return Pretraining.model_validate({**tables, "name": Path(name).stem if name.endswith(".toml") else name})
    except ValidationError as error:
        raise readable(error, f"recipe pretrain/{name}", keys_of(Pretraining)) from error


def settings_of(recipe: Pretraining, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe as plain JSON values; `options` are the objective's, every default filled in."""
    plain = recipe.model_dump(mode="json", exclude={"croco", "mae", "multimae", "summary"})
    return {**plain, recipe.objective: options}


def fingerprint(settings: dict[str, Any]) -> str:
    """Twelve hex digits over every setting that can change the weights."""
    ignored = {"train": {*NOT_IN_FINGERPRINT, "check_every", "keep_every"}, "protocol": {"citation", "deviations"}}
    kept = {
        key: {name: item for name, item in value.items() if name not in ignored.get(key, ())}
        if isinstance(value, dict)
        else value
        for key, value in settings.items()
        if key != "name"
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def _folder() -> Traversable:
    return files("croco_bench.pretraining") / "recipes"
