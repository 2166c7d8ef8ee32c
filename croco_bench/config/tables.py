"""Tables that every kind of recipe is made of: typed, frozen, closed. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

Share = Annotated[float, Field(ge=0, lt=1)]
# Bounds far above all that make sense: beyond them a mistyped number would take the machine's memory, or days, in silence.
Pixels = Annotated[int, Field(gt=0, le=8192)]
Width = Annotated[int, Field(gt=0, le=2**16)]
Layers = Annotated[int, Field(gt=0, le=256)]
Images = Annotated[int, Field(gt=0, le=2**20)]
Steps = Annotated[int, Field(gt=0, le=10**9)]

# Marks a setting in its annotation: it changes speed or the files written, never a number.
NOT_IN_FINGERPRINT: Final = "not in the fingerprint"
# Marks a setting that came later: where it has its default it isn't written, so that fingerprints from before it stay.
UNWRITTEN_DEFAULT: Final = "not written where it has its default"


class Table(BaseModel):
    """A frozen table that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        return {key: value for key, value in values.items() if not _is_unwritten(fields[key], getattr(self, key))}


def _is_unwritten(field: FieldInfo, value: object) -> bool:
    return UNWRITTEN_DEFAULT in field.metadata and value == field.default


Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MOST_WORKERS: Final = 1024

# `train.image_size` as the nearest that fits; from where it starts in a recipe that says no other size.
AUTO: Final = "auto"
_USUAL_SIZE = 224


def _as_size(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


class Inputs(Table):
    """Size of a network's input (H, W), precision of its arithmetic, processes that load data.

    `precision`: fp32 is float32 in full; tf32 lets a GPU round the factors of its matrix products and convolutions to 10 bits;
    bf16 and fp16 are mixed precision. `workers` is the largest number per process: no more start than there are processors
    for each of a machine's processes, less one; "auto" stands for all of these.

    `image_size` may be given as "auto": the recipe's size, or the nearest that fits the network and its head
    (`nearest_size`).
    """

    image_size: Annotated[tuple[Pixels, Pixels], BeforeValidator(_as_size)]
    nearest_size: Annotated[bool, Field(exclude=True), NOT_IN_FINGERPRINT] = False
    precision: Precision = "fp32"
    workers: Annotated[
        int,
        Field(ge=0, le=MOST_WORKERS),
        BeforeValidator(lambda given: MOST_WORKERS if given == AUTO else given),
        NOT_IN_FINGERPRINT,
    ] = 4

    def at_size(self, size: tuple[int, int]) -> Self:
        """The same with images of this size."""
        return self.model_copy(update={"image_size": size, "nearest_size": False})

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("image_size") == AUTO:
            return {**value, "image_size": _USUAL_SIZE, "nearest_size": True}
        return value


class Loop(Inputs):
    """Length of a training, and how it runs. Exactly one of `epochs` and `steps` is given.

    `batch_size` is global: over processes and accumulation. `checkpointing`: the backward pass computes each block of the
    backbone again, which takes a third more time and far less memory, and changes no number. `compile`: "encoder" compiles each
    block of the backbone, "all" the whole network, which changes numbers by rounding.
    """

    batch_size: Images
    epochs: Steps | None = None
    steps: Steps | None = None
    accumulate: Images = 1
    compile: Annotated[Literal["off", "encoder", "all"], UNWRITTEN_DEFAULT] = "off"
    checkpointing: Annotated[bool, NOT_IN_FINGERPRINT, UNWRITTEN_DEFAULT] = False
    save_seconds: Annotated[NonNegativeFloat, NOT_IN_FINGERPRINT] = 120.0
    tracker: Annotated[Literal["none", "tensorboard", "wandb", "mlflow", "trackio"], NOT_IN_FINGERPRINT] = "none"

    @model_validator(mode="after")
    def _one_length(self) -> Loop:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of train.epochs and train.steps")
        return self


class OptimBase(Table):
    """Settings of every optimiser and its schedule: linear warm-up, then a cosine from the peak to `min_lr`.

    `warmup` counts in the unit of the training's length. `clip_grad` is the largest gradient norm; 0: not clipped.
    """

    min_lr: NonNegativeFloat = 0.0
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    warmup: NonNegativeInt = 0
    clip_grad: NonNegativeFloat = 0.0


class DataChecks(Table):
    """Checks of data before training. `unusual`: values that a format can't mean (depth in another unit, poses that aren't
    rigid) end a run, or are noted in its result.
    """

    unusual: Annotated[Literal["refuse", "note"], NOT_IN_FINGERPRINT] = "refuse"

    @property
    def accepts(self) -> bool:
        """Whether a run goes on with unusual values."""
        return self.unusual == "note"


class Protocol(Table):
    """The publication that a recipe follows, and each deviation from it."""

    citation: Annotated[str, NOT_IN_FINGERPRINT]
    deviations: Annotated[tuple[str, ...], NOT_IN_FINGERPRINT] = ()


class NamedRecipe(Table):
    """The part that all recipes share."""

    name: Annotated[str, NOT_IN_FINGERPRINT]
    summary: Annotated[str, NOT_IN_FINGERPRINT]
    train: Inputs
    protocol: Protocol


class BaseRecipe(NamedRecipe):
    """The part that recipes of fine-tuning and of pre-training share."""

    train: Loop
    optim: OptimBase
