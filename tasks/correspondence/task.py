"""Correspondence without training: matches read from a backbone's features, on 7-Scenes and further pairs with true depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

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
    TrainingFreeTask,
    TrainingSplits,
)
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.folders import data_folder
from croco_bench.data.posed.overlap import OverlapCriteria
from croco_bench.data.posed.selection import holdout
from croco_bench.data.splitting import Subset, limit, spread_indices
from croco_bench.metrics.correspondence import CorrespondenceMeter, SweepMeter
from croco_bench.metrics.definitions import RECALL10_MOVED, SWEPT
from croco_bench.metrics.meter import Rows
from croco_bench.tasks.correspondence.classical import METHODS, predict
from croco_bench.tasks.correspondence.matching import Candidates, tokens_at
from croco_bench.tasks.correspondence.pictures import looked_for, most_central, panels, with_point
from croco_bench.tasks.correspondence.read_outs import (
    Matcher,
    PairFeatures,
    ReadOut,
    mean_tokens,
    pair_features,
)
from croco_bench.tasks.correspondence.truth import posed_pair, sides_px
from croco_bench.tasks.relative_pose.classical import by_poselib
from croco_bench.types import Array, Batch, Sample, Size

# Pairs predicted at once; results don't depend on it.
_EVAL_PAIRS = 8
# RANSAC: distance of an inlier from its epipolar line, as matches of tokens are coarser than keypoints; number of trials.
_INLIER_PX, _TRIALS = 3.0, 1000
_HEADLINE = "headline"
_CITATION = (
    "recall of points of a grid that both views show, as probe3d (El Banani et al., CVPR 2024) and ZeroCo (An et al., CVPR "
    "2025) compare features and attention"
)
_DEVIATIONS = (
    "points of a grid and their visibility by depth; probe3d takes the 1000 best of all points by the ratio test",
    "pixels are those of an image with a shorter side of 256; probe3d's are quarters of 640x480 pixels",
)


@dataclass(frozen=True)
class CorrespondenceOptions:
    """Settings of the task.

    Attributes:
        pairs: number of test pairs of 7-Scenes, evenly spaced over its test frames.
        also: further test sets, by folder: `scannet1500`.
        points: points of view 1: a grid, or as many SIFT keypoints.
        per_side: points of the grid along the shorter side.
        step_px: matches by tokens are searched on a grid of this spacing in view 2 first, then pixel by pixel about the best.
        mutual_px: a match whose own match in view 1 is farther from its point is no answer; 0: all matches answer.
        centered: also compare tokens without the mean of their position over images.
        measure_pairs: pairs of training frames on which these means are measured.
        select_fraction: share of the training frames, in whole sequences, that is held out to choose a block.
        select_pairs: maximum number of pairs to choose by.
        distance_m: minimum and maximum distance of the cameras of a pair.
        angle_deg: maximum angle between the viewing directions of a pair.
        depth_m: in a pair, the point at this depth ahead of each view is visible in the other.
        pose: estimate the pose of each pair from its matches.
        focal_px: focal length of 7-Scenes at 480x640.
    """

    pairs: PositiveInt = 1500
    also: tuple[Literal["scannet1500"], ...] = field(default=(), metadata={"affects_score": False})
    points: Literal["grid", "sift"] = "grid"
    per_side: Annotated[int, Field(ge=2, le=128)] = 20
    step_px: Annotated[int, Field(ge=1, le=16)] = field(default=4, metadata=NETWORKS_ONLY)
    mutual_px: NonNegativeFloat = field(default=0.0, metadata=NETWORKS_ONLY)
    centered: bool = field(default=True, metadata=NETWORKS_ONLY)
    measure_pairs: PositiveInt = field(default=100, metadata=NETWORKS_ONLY)
    select_fraction: float = field(default=0.1, metadata=NETWORKS_ONLY)
    select_pairs: PositiveInt = field(default=200, metadata=NETWORKS_ONLY)
    distance_m: tuple[float, float] = (0.05, 2.0)
    angle_deg: float = 180.0
    depth_m: float = 2.0
    pose: bool = True
    focal_px: float = 525.0


class Correspondence(TrainingFreeTask):
    """Matches (R, P, 2) of P points, in pixels of an image with a shorter side of 256, for all R read-outs of a network.

    `state` holds the index of the chosen read-out of each kind, and of the best of all, the headline.
    """

    Options = CorrespondenceOptions
    views = 2

    def __init__(self, options: CorrespondenceOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}
        self._read_outs: tuple[ReadOut, ...] = ()
        self._means: dict[str, list[Tensor]] = {}
        self._swept: dict[str, list[float]] = {}

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; nothing is trained, but whole sequences of the training frames are held out to choose blocks."""
        options, data = self.options, self.open_test(root)
        dataset = open_seven_scenes(root, focal_px=options.focal_px)
        pairs = dataset.pairs("train", per_frame=5, overlap=self._overlap, seed=seed, depth=True)
        train, select = holdout(pairs, options.select_fraction, max_pairs=options.select_pairs, seed=seed)
        measured = spread_indices(len(train), options.measure_pairs)
        training = TrainingSplits(Subset(train, measured, train.split, available=len(measured)), select)
        return replace(data, training=training)

    def open_test(self, root: Path) -> TaskData:
        """Pairs of test frames of 7-Scenes, and the further test sets."""
        dataset = open_seven_scenes(root, focal_px=self.options.focal_px)
        pairs = dataset.pairs("test", per_frame=1, overlap=self._overlap, depth=True)
        chosen = spread_indices(len(pairs), self.options.pairs)
        further: dict[str, Reader] = {
            name: open_scannet1500(data_folder(root.parent, name), depth=True) for name in self.options.also
        }
        return TaskData(Subset(pairs, chosen, pairs.split, available=len(chosen)), further=further)

    @property
    def _overlap(self) -> OverlapCriteria:
        options = self.options
        return OverlapCriteria(options.distance_m, options.angle_deg, options.depth_m)

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
        """The block of each kind of read-out, and the best read-out of all, by the recall of points that moved."""
        means = {metric.name: np.nanmean(rows[metric.name], axis=0) for metric in SWEPT}
        self._swept = {name: [round(float(value), 4) for value in values] for name, values in means.items()}
        score = means[RECALL10_MOVED.name]
        kinds = dict.fromkeys(read_out.kind for read_out in self._read_outs)
        self.state = {_HEADLINE: float(score.argmax())}
        for kind in kinds:
            of_kind = [index for index, read_out in enumerate(self._read_outs) if read_out.kind == kind]
            self.state[kind] = float(max(of_kind, key=lambda index: score[index]))

    @property
    def selection_metric(self) -> str:
        """Recall of points that moved, which tokens that only know their position don't have."""
        return RECALL10_MOVED.name

    def selection(self, reader: Reader) -> Evaluation:
        """All read-outs."""
        evaluation = self._evaluation("", reader)
        return replace(evaluation, meter=SweepMeter())

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """7-Scenes, then the further test sets, limited as it is."""
        further, pairs = data.further, len(data.test)
        if pairs < data.test.available:
            further = {name: limit(reader, pairs, 0) for name, reader in further.items()}
        return [self._evaluation("", data.test), *(self._evaluation(name, one) for name, one in further.items())]

    def _evaluation(self, prefix: str, reader: Reader) -> Evaluation:
        chosen = {"" if kind == _HEADLINE else kind: int(index) for kind, index in self.state.items()}
        options = self.options
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=self._meter(chosen, [str(read_out) for read_out in self._read_outs]),
            prepare=partial(
                posed_pair, size=self.image_size, per_side=options.per_side, at_keypoints=options.points == "sift"
            ),
            predict=self._predict,
            batch_size=_EVAL_PAIRS,
            citation=_CITATION,
            deviations=_DEVIATIONS,
        )

    def _meter(self, chosen: Mapping[str, int], read_outs: list[str]) -> CorrespondenceMeter:
        estimate = partial(by_poselib, inlier_px=_INLIER_PX, trials=_TRIALS) if self.options.pose else None
        return CorrespondenceMeter(chosen, read_outs, estimate=estimate)

    def _predict(self, network: nn.Module, batch: Batch) -> list[Array]:
        features, points = self._features(network, batch)
        sides = self._sides(points)
        with torch.autocast(points.device.type, enabled=False):  # similarities are too coarse in half precision
            shares = (points / sides).nan_to_num()
            found = torch.stack(list(self._matcher(points.device).matches(features, shares)), dim=1) * sides
        found = torch.where(points.isnan()[:, None], torch.nan, found)  # (B, R, P, 2)
        return list(found.cpu().numpy())

    def _features(self, network: nn.Module, batch: Batch) -> tuple[PairFeatures, Tensor]:
        """Features, which also tell how they can be read; points (B, P, 2) in pixels."""
        features = pair_features(network, batch, self._means)
        self._read_outs = features.read_outs()
        device = batch["image1"].device
        return features, torch.from_numpy(np.stack(batch["points"])).float().to(device)

    def _sides(self, like: Tensor) -> Tensor:
        """(W, H) in pixels."""
        return torch.tensor(sides_px(self.image_size)[::-1], dtype=like.dtype, device=like.device)

    def _matcher(self, device: torch.device) -> Matcher:
        height, width = sides_px(self.image_size)
        limit_px = self.options.mutual_px
        mutual = (limit_px / width, limit_px / height) if limit_px else None
        return Matcher(Candidates((height, width), self.options.step_px, device), mutual)

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
        found = self._predict(network, batch)
        pictures = []
        middle = 0.5 * np.array(sides_px(self.image_size)[::-1])
        for i, truth in enumerate(batch["truth"]):
            point = most_central(batch["points"][i], truth, middle)
            sample = {key: values[i] for key, values in batch.items()}
            shown = looked_for(sample, maps[i, point], point, found[i][index][point])
            pictures.append({"a point": with_point(sample, point), f"{read_out} of it in view 2": shown})
        return pictures
