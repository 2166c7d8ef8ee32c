"""What CroCo-Flow and CroCo-Stereo have in common: a pair of views, a number or two and a confidence per pixel, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from croco_bench.contracts import Evaluation, Reader, Task
from croco_bench.errors import UsageError
from croco_bench.metrics.meter import Meter
from croco_bench.tasks.matching.released import Released, check_settings, settings_of
from croco_bench.tiling import confidence_weight, grid, slide_pairs
from croco_bench.types import Array, Batch, Sample, Size


class WindowOptions(Protocol):
    """The settings that both tasks have; `SintelFlowOptions` says what each means."""

    @property
    def loss(self) -> str:
        """One of `croco_bench.tasks.matching.losses.LOSSES`."""

    @property
    def overlap(self) -> float:
        """Share of a window that neighbours have in common."""

    @property
    def select_overlap(self) -> float:
        """The same while weights are selected."""

    @property
    def beta(self) -> float:
        """Of the weights of windows."""

    @property
    def gamma(self) -> float:
        """Of the same."""

    @property
    def windows(self) -> int:
        """Encoded or decoded at once."""


class WindowedTask(Task):
    """Predicts `quantities` numbers per pixel, in pixels, and the raw confidence (none with L1), as CroCo v2 does.

    Attributes:
        quantities: 2 for flow, 1 for disparity.
        released: whose files `--eval-only` takes.
        unseen: how to score what the authors of such a file kept from training.
        pooling: how errors become one number, for citations.
    """

    views = 2
    quantities: ClassVar[int]
    released: ClassVar[Released]
    unseen: ClassVar[str]
    pooling: ClassVar[str]
    options: WindowOptions

    def __init__(self, options: Any, image_size: Size) -> None:
        _check(options)
        self.options, self.image_size, self.state = options, image_size, {}
        self._trained_on = ""

    @property
    def out_channels(self) -> int:
        """What is predicted, and how much it is to be trusted."""
        return self.quantities + (self.options.loss != "l1")

    @property
    def weigh(self) -> Callable[[Tensor], Tensor] | None:
        """Raw confidence -> weight where windows overlap; None: all weigh the same."""
        if self.options.loss == "l1":
            return None
        return partial(confidence_weight, beta=self.options.beta, gamma=self.options.gamma)

    def resolved(self, test: Reader) -> dict[str, Any]:
        """The grid of windows on the first pair's size, rows by columns."""
        height, width = test[0]["valid"].shape
        rows, columns = grid((height, width), self.image_size, self.options.overlap)
        return {
            "window": list(self.image_size),
            "overlap": self.options.overlap,
            "windows": {f"{height}x{width}": [rows, columns]},
        }

    def use_released_settings(self, metadata: Mapping[str, Any], source: str) -> None:
        """See `Task.use_released_settings`: crop, criterion and weights of windows must be those of the run."""
        check_settings(settings_of(metadata, source, self.released), self.image_size, self.options, source)
        self._trained_on = str(metadata.get("dataset", "data that the file doesn't tell"))

    def scored(
        self,
        prefix: str,
        reader: Reader,
        meter: Meter,
        prepare: Callable[[Sample], Sample],
        overlap: float,
        *,
        batch_size: int,
    ) -> Evaluation:
        """Pairs with truth; of weights that their authors fine-tuned, the result says that they may have seen it."""
        found = self.evaluation(prefix, reader, meter, prepare, overlap, batch_size=batch_size)
        seen = (
            f"the weights come from their authors, who trained on {self._trained_on}, and maybe on scenes that are reported "
            f"here ({self.unseen})"
        )
        return replace(found, deviations=(seen,) if self._trained_on else ())

    def evaluation(
        self,
        prefix: str,
        reader: Reader,
        meter: Meter,
        prepare: Callable[[Sample], Sample],
        overlap: float,
        *,
        batch_size: int,
    ) -> Evaluation:
        """Pairs of one size per batch, predicted in windows."""
        height, width = self.image_size
        weights = "" if self.weigh is None else ", weighted by confidence"
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=meter,
            prepare=prepare,
            predict=partial(self._predict, overlap),
            batch_size=batch_size,
            citation=f"pairs of {reader.dataset}, {reader.split}, in windows of {height}x{width} that overlap by "
            f"{overlap:g} or more{weights}, as {self.released.method}; {self.pooling}",
        )

    def _predict(self, overlap: float, network: nn.Module, batch: Batch) -> list[Array]:
        """(H, W, 2) for two quantities, (H, W) for one."""
        found = slide_pairs(
            *(network, batch["image1"], batch["image2"], self.image_size, overlap),
            weigh=self.weigh,
            batch=self.options.windows,
        )
        maps = found[:, 0] if self.quantities == 1 else found.permute(0, 2, 3, 1)
        return list(maps.cpu().numpy())

    def evaluation_for(self, baseline: str, evaluation: Evaluation) -> Evaluation:
        """Methods without learning see whole images."""
        pairs = f"pairs of {evaluation.reader.dataset}, {evaluation.reader.split}"
        return replace(evaluation, citation=f"{pairs}, whole; {self.pooling}", deviations=())


def _check(options: WindowOptions) -> None:
    """Refuses what no type excludes."""
    for name in ("overlap", "select_overlap"):
        if not 0 <= getattr(options, name) < 1:
            raise UsageError(f"task.{name}={getattr(options, name):g} should be at least 0 and less than 1")
    if not 0 < options.beta <= 40:
        raise UsageError(f"task.beta={options.beta:g} should be more than 0 and at most 40, or the weights overflow")
    for name in ("gamma", "windows"):
        if not getattr(options, name) > 0:
            raise UsageError(f"task.{name}={getattr(options, name):g} should be more than 0")
