"""Relative pose of two views, and visual localisation by it, on 7-Scenes as Reloc3r."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from croco_bench.contracts import (
    NETWORKS_ONLY,
    ClassicalMethod,
    Evaluation,
    Reader,
    Task,
    TaskData,
    TensorPredict,
    TrainingSplits,
)
from croco_bench.data.datasets.habitat import HabitatPoses
from croco_bench.data.datasets.megadepth1500 import open_megadepth1500
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.datasets.seven_scenes import SevenScenes, open_seven_scenes
from croco_bench.data.folders import data_folder
from croco_bench.data.posed.overlap import OverlapCriteria
from croco_bench.data.posed.pair_list import open_pair_list
from croco_bench.data.posed.reader import PoseReader, has_meters
from croco_bench.data.posed.selection import holdout, selection_pairs
from croco_bench.data.splitting import Subset, limit, spread_indices
from croco_bench.data.transforms.color import ColorJitter, to_unit
from croco_bench.data.transforms.view_fitting import resize_crop_with_intrinsics
from croco_bench.errors import DataError, UsageError
from croco_bench.metrics.pose import LocalizationMeter, RelativePoseMeter
from croco_bench.metrics.pose_errors import ZERO_BASELINE_M
from croco_bench.tasks.relative_pose.classical import METHODS
from croco_bench.tasks.relative_pose.pictures import panels_of_pair, panels_of_query
from croco_bench.tasks.relative_pose.rotations import (
    WIDTHS,
    Representation,
    angle_between,
    rotation_distance,
    to_direction,
    to_rotation,
)
from croco_bench.tiling import SharesImages
from croco_bench.types import Array, Batch, Sample, Size

# Color jitter of Reloc3r.
_JITTER = ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(-0.1, 0.1))
# Training pairs that are read for the mean length of translations.
_MEASURED = 256
# Pairs predicted at once; results don't depend on it.
_EVAL_PAIRS = 32
_MEDIANS = "medians over a scene's test frames, mean over scenes"
_LOCATED = {
    True: f"geodesic median of the pairs' rotations and geometric median of their positions; {_MEDIANS}",
    False: "geodesic median of the pairs' rotations; the point nearest to the lines from the database views along the "
    f"predicted translations, as Reloc3r; {_MEDIANS}",
}
_BY_NAME = {"scannet1500": open_scannet1500, "megadepth1500": open_megadepth1500}
_NATIVE = "images at their native size, with known intrinsics, of which networks are told nothing"


@dataclass(frozen=True)
class RelativePoseOptions:
    """Settings of the task.

    Attributes:
        train_on: training frames of 7-Scenes, paired by the settings below, or pairs of CroCo's Habitat release in the folder
            beside it; with the latter, all training pairs of 7-Scenes can be selection pairs.
        rotation: representation of rotations; see `croco_bench.tasks.relative_pose.rotations`.
        translation: translations are learned and scored in metres, or as directions.
        translation_weight: weight of the translation loss; that of the rotation loss is 1.
        neighbours: number of database views that locate a query, from the start of its retrieval list.
        lists: folder of the retrieval lists; `auto` looks beside the dataset.
        also: further test sets, scored pair by pair: `scannet1500`, `megadepth1500` (without a scale: directions alone are
            scored), or the path of a list in SuperGlue's format.
        pairs_per_frame: reference frames drawn for each training frame.
        distance_m: minimum and maximum distance of the cameras of a training pair.
        angle_deg: maximum angle between the viewing directions of a training pair.
        depth_m: in a training pair, the point at this depth ahead of each view is visible in the other.
        select_fraction: share of the training frames, in whole sequences, that is held out for selection.
        select_pairs: maximum number of selection pairs.
        color: color jitter in training, independent for both views.
        focal_px: focal length of 7-Scenes at 480x640; only classical methods use it.
    """

    train_on: Literal["7scenes", "habitat_release"] = field(default="7scenes", metadata=NETWORKS_ONLY)
    rotation: Representation = field(default="svd9", metadata=NETWORKS_ONLY)
    translation: Literal["metric", "direction"] = field(default="metric", metadata=NETWORKS_ONLY)
    translation_weight: PositiveFloat = field(default=1.0, metadata=NETWORKS_ONLY)
    neighbours: int = 10
    lists: str = "auto"
    also: tuple[str, ...] = field(default=(), metadata={"affects_score": False})
    pairs_per_frame: int = field(default=10, metadata=NETWORKS_ONLY)
    distance_m: tuple[float, float] = field(default=(0.05, 1.5), metadata=NETWORKS_ONLY)
    angle_deg: float = field(default=45.0, metadata=NETWORKS_ONLY)
    depth_m: float = field(default=2.0, metadata=NETWORKS_ONLY)
    select_fraction: float = field(default=0.1, metadata=NETWORKS_ONLY)
    select_pairs: int = field(default=1000, metadata=NETWORKS_ONLY)
    color: bool = field(default=True, metadata=NETWORKS_ONLY)
    focal_px: float = 525.0


class RelativePose(Task):
    """Predicts a rotation and a translation (3 channels) that map points of camera 2 into camera 1.

    Metric translations are predicted in units of `state["scale_m"]`, the mean length of training translations.
    """

    Options = RelativePoseOptions
    views = 2
    dense = False
    symmetric = True

    def __init__(self, options: RelativePoseOptions, image_size: Size) -> None:
        self.options, self.image_size = options, image_size
        self.state = {"scale_m": 1.0}

    def out_channels(self, data: TaskData) -> int:
        """Representation of the rotation, and translation."""
        return WIDTHS[self.options.rotation] + 3

    @property
    def selection_metric(self) -> str:
        """Metric: median translation error, in which networks differ most. Directions: AUC of the larger angular error."""
        return "pair_translation_m" if self._meters else "auc20"

    @property
    def _meters(self) -> bool:
        return self.options.translation == "metric"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; whole sequences of 7-Scenes' training split are held out for selection, if it is trained on."""
        options = self.options
        dataset = open_seven_scenes(root, focal_px=options.focal_px)
        data = self._test_data(dataset, root)
        overlap = OverlapCriteria(options.distance_m, options.angle_deg, options.depth_m)
        pairs = dataset.train_pairs(per_frame=options.pairs_per_frame, overlap=overlap, seed=seed)
        if options.train_on == "7scenes":
            training = holdout(pairs, options.select_fraction, max_pairs=options.select_pairs, seed=seed)
            return replace(data, training=TrainingSplits(*training))
        train = HabitatPoses(data_folder(root.parent, options.train_on))
        select = selection_pairs(pairs, max_pairs=options.select_pairs, seed=seed)
        return replace(data, training=TrainingSplits(train, select))

    def open_test(self, root: Path) -> TaskData:
        """The test frames of 7-Scenes and the further test sets; no training frame is paired."""
        return self._test_data(open_seven_scenes(root, focal_px=self.options.focal_px), root)

    def _test_data(self, dataset: SevenScenes, root: Path) -> TaskData:
        test = dataset.queries(neighbours=self.options.neighbours, lists=self.options.lists)
        return TaskData(test, further=_further(self.options.also, root.parent), notes=test.notes)

    def measure_state(self, train: Reader) -> None:
        """The mean length (m) of training translations, from 256 evenly spaced pairs.

        Raises:
            DataError: no training pair has a baseline.
        """
        if not self._meters:
            return
        lengths = [np.linalg.norm(train[i]["relative"][:3, 3]) for i in spread_indices(len(train), _MEASURED)]
        mean = float(np.mean(lengths))
        if mean < ZERO_BASELINE_M:
            raise DataError(
                "the cameras of all training pairs stand at one place", "croco-bench data check 7scenes says more"
            )
        self.state = {"scale_m": mean}

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Resizes and crops to the network's size, and jitters the colors of each view. Never mirrored."""
        images = [
            resize_crop_with_intrinsics(sample[f"image{view}"], sample[f"K{view}"], self.image_size)[0] for view in "12"
        ]
        if self.options.color:
            images = [_JITTER(image, rng) for image in images]
        one, two = (to_unit(image) for image in images)
        return {"image1": one, "image2": two, "relative": torch.from_numpy(sample["relative"]).float()}

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean over pairs, in both orders, of rotation loss + `translation_weight` * translation loss.

        The rotation loss is an angle in radians. The translation loss is a distance in units of the mean training baseline
        if metric; otherwise an angle in radians, 0 for pairs without a baseline.
        """
        forth: Tensor = batch["relative"]
        # Unlike `inv` it asks no GPU whether a matrix is singular; poses never are.
        truth = torch.cat([forth, torch.linalg.inv_ex(forth).inverse])
        rotation, translation = _split(output)
        rotation_loss = rotation_distance(to_rotation(rotation, self.options.rotation), truth[:, :3, :3]).mean()
        if self._meters:
            translation_loss = (translation - truth[:, :3, 3] / self.state["scale_m"]).norm(dim=1).mean()
        else:
            has_direction = truth[:, :3, 3].norm(dim=1) > ZERO_BASELINE_M
            angles = angle_between(to_direction(translation), to_direction(truth[:, :3, 3]))
            translation_loss = torch.where(has_direction, angles, 0.0).sum() / has_direction.sum().clamp(min=1)
        total: Tensor = rotation_loss + self.options.translation_weight * translation_loss
        return total

    def to_poses(self, output: Tensor) -> Tensor:
        """Network output (B, out_channels) -> maps (B, 4, 4) of camera 2 into camera 1; in metres, or of length 1."""
        rotation, translation = _split(output.float())
        poses = torch.eye(4, device=output.device).repeat(len(output), 1, 1)
        poses[:, :3, :3] = to_rotation(rotation, self.options.rotation)
        poses[:, :3, 3] = translation * self.state["scale_m"] if self._meters else to_direction(translation)
        return poses

    def selection(self, reader: Reader) -> Evaluation:
        """Pair by pair."""
        return self._evaluation("", reader, localize=False, meters=self._meters)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """Localisation of all test frames of 7-Scenes, then the pairs of further test sets, limited as the frames are."""
        further, frames = data.further, len(data.test)
        if isinstance(data.test, Subset):
            further = {name: limit(pairs, frames, 0) for name, pairs in further.items()}
        return [
            self._evaluation("", data.test, localize=True, meters=self._meters, notes=data.notes),
            *(
                self._evaluation(name, pairs, localize=False, meters=self._meters and has_meters(pairs))
                for name, pairs in further.items()
            ),
        ]

    def _evaluation(
        self,
        prefix: str,
        reader: Reader,
        *,
        localize: bool,
        meters: bool,
        native: bool = False,
        notes: tuple[str, ...] = (),
    ) -> Evaluation:
        """`meters`: predicted translations have a length. `native`: images keep their size and are predicted one by one."""
        pairs = self.options.neighbours if localize else 1
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=LocalizationMeter(sorted(set(reader.groups)), meters=meters)
            if localize
            else RelativePoseMeter(meters=meters),
            prepare=partial(self._prepare, meters=meters, native=native),
            predict=TensorPredict(self._predict),
            batch_size=1 if native else max(_EVAL_PAIRS // pairs, 1),
            citation=_LOCATED[meters] if localize else "pair by pair: camera 2 in camera 1",
            deviations=(*notes, _NATIVE) if native else notes,
        )

    def _prepare(self, sample: Sample, *, meters: bool, native: bool) -> Sample:
        """Images as in training without jitter, or at native size; `metres` tells meters and panels the unit."""
        prepared = {**sample, "metres": meters}
        for view in "12":
            images, K = sample[f"image{view}"], sample[f"K{view}"]
            if not native:
                images, K = resize_crop_with_intrinsics(images, K, self.image_size)
            tensor = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3)
            prepared |= {f"image{view}": tensor.float().div_(255), f"K{view}": K}
        return prepared

    def _predict(self, network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, SharesImages), "images are encoded once, however many pairs they are in"
        queries: Tensor = batch["image2"]
        stack = batch["image1"].shape[1:-3]  # (K,) for queries, () for pairs
        references: Tensor = batch["image1"].reshape(-1, *queries.shape[1:])
        first, each = range(len(references)), len(references) // len(queries)
        second = [len(references) + pair // each for pair in first]
        output = network.pairs(torch.cat([references, queries]), first, second, at_once=_EVAL_PAIRS)
        return self.to_poses(output).double().reshape(-1, *stack, 4, 4)

    def classical_methods(self) -> Mapping[str, ClassicalMethod]:
        """No motion, which locates a query at the median of its database views; SIFT with two estimators."""
        return {
            name: ClassicalMethod(method.predict, partial(self._adapt, meters=method.meters, native=method.native))
            for name, method in METHODS.items()
        }

    def _adapt(self, evaluation: Evaluation, *, meters: bool, native: bool) -> Evaluation:
        return self._evaluation(
            evaluation.prefix,
            evaluation.reader,
            localize=isinstance(evaluation.meter, LocalizationMeter),
            meters=meters and has_meters(evaluation.reader),
            native=native,
            notes=evaluation.deviations,
        )

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Both views, and the prediction: cameras from above for a query, epipolar lines for a pair."""
        return panels_of_query(sample, prediction) if prediction.ndim == 3 else panels_of_pair(sample, prediction)


def _split(output: Tensor) -> tuple[Tensor, Tensor]:
    return output[:, :-3], output[:, -3:]


def _further(names: tuple[str, ...], data_root: Path) -> dict[str, PoseReader]:
    """Readers of the test sets in `task.also`, by dataset name."""
    found: dict[str, PoseReader] = {}
    for name in names:
        opener = _BY_NAME.get(name)
        pairs = opener(data_folder(data_root, name)) if opener else open_pair_list(name)
        if pairs.dataset in found:
            raise UsageError(f"task.also={list(names)} names {pairs.dataset} twice", "give each list a name of its own")
        found[pairs.dataset] = pairs
    return found
