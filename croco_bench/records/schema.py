"""The schema of a result file. Changes only with `SCHEMA_VERSION`. No torch here."""

from __future__ import annotations

import math
import platform
import subprocess
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from croco_bench import __version__
from croco_bench.errors import FAILED

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class TaskFacts(_Part):
    """Which task, and the version of its definition."""

    name: str
    version: int


class RecipeFacts(_Part):
    """Which recipe; the fingerprint covers every setting that can change a number."""

    name: str
    fingerprint: str


class PretrainingFacts(_Part):
    """See `croco_bench.contracts.Pretraining`."""

    objective: str
    images: int

    def __str__(self) -> str:
        return f"{self.objective} of {self.images:,} images"


class ModelFacts(_Part):
    """Which backbone. `parameters` counts the network that was trained, head included.

    `positions`: see `Backbone.position_kind`; files of earlier versions have none. `pretraining`: of weights that
    `croco-bench pretrain` wrote.
    """

    name: str
    family: str
    source: str
    sha256: str | None
    parameters: int
    binocular: bool
    positions: Literal["absolute", "rotary"] | None = None
    pretraining: PretrainingFacts | None = None

    @property
    def identity(self) -> str:
        """What tells these weights from others: the SHA-256 of their file, or the source where there is none."""
        return self.sha256 or self.source


class DatasetFacts(_Part):
    """What was scored: `images` of `images_available`."""

    name: str
    split: str
    images: int
    images_available: int
    fingerprint: str
    miniature: bool


class ProtocolFacts(_Part):
    """Whom the protocol follows, and every place where it does not."""

    citation: str
    deviations: tuple[str, ...]


class MetricValue(_Part):
    """One number in full precision.

    Attributes:
        value: in `unit`.
        ci95: bootstrap interval over images; None of fewer than ten images, or where some resamplings lack a value.
        unit: empty for a ratio or a count.
        higher_is_better: None where neither direction is better, as of a number of classes.
    """

    value: float
    ci95: tuple[float, float] | None
    unit: str
    higher_is_better: bool | None


class Selected(_Part):
    """Which weights the metrics without `last/` belong to; step 0: nothing was trained, and a read-out was chosen."""

    step: int
    metric: str
    split: str


class Timing(_Part):
    """Wall-clock seconds, training throughput, peak memory of the first process or its GPU."""

    train_s: float
    eval_s: float
    images_per_s: float
    peak_memory_mb: float


class Cost(_Part):
    """Cost of the network and of its evaluation. None where there is none, as of classical methods.

    Attributes:
        backbone_parameters: of the backbone, with its decoder where there are two views; `model.parameters` has all.
        trained_parameters: of backbone and head, without frozen ones.
        flops: floating-point operations of a forward pass on one image, or one pair, of `image_size`; a multiplication and
            an addition are two.
        image_size: (H, W) in pixels, to which `flops` belongs.
        eval_images_per_s: images scored per second under the headline protocol, reading included; None where no time passed.
    """

    backbone_parameters: int | None = None
    trained_parameters: int | None = None
    flops: int | None = None
    image_size: tuple[int, int] | None = None
    eval_images_per_s: float | None


class Environment(_Part):
    """Versions and machine. `git` and `dirty` are of croco-bench's own checkout; None where it is an installed package."""

    croco_bench: str
    git: str | None
    dirty: bool | None
    python: str
    torch: str
    timm: str
    device: str
    precision: str
    processes: int


class Result(_Part):
    """One task, one backbone, one recipe, one seed.

    Keys of `metrics`: bare for the headline protocol (`delta1`), `<protocol>/<metric>` for others (`eigen/delta1`), and
    `last/…` for the weights of the last step; without `last/` they are those of the selected weights.

    `history` is the metric of `selected` on its split after each number of steps at which it was measured.

    Files of earlier versions have no `cost`, and an empty `history`.
    """

    schema_version: Literal[1] = 1
    status: Literal["complete"]
    task: TaskFacts
    recipe: RecipeFacts
    model: ModelFacts
    dataset: DatasetFacts
    protocol: ProtocolFacts
    settings: dict[str, Any]
    seed: int
    metrics: dict[str, MetricValue] = Field(min_length=1)
    selected: Selected | None
    history: dict[int, float] = Field(default_factory=dict)
    timing: Timing
    cost: Cost | None = None
    environment: Environment
    started: datetime
    finished: datetime

    @field_validator("settings")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        def walk(item: Any) -> None:
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError("settings hold a value that isn't finite")
            for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ():
                walk(inner)

        walk(value)
        return value

    def __repr__(self) -> str:
        """One line: `Result(nyuv2-depth, croco-v1, recipe paper, seed 0: delta1 85.6 %)`."""
        key = (
            self.selected.metric if self.selected and self.selected.metric in self.metrics else next(iter(self.metrics))
        )
        number = f"{key} {self.metrics[key].value:.4g} {self.metrics[key].unit}".rstrip()
        return f"Result({self.task.name}, {self.model.name}, recipe {self.recipe.name}, seed {self.seed}: {number})"

    __str__ = __repr__

    @property
    def limited(self) -> bool:
        """Whether only a part of the split was scored, or trained on."""
        return self.dataset.images < self.dataset.images_available or self.settings.get("limit") is not None

    @property
    def classical(self) -> bool:
        """Whether a method without learning was scored."""
        return self.model.family == "classical"

    @property
    def failed(self) -> bool:
        """Whether some metric has no value, since too many predictions failed."""
        return any(text.endswith(FAILED) for text in self.protocol.deviations)

    @property
    def only_scored(self) -> bool:
        """Whether weights that were fine-tuned before were scored (`--eval-only`)."""
        return self.selected is None and not self.classical


def environment(*, torch: str, timm: str, device: str, precision: str, processes: int) -> Environment:
    """The running environment; what needs torch is passed in."""
    commit, dirty = _checkout()
    return Environment(
        croco_bench=__version__,
        git=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=torch,
        timm=timm,
        device=device,
        precision=precision,
        processes=processes,
    )


@cache
def _checkout() -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the checkout that this file lies in."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None, None
    return answers[0].strip(), bool(answers[1].strip())
