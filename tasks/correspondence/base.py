"""What all tasks share that read matches from a backbone's features without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import (
    NETWORKS_ONLY,
    ClassicalMethod,
    Evaluation,
    Reader,
    TaskData,
    TensorPredict,
    TrainingFreeTask,
)
from croco_bench.data.splitting import Subset, limit, spread_indices
from croco_bench.metrics.correspondence import CorrespondenceMeter, Estimator, SweepMeter
from croco_bench.metrics.match_definitions import MatchScores
from croco_bench.metrics.meter import Rows
from croco_bench.tasks.correspondence.classical import METHODS, predict
from croco_bench.tasks.correspondence.matching import Candidates, tokens_at
from croco_bench.tasks.correspondence.pictures import looked_for, most_central, panels, with_point
from croco_bench.tasks.correspondence.read_outs import Matcher, PairFeatures, ReadOut, mean_tokens, pair_features
from croco_bench.tasks.correspondence.truth import sides_px
from croco_bench.types import Array, Batch, Sample, Size

# Pairs predicted at once; results don't depend on it.
_EVAL_PAIRS = 8
_HEADLINE = "headline"


@dataclass(frozen=True)
class MatchOptions:
    """Settings of all such tasks.

    Attributes:
        step_px: matches by tokens are searched on a grid of this spacing in view 2 first, then pixel by pixel about the best.
        mutual_px: a match whose own match in view 1 is farther from its point is no answer; 0: all matches answer.
        centered: also compare tokens without the mean of their position over images.
        measure_pairs: maximum number of pairs on which these means are measured.
        select_pairs: maximum number of pairs to choose a read-out by.
    """

    step_px: Annotated[int, Field(ge=1, le=16)] = field(default=4, metadata=NETWORKS_ONLY)
    mutual_px: NonNegativeFloat = field(default=0.0, metadata=NETWORKS_ONLY)
    centered: bool = field(default=True, metadata=NETWORKS_ONLY)
    measure_pairs: PositiveInt = field(default=100, metadata=NETWORKS_ONLY)
    select_pairs: PositiveInt = field(default=200, metadata=NETWORKS_ONLY)


@dataclass(frozen=True)
class PointOptions(MatchOptions):
    """Settings of tasks that choose points of view 1 themselves.

    Attributes:
        points: a grid, or as many SIFT keypoints.
        per_side: points of the grid along the shorter side.
    """

    points: Literal["grid", "sift"] = "grid"
    per_side: Annotated[int, Field(ge=2, le=128)] = 20


class PointMatching(TrainingFreeTask):
    """Matches (R, P, 2) of P points, in pixels of an image with a shorter side of 256, for all R read-outs of a network.

    `state` holds the index of the chosen read-out of each kind, and of the best of all, the headline.

    Attributes:
        scores: the metrics.
        citation: the publications that the evaluation follows.
        deviations: from them.
    """

    views = 2
    scores: ClassVar[MatchScores]
    citation: ClassVar[str]
    deviations: ClassVar[tuple[str, ...]]
    options: Any

    def __init__(self, options: MatchOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}
        self._read_outs: tuple[ReadOut, ...] = ()
        self._means: dict[str, list[Tensor]] = {}
        self._swept: dict[str, list[float | None]] = {}

    @abstractmethod
    def prepare(self, sample: Sample) -> Sample:
        """A raw sample as `image1` and `image2` (3, h, w) of the network's size, `points`, `truth`, and what the metrics need."""

    def estimate(self) -> Estimator | None:
        """Makes poses of matches; None: no poses are scored."""
        return None

    def resolved(self, data: TaskData) -> dict[str, Any]:
        """The chosen read-outs by name, and the metrics of all read-outs on the selection split."""
        names = [str(read_out) for read_out in self._read_outs]
        return {
            "read_outs": {kind: names[int(index)] for kind, index in self.state.items()},
            "selection": {metric: dict(zip(names, values, strict=True)) for metric, values in self._swept.items()},
        }

    def measure(self, network: nn.Module, train: Iterable[Batch]) -> None:
        """Mean tokens, if they are to be taken off."""
        self._means = mean_tokens(network, train) if self.options.centered else {}

    def choose(self, rows: Rows) -> None:
        """The block of each kind of read-out, and the best read-out of all, by the metric of choice."""
        means = {metric.name: np.nanmean(rows[metric.name], axis=0) for metric in self.scores.swept}
        self._swept = {name: [_rounded(value) for value in values] for name, values in means.items()}
        score = means[self.scores.choice.name]
        kinds = dict.fromkeys(read_out.kind for read_out in self._read_outs)
        self.state = {_HEADLINE: float(score.argmax())}
        for kind in kinds:
            of_kind = [index for index, read_out in enumerate(self._read_outs) if read_out.kind == kind]
            self.state[kind] = float(max(of_kind, key=lambda index: score[index]))

    @property
    def selection_metric(self) -> str:
        """The one by which read-outs are chosen."""
        return self.scores.choice.name

    def selection(self, reader: Reader) -> Evaluation:
        """All read-outs."""
        evaluation = self.evaluation("", reader)
        return replace(evaluation, meter=SweepMeter(self.scores))

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """The test split, then further ones, limited as it is."""
        further, pairs = data.further, len(data.test)
        if pairs < data.test.available:
            further = {name: limit(reader, pairs, 0) for name, reader in further.items()}
        return [self.evaluation("", data.test), *(self.further(name, one) for name, one in further.items())]

    def further(self, name: str, reader: Reader) -> Evaluation:
        """Of a further set of pairs."""
        return self.evaluation(name, reader)

    def evaluation(self, prefix: str, reader: Reader) -> Evaluation:
        """Of a set of pairs, by the chosen read-outs."""
        chosen = {"" if kind == _HEADLINE else kind: int(index) for kind, index in self.state.items()}
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=self._meter(chosen, [str(read_out) for read_out in self._read_outs]),
            prepare=self.prepare,
            predict=TensorPredict(self._predict),
            batch_size=_EVAL_PAIRS,
            citation=self.citation,
            deviations=self.deviations,
        )

    def _meter(self, chosen: Mapping[str, int], read_outs: list[str]) -> CorrespondenceMeter:
        return CorrespondenceMeter(chosen, read_outs, scores=self.scores, estimate=self.estimate())

    def _predict(self, network: nn.Module, batch: Batch) -> Tensor:
        features, points = self._features(network, batch)
        sides = self._sides(points)
        with torch.autocast(points.device.type, enabled=False):  # float64 is to stay
            shares = (points / sides).nan_to_num()
            found = torch.stack(list(self._matcher(points.device).matches(features, shares)), dim=1) * sides
        return torch.where(points.isnan()[:, None], torch.nan, found)  # (B, R, P, 2)

    def _features(self, network: nn.Module, batch: Batch) -> tuple[PairFeatures, Tensor]:
        """Features, which also tell how they can be read; points (B, P, 2) in pixels, float64."""
        features = pair_features(network, batch, self._means)
        self._read_outs = features.read_outs()
        device = batch["image1"].device
        return features, torch.stack([torch.as_tensor(one, device=device) for one in batch["points"]]).double()

    def _sides(self, like: Tensor) -> Tensor:
        """(W, H) in pixels; made on the device, where a copied constant would make the host wait."""
        return torch.stack([like.new_full((), side) for side in reversed(sides_px(self.image_size))])

    def _matcher(self, device: torch.device) -> Matcher:
        options = self.options
        height, width = sides_px(self.image_size)
        limit_px = options.mutual_px
        mutual = (limit_px / width, limit_px / height) if limit_px else None
        return Matcher(Candidates((height, width), options.step_px, device), mutual)

    def classical_methods(self) -> Mapping[str, ClassicalMethod]:
        """No motion, SIFT descriptors on a grid, and DIS flow."""
        return {
            name: ClassicalMethod(partial(predict, method), partial(self._adapt, name=name))
            for name, method in METHODS.items()
        }

    def _adapt(self, evaluation: Evaluation, *, name: str) -> Evaluation:
        return replace(evaluation, meter=self._meter({"": 0}, [name]))

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Both views, with the points and their matches by the headline's read-out."""
        index = int(self.state.get(_HEADLINE, 0))
        return panels(sample, prediction[index], str(self._read_outs[index]) if self._read_outs else "the method")

    def inside(self, network: nn.Module, batch: Batch) -> list[dict[str, Array]]:
        """Where the headline's read-out looks for one point of each pair: the most central visible one."""
        features, points = self._features(network, batch)
        index = int(self.state.get(_HEADLINE, 0))
        read_out, grid = self._read_outs[index], features.grid(self._read_outs[index])
        shares = (points / self._sides(points)).nan_to_num()
        if read_out.kind == "attention":
            heat = tokens_at(features.map(read_out), grid, shares)
        else:
            one, two = (nn.functional.normalize(tokens, dim=-1) for tokens in features.tokens(read_out))
            heat = tokens_at(one, grid, shares) @ two.mT
        maps = heat.float().cpu().numpy().reshape(*shares.shape[:2], *grid)  # (B, P, h, w)
        found = self._predict(network, batch).cpu().numpy()
        pictures = []
        middle = 0.5 * np.array(sides_px(self.image_size)[::-1])
        for i, truth in enumerate(batch["truth"]):
            point = most_central(batch["points"][i], truth, middle)
            sample = {key: values[i] for key, values in batch.items()}
            shown = looked_for(sample, maps[i, point], point, found[i][index][point])
            pictures.append({"a point": with_point(sample, point), f"{read_out} of it in view 2": shown})
        return pictures


def thinned(pairs: Reader, count: int) -> Subset:
    """At most `count` of the pairs, evenly spaced; a split of its own."""
    chosen = spread_indices(len(pairs), count)
    return Subset(pairs, chosen, pairs.split, available=len(chosen))


def _rounded(value: float) -> float | None:
    """Four decimals; None where no pair has a value, which files of results can't hold as a number."""
    return round(float(value), 4) if np.isfinite(value) else None
