"""Datasets and tasks: what is read, trained on, predicted and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from croco_bench.contracts.networks import Backbone
from croco_bench.errors import CheckpointError
from croco_bench.metrics.meter import Meter, Rows
from croco_bench.types import Array, Batch, Sample, Size


@runtime_checkable
class Reader(Protocol):
    """One split of a dataset in its official layout: raw samples, decoded, in physical units, without augmentation.

    A reader can be pickled, for data-loading workers. `available` is the size of the full split before any limit;
    where the files are only a part of a release, the size of the split in the release. A reader may have `assumptions`,
    sentences about what its files don't say (the origin of validity masks) or what it leaves out; results list them. It may
    have `usual`, a range of the median of valid values by key of a sample, such as {"depth_m": (0.8, 8.0)}: a run refuses
    files with another median, as of another unit, unless `data.unusual=note`. One that joins readers has them in `readers`.
    """

    dataset: str
    split: str
    miniature: bool
    available: int

    @property
    def groups(self) -> Sequence[str]:
        """The group of each item, its scene for instance: a selection split takes whole groups out of training."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """Short hash of the content: file listing, split lists and sizes."""
        ...


@dataclass(frozen=True)
class TrainingSplits:
    """Both parts of the official training split: `train` fits the weights, `select` chooses the step to report."""

    train: Reader
    select: Reader


@dataclass(frozen=True)
class TaskData:
    """The dataset of a task, opened. Methods of `Task` that depend on it take it as their first argument.

    Attributes:
        test: the reported split.
        training: None where nothing is trained, so that only the test split was opened.
        further: other readers that `Task.evaluations` scores or predicts, by name.
        notes: facts about data or weights that deviate from the protocol; `Task.evaluations` decides where they apply.
        class_names: names of the classes, if the dataset defines them.
    """

    test: Reader
    training: TrainingSplits | None = None
    further: Mapping[str, Reader] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def train(self) -> Reader:
        """The training split, where it was opened."""
        assert self.training is not None, "only the test split was opened"
        return self.training.train

    @property
    def select(self) -> Reader:
        """The selection split, where it was opened."""
        assert self.training is not None, "only the test split was opened"
        return self.training.select


@dataclass(frozen=True)
class TensorPredict:
    """The `predict` of an `Evaluation` that can also leave its answers on the network's device.

    On a GPU the engine takes the tensors: it scores them there if the meter allows, and else copies them to the host while the
    network works on the next batch.

    Attributes:
        tensors: (network, batch) -> one tensor per image, with the values and shapes of the arrays. It should not wait for the
            device. A negative integer stands where an answer isn't finite.
        together: images per batch on a GPU, at most. Where it is given they may differ in size: `image` of a batch is a list of
            tensors (3, H, W) then. None: as many as the evaluation says, all of one size.
    """

    tensors: Callable[[nn.Module, Batch], Tensor | Sequence[Tensor]]
    together: int | None = None

    def __call__(self, network: nn.Module, batch: Batch) -> list[Array]:
        """See `Evaluation.predict`."""
        found = self.tensors(network, batch)
        return list(found.cpu().numpy()) if isinstance(found, Tensor) else [one.cpu().numpy() for one in found]


@dataclass(frozen=True)
class Evaluation:
    """One protocol under which predictions are scored.

    `prefix` is "" for the headline protocol; other metrics are stored as `<prefix>/<metric>`. `prepare` turns a raw
    sample into network input and target, without randomness; `predict` maps (network, batch) to one array per image, in
    physical units and in the shape that `meter.measure` compares with the prepared sample. A `TensorPredict` is faster on GPUs.
    """

    prefix: str
    reader: Reader
    meter: Meter
    prepare: Callable[[Sample], Sample]
    predict: Callable[[nn.Module, Batch], list[Array]]
    batch_size: int
    citation: str
    deviations: tuple[str, ...] = ()


def _unchanged(evaluation: Evaluation) -> Evaluation:
    return evaluation


# In the `metadata` of a field of `Task.Options`: only networks and their training use the option, so that results of
# classical methods don't list it.
NETWORKS_ONLY: Mapping[str, bool] = MappingProxyType({"networks_only": True})


@dataclass(frozen=True)
class ClassicalMethod:
    """A method that isn't trained, scored by `--ckpt classical:NAME`.

    `predict` maps a prepared batch to one array per image, as `Evaluation.predict` does. `adapt` replaces the parts of an
    evaluation that differ from those of networks: whole images instead of crops, or translations without a length.
    """

    predict: Callable[[Batch], list[Array]]
    adapt: Callable[[Evaluation], Evaluation] = _unchanged


class ScoredTask(ABC):
    """The part that all benchmark entries share: data, evaluations, pictures.

    `Options` is a frozen dataclass of the settings in a recipe's [task] table; see `NETWORKS_ONLY`. A task keeps no dataset:
    `open` returns a `TaskData`, and the methods that need it take it as an argument, so that they can be called in any order.
    Only `state` changes: numbers found on the training and selection splits, which later methods use.
    """

    Options: ClassVar[type]
    views: ClassVar[Literal[1, 2]] = 1
    state: dict[str, float]

    @abstractmethod
    def __init__(self, options: Any, image_size: Size) -> None:
        """One task for one network input size."""

    @abstractmethod
    def open(self, root: Path, *, seed: int) -> TaskData:
        """Opens all splits of the dataset in the folder `root`; `seed` chooses the part that is held out for selection.

        Raises:
            DataError: a file is missing or damaged; the advice says where to get it.
        """

    def open_test(self, root: Path) -> TaskData:
        """Opens the test split alone, for runs without training (`--eval-only`, classical methods).

        By default the other splits must be there too; override it where they need not be.
        """
        return replace(self.open(root, seed=0), training=None)

    def resolved(self, data: TaskData) -> dict[str, Any]:
        """Values derived from options and data (a grid of tiles, for instance), stored in the result."""
        return {}

    @abstractmethod
    def selection(self, reader: Reader) -> Evaluation:
        """The evaluation on the selection split, which chooses what to report."""

    @property
    @abstractmethod
    def selection_metric(self) -> str:
        """The metric of `selection` that chooses."""

    @abstractmethod
    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """The evaluations of the test split, headline protocol first."""

    def classical_methods(self) -> Mapping[str, ClassicalMethod]:
        """Classical methods by NAME in `--ckpt classical:NAME`."""
        return {}

    @abstractmethod
    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Titled pictures (H, W, 3) uint8 of a prepared sample: image, prediction, ground truth, error."""


class Task(ScoredTask):
    """A benchmark entry for which a head, or the whole network, is trained.

    `state` holds facts measured on the training split (mean and deviation of depths, for instance) by `measure_state`,
    which `loss` and `predict` use. It is saved with fine-tuned weights, so that these can be evaluated without the training
    data.

    `dense`: the task needs a head with one output per pixel; otherwise one with one output per image (or pair).
    `unlabeled`: of tasks that classify pixels, the value of `label` where no class is known; None for all others.
    `symmetric`: in training, the network predicts both orders of two views, and `loss` gets outputs (2B, ...): those of
    (image1, image2), then those of (image2, image1).
    """

    dense: ClassVar[bool] = True
    unlabeled: ClassVar[int | None] = None
    symmetric: ClassVar[bool] = False

    @abstractmethod
    def out_channels(self, data: TaskData) -> int:
        """Number of output channels of the head."""

    def measure_state(self, train: Reader) -> None:
        """Fills `state` from the training split."""

    def check_released(self, metadata: Mapping[str, Any], source: str) -> tuple[str, ...]:
        """Checks weights that their authors fine-tuned against the run's settings; `metadata` comes from their file.

        Returns:
            Notes for `TaskData.notes`.

        Raises:
            CheckpointError: they are for another task, or for other settings: the advice names those to give.
        """
        raise CheckpointError(
            f"{source} was fine-tuned by its authors, for another task",
            "leave --eval-only out to fine-tune its backbone",
        )

    @abstractmethod
    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A raw sample -> a training sample of tensors (`image` in [0, 1], (3, H, W)), all randomness from `rng`."""

    def decode(self, output: Tensor) -> Tensor:
        """Head outputs (B, out_channels, ...) -> network outputs, which `loss` and `predict` take: unchanged by default.

        A `GridHead`'s outputs are decoded on its grid and resized after that, those of other heads at the size of the image.
        """
        return output

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Network output (as of `decode`) and targets -> scalar."""

    def single_pass(self, reader: Reader) -> Evaluation:
        """The evaluation whose `prepare` makes samples for probes on kept features: `selection` by default.

        A prepared sample is one image of the network's size, with the targets that `loss` takes, each of one shape for all
        images; `predict` calls the network once, on the batch's images. Override it where `selection` isn't so.
        """
        return self.selection(reader)


class TrainingFreeTask(ScoredTask):
    """A benchmark entry for which nothing is trained: answers are read from the features of a backbone as it is.

    A network can be read in several ways: at each block, say. First `measure` looks at training samples, which have no
    labels for it; then all ways are scored by `selection`, and `choose` keeps in `state` those that `evaluations` report.
    `Evaluation.predict` gets a `BareBackbone`.
    """

    @abstractmethod
    def measure(self, network: nn.Module, train: Iterable[Batch]) -> None:
        """Finds out how a network can be read, and measures statistics of its features on batches prepared as for `selection`.

        Without any batch, statistics are left out, and so are the ways of reading that need them.
        """

    @abstractmethod
    def choose(self, rows: Rows) -> None:
        """Chooses what to report from the rows of `selection`."""

    def inside(self, network: nn.Module, batch: Batch) -> list[dict[str, Array]]:
        """Further titled pictures of each sample of a batch, made from the network's features."""
        return [{} for _ in batch["index"]]


class BareBackbone(Protocol):
    """A backbone without a head, and its normalisation; not for `isinstance`, which sees no submodules from Python 3.12 on."""

    backbone: Backbone

    def normalized(self, images: Tensor) -> Tensor:
        """Images in [0, 1] (B, 3, H, W) as the backbone takes them."""
        ...
