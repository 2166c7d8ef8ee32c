"""Common base of CroCo-Flow and CroCo-Stereo: a pair of views, dense displacements with a confidence, tiled prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import cv2
from torch import Tensor, nn

from croco_bench.contracts import ClassicalMethod, Evaluation, Reader, Task, TaskData, TensorPredict
from croco_bench.data.transforms.color import to_uint8
from croco_bench.metrics.meter import Meter
from croco_bench.tasks.matching.released import ReleasedMethod, check_settings, settings_of
from croco_bench.tiling import CONTINUES, grid, sigmoid_weight, slide_pairs
from croco_bench.types import Array, Batch, Sample, Size

# Two gray images (H, W) uint8 -> flow (H, W, 2) or disparity (H, W) from the first to the second, in pixels.
GrayMethod = Callable[[Array, Array], Array]


class TilingOptions(Protocol):
    """The settings that both tasks share; `SintelFlowOptions` documents them."""

    @property
    def loss(self) -> str:
        """One of `croco_bench.tasks.matching.losses.LOSSES`."""

    @property
    def overlap(self) -> float:
        """Share of a tile that neighbouring tiles have in common."""

    @property
    def select_overlap(self) -> float:
        """Overlap during the selection of weights."""

    @property
    def beta(self) -> float:
        """Strength of the confidence weighting."""

    @property
    def gamma(self) -> float:
        """Softness of the confidence weighting."""

    @property
    def windows(self) -> int:
        """Number of tiles encoded or decoded at once."""


class TiledTask(Task):
    """Predicts `flow_channels` displacements per pixel, in pixels, and the raw confidence (none with L1), as CroCo v2 does.

    Attributes:
        flow_channels: 2 for flow, 1 for disparity.
        released: the authors' method, which defines the files that `--eval-only` accepts.
        unseen_hint: which setting scores scenes that the authors held out of their training.
        pooling: how errors are averaged, for citations.
        gray_methods: classical methods by name.
    """

    views = 2
    flow_channels: ClassVar[int]
    released: ClassVar[ReleasedMethod]
    unseen_hint: ClassVar[str]
    pooling: ClassVar[str]
    gray_methods: ClassVar[Mapping[str, GrayMethod]]
    options: TilingOptions

    def __init__(self, options: Any, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def out_channels(self, data: TaskData) -> int:
        """Flow or disparity channels, plus one confidence channel unless the loss is L1."""
        return self.flow_channels + (self.options.loss != "l1")

    @property
    def confidence_weight(self) -> Callable[[Tensor], Tensor] | None:
        """Raw confidence -> weight in the average of overlapping tiles; None: equal weights."""
        if self.options.loss == "l1":
            return None
        return partial(sigmoid_weight, beta=self.options.beta, gamma=self.options.gamma)

    def resolved(self, data: TaskData) -> dict[str, Any]:
        """The grid of tiles on the first pair, rows by columns."""
        height, width = data.test[0]["valid"].shape
        rows, columns = grid((height, width), self.image_size, self.options.overlap)
        return {
            "window": list(self.image_size),
            "overlap": self.options.overlap,
            "windows": {f"{height}x{width}": [rows, columns]},
        }

    def check_released(self, metadata: Mapping[str, Any], source: str) -> tuple[str, ...]:
        """See `Task.check_released`: crop, criterion and confidence weighting must be those of the run."""
        check_settings(settings_of(metadata, source, self.released), self.image_size, self.options, source)
        trained_on = str(metadata.get("dataset", "data that the file doesn't tell"))
        return (
            f"the weights come from their authors, who trained on {trained_on}, and maybe on scenes that are reported "
            f"here ({self.unseen_hint})",
        )

    def tiled_evaluation(
        self,
        reader: Reader,
        meter: Meter,
        prepare: Callable[[Sample], Sample],
        *,
        overlap: float,
        batch_size: int,
        prefix: str = "",
        notes: tuple[str, ...] = (),
    ) -> Evaluation:
        """Scores tiled predictions for batches of pairs of equal size; `notes` are listed as deviations."""
        height, width = self.image_size
        weighted = "" if self.confidence_weight is None else ", weighted by confidence"
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=meter,
            prepare=prepare,
            predict=TensorPredict(partial(self._predict, overlap)),
            batch_size=batch_size,
            citation=f"{_pairs_of(reader)}, in windows of {height}x{width} that overlap by {overlap:g} or more{weighted}, "
            f"as {self.released.method}; {self.pooling}",
            deviations=notes,
        )

    def _predict(self, overlap: float, network: nn.Module, batch: Batch) -> Tensor:
        """Flow (H, W, 2) or disparity (H, W) per pair."""
        flow = slide_pairs(
            network,
            batch["image1"],
            batch["image2"],
            self.image_size,
            overlap,
            confidence_weight=self.confidence_weight,
            tiles_at_once=self.options.windows,
            continues=batch.get(CONTINUES),
        )
        return flow[:, 0] if self.flow_channels == 1 else flow.permute(0, 2, 3, 1)

    def classical_methods(self) -> Mapping[str, ClassicalMethod]:
        """`gray_methods`, applied to whole images."""
        return {
            name: ClassicalMethod(partial(_predict_gray, method), self._on_whole_images)
            for name, method in self.gray_methods.items()
        }

    def _on_whole_images(self, evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, citation=f"{_pairs_of(evaluation.reader)}, whole; {self.pooling}", deviations=())


def _pairs_of(reader: Reader) -> str:
    return f"pairs of {reader.dataset}, {reader.split}"


def _predict_gray(method: GrayMethod, batch: Batch) -> list[Array]:
    """Applies a method to the pairs of a prepared batch."""
    return [method(_gray(one), _gray(two)) for one, two in zip(batch["image1"], batch["image2"], strict=True)]


def _gray(image: Tensor) -> Array:
    """(3, H, W) in [0, 1] -> (H, W) uint8."""
    gray: Array = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2GRAY)
    return gray
