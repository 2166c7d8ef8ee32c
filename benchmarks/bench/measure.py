"""All measurements, one after the other, until the time that was given is spent."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from benchmarks.bench import evaluating, loading, pretraining, training
from benchmarks.bench.counting import counted
from benchmarks.bench.figures import Figure
from benchmarks.bench.machine import Rates, forget_peak, peak_mb, seconds_of
from benchmarks.bench.samples import MemoryReader, known, raw_samples, size_of
from croco_bench.backbones import load_backbone
from croco_bench.config.recipe import Recipe
from croco_bench.config.tables import Precision
from croco_bench.contracts import Evaluation, Task
from croco_bench.engine.devices import float32_products
from croco_bench.engine.network import Network
from croco_bench.pretraining.recipe import load
from croco_bench.types import Size

# Images of a forward pass of the encoder, and pairs of a pre-training step: those of CroCo's code on one GPU.
_FORWARD, _PRETRAIN = {"cuda": 256, "cpu": 4}, {"cuda": 64, "cpu": 2}
_CPU_BATCH = 2
# Pairs of 90 windows each in a batch of an evaluation, where the task has more; batches of an evaluation.
_PAIRS, _BATCHES = {"sintel-flow": 2}, {"sintel-flow": 1}
_MEMORY = "out of memory"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        device: where.
        tasks: tasks and recipes, `TASK:RECIPE`.
        pieces: any of `forward`, `pretrain`, `step`, `evaluation`, `loader`.
        precisions: of all pieces.
        ckpt: the backbone of tasks.
        pretrain_recipe: recipe of the pre-training.
        changes: `KEY=VALUE` for all recipes of tasks.
        pretrain_changes: `KEY=VALUE` for the recipe of the pre-training.
        batch: images of a step; 0: those of the recipe on a GPU, 2 on a CPU.
        workers: processes of the loader.
        seconds: for everything.
        reference: checkout of naver/croco, or nothing.
        tiny: sizes that try the command; their figures mean nothing.
    """

    device: torch.device
    tasks: tuple[str, ...]
    pieces: tuple[str, ...]
    precisions: tuple[Precision, ...]
    ckpt: str
    pretrain_recipe: str
    changes: tuple[str, ...]
    pretrain_changes: tuple[str, ...]
    batch: int
    workers: int
    seconds: float
    reference: str
    tiny: bool

    @property
    def size(self) -> Size | None:
        """Of a dataset's images, where they aren't of their usual size."""
        return (64, 96) if self.tiny else None


class Bench:
    """Makes figures. A piece that fails is a figure that says why."""

    def __init__(self, plan: Plan, rates: Rates, folder: Path) -> None:
        self.plan, self.rates, self.folder = plan, rates, folder
        self._end = time.monotonic() + plan.seconds
        self.share = 0.0 if plan.tiny else min(3.0, plan.seconds / 60)

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def figures(self) -> Iterator[Figure]:
        """One after the other, the most telling first."""
        for precision in self.plan.precisions:
            if "forward" in self.plan.pieces:
                yield from self._try("encoder forward", self.plan.ckpt, precision, self._forward)
            if "pretrain" in self.plan.pieces:
                recipe = self.plan.pretrain_recipe
                yield from self._try("pre-training step", recipe, precision, self._pretraining)
                if self.plan.reference:
                    yield from self._try("reference's pre-training step", recipe, precision, self._reference)
        for task in self.plan.tasks:
            for precision in self.plan.precisions:
                yield from self._try("task", task, precision, self._task)
        if "loader" in self.plan.pieces and "pretrain" in self.plan.pieces:
            yield from self._try("loader", self.plan.pretrain_recipe, "fp32", self._pair_loader)

    def _try(
        self, piece: str, name: str, precision: Precision, make: Callable[[str, Precision], Iterator[Figure]]
    ) -> Iterator[Figure]:
        if self.left < 0:
            yield Figure(piece, name, precision, failed="left out: the time was spent")
            return
        try:
            with float32_products(precision):
                yield from make(name, precision)
        except Exception as error:  # the others are measured all the same
            first_line = str(error).partition("\n")[0][:200]
            yield Figure(piece, name, precision, failed=f"{type(error).__name__}: {first_line}")
        gc.collect()

    def floor(self, flops: float, moved: float, precision: str) -> float | None:
        """Seconds that operations and bytes take at the measured rates."""
        rate = self.rates.flops.get(precision)
        return flops / rate + moved / self.rates.copy_bytes if rate else None

    def timed(self, figure: Figure, work: Callable[[], object]) -> Figure:
        """The figure of some work: an early call is counted, the others are timed."""
        device = self.plan.device
        forget_peak(device)
        if figure.moved_bytes:
            work()  # the optimiser makes its state
        flops, kernels = counted(work)
        seconds = seconds_of(work, device, self.share)
        floor = self.floor(flops, figure.moved_bytes, figure.precision)
        extra = {**figure.extra, "kernels": kernels}
        return replace(
            figure, flops=flops, seconds=seconds, floor_seconds=floor, memory_mb=peak_mb(device), extra=extra
        )

    def _fitting(self, batch: int, make: Callable[[int], Figure]) -> Figure:
        """Half the batch where the device's memory doesn't hold it, and so on."""
        while True:
            try:
                return make(batch)
            except RuntimeError as error:
                if _MEMORY not in str(error) or batch == 1:
                    raise
            gc.collect()
            torch.cuda.empty_cache()
            batch //= 2

    def _forward(self, name: str, precision: Precision) -> Iterator[Figure]:
        accelerator = training.start(str(self.plan.device), precision)
        side = 32 if self.plan.tiny else 224
        backbone = load_backbone(name, image_size=side).to(accelerator.device)
        assert isinstance(backbone, nn.Module)

        def at(batch: int) -> Figure:
            images = torch.rand(batch, 3, side, side, device=accelerator.device)

            def forward() -> None:
                with torch.inference_mode(), accelerator.autocast():
                    backbone.encode(images)

            return self.timed(Figure("encoder forward", name, precision, batch), forward)

        yield self._fitting(self.plan.batch or _FORWARD[self.plan.device.type], at)

    def _pretraining(self, recipe: str, precision: Precision) -> Iterator[Figure]:
        accelerator = training.start(str(self.plan.device), precision)
        changes = (f"train.precision={precision}", *self.plan.pretrain_changes)
        folder = self.folder / f"pretrain-{precision}"

        def at(batch: int) -> Figure:
            trainer = pretraining.pretrainer_of(recipe, changes, folder, accelerator, batch)
            figure = Figure(
                "pre-training step", recipe, precision, batch, "pair", moved_bytes=_moved(trainer.job.objective)
            )
            return self.timed(figure, pretraining.steps(trainer, pretraining.batch_of(trainer, batch)))

        yield self._fitting(self.plan.batch or _PRETRAIN[self.plan.device.type], at)

    def _reference(self, recipe: str, precision: Precision) -> Iterator[Figure]:
        positions = load(recipe).model.positions
        training.start(str(self.plan.device), "fp32")  # the seed; the authors' loop has a precision of its own

        def at(batch: int) -> Figure:
            torch.manual_seed(0)
            views = torch.randn(batch, 3, 224, 224), torch.randn(batch, 3, 224, 224)
            step = pretraining.reference_steps(self.plan.reference, positions, views, self.plan.device, precision)
            return self.timed(Figure("reference's pre-training step", recipe, precision, batch, "pair"), step)

        yield self._fitting(self.plan.batch or _PRETRAIN[self.plan.device.type], at)

    def _task(self, name: str, precision: Precision) -> Iterator[Figure]:
        task, _, recipe = name.partition(":")
        if not known(task):
            yield Figure("task", name, precision, failed="no samples of its dataset can be made")
            return
        changes = (f"train.precision={precision}", *self.plan.changes)
        accelerator = training.start(str(self.plan.device), precision)
        subject = training.subject_of(task, recipe or "paper", self.plan.ckpt, changes, self.plan.size)
        network = subject.network
        if isinstance(network, Network) and isinstance(subject.task, Task):
            yield from self._step(subject, accelerator)
        else:
            subject.predictor.prepare(accelerator)
        if "evaluation" in self.plan.pieces:
            # The other pass of Sintel is as much work.
            for evaluation in subject.evaluations()[: 1 if task in _PAIRS else None]:
                yield from self._evaluation(subject, evaluation, accelerator)
        if "loader" in self.plan.pieces and precision == self.plan.precisions[0] and isinstance(subject.task, Task):
            yield self._loader(subject, accelerator)

    def _step(self, subject: training.Subject, accelerator: Accelerator) -> Iterator[Figure]:
        """Of the recipe's batch; the trainer is built even where no step is timed, as it prepares the network."""
        recipe, task = subject.recipe, subject.task
        assert isinstance(recipe, Recipe) and isinstance(task, Task)
        own = recipe.train.batch_size // recipe.train.accumulate
        wanted = self.plan.batch or (own if self.plan.device.type == "cuda" else _CPU_BATCH)
        trainer = training.trainer_of(subject, accelerator, wanted)
        if "step" not in self.plan.pieces:
            return
        moved, precision = _moved(subject.network), recipe.train.precision

        def at(batch: int) -> Figure:
            figure = Figure("fine-tuning step", subject.name, precision, batch, subject.unit, moved_bytes=moved)
            made = training.training_batch(subject, batch, self.plan.size)
            return self.timed(figure, training.steps(trainer, made))

        yield self._fitting(wanted, at)

    def _evaluation(
        self, subject: training.Subject, evaluation: Evaluation, accelerator: Accelerator
    ) -> Iterator[Figure]:
        """Seconds of a further batch, from the difference between a long and a short evaluation: workers start in both."""
        task, device = subject.request.task, self.plan.device
        if task in _PAIRS or device.type == "cpu":
            evaluation = replace(evaluation, batch_size=_PAIRS.get(task, 1) if device.type == "cuda" else 1)
        batch = evaluating.batch_of(evaluation, device)
        batches = 1 if device.type == "cpu" else _BATCHES.get(task, 8)
        forward = evaluating.bare(subject, self._of_files(subject, evaluation, batch), accelerator)
        name = f"{subject.name} {evaluation.prefix}".strip()
        alone = self.timed(Figure("evaluation", name, subject.recipe.train.precision, batch, subject.unit), forward)
        lengths = batch * batches, 3 * batch * batches
        times = [
            evaluating.seconds(subject, self._of_files(subject, evaluation, n), accelerator, self.plan.workers)
            for n in lengths
        ]
        seconds = max(times[1] - times[0], 0.0) / (lengths[1] - lengths[0]) * batch
        extra = {"forward_seconds": alone.seconds, "of_forward": alone.seconds and seconds / alone.seconds}
        yield replace(alone, seconds=seconds, memory_mb=peak_mb(device), extra=extra)

    def _of_files(self, subject: training.Subject, evaluation: Evaluation, count: int) -> Evaluation:
        """The evaluation of `count` items, whose images are files."""
        samples = raw_samples(subject.request.task, test=True, size=self.plan.size, count=2)
        folder = self.folder / f"test-{time.monotonic_ns()}"
        return replace(evaluation, reader=MemoryReader(samples, count, folder))

    def _loader(self, subject: training.Subject, accelerator: Accelerator) -> Figure:
        assert isinstance(subject.task, Task)
        samples = raw_samples(subject.request.task, test=False, size=self.plan.size)
        reader = MemoryReader(samples, training.MANY, self.folder / f"loader-{subject.request.task}")
        rate = loading.loader_rate(
            reader, subject.task.augment, accelerator, batch=8, workers=self.plan.workers, share=self.share
        )
        height, width = self.plan.size or size_of(subject.request.task)
        note = f"{self.plan.workers} workers, JPEG of {height}x{width}"
        return Figure("loader", subject.name, "", 8, subject.unit, seconds=8 / rate, note=note)

    def _pair_loader(self, recipe: str, precision: Precision) -> Iterator[Figure]:
        accelerator = training.start(str(self.plan.device), precision)
        trainer = pretraining.pretrainer_of(recipe, self.plan.pretrain_changes, self.folder / "loader", accelerator, 8)
        source = trainer.job.source
        rate = loading.loader_rate(
            source.train, source.train_transform, accelerator, batch=8, workers=self.plan.workers, share=self.share
        )
        note = f"{self.plan.workers} workers, JPEG of 256x256"
        yield Figure("loader", recipe, "", 8, "pair", seconds=8 / rate, note=note)


def _moved(module: nn.Module) -> float:
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return float(training.OPTIMIZER_BYTES * trained)
