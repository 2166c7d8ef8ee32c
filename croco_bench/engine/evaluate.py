"""Scores a network under one protocol: every image once, per-image rows in float64, whatever the number of processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from croco_bench.contracts import Evaluation
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.devices import usable_workers
from croco_bench.engine.network import Network, Unlearned
from croco_bench.errors import BenchError, DataError, DivergedError
from croco_bench.metrics.meter import Rows, stack
from croco_bench.types import Array


@dataclass(frozen=True)
class Scores:
    """Rows of all images, in index order, and the metrics made from them.

    `missing` says of each metric that has no finite value why; it is in no result. See `evaluate`.
    """

    rows: Rows
    metrics: dict[str, float]
    seconds: float
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images were scored."""
        return len(self.rows["index"])

    def needed(self, metric: str) -> float:
        """The value of a metric that selects weights.

        Raises:
            DataError: it has none.
        """
        if metric in self.missing:
            raise DataError(f"{metric}, which selects the weights, can't be computed: {self.missing[metric]}")
        return self.metrics[metric]


def evaluate(
    network: Network,
    evaluation: Evaluation,
    accelerator: Accelerator,
    *,
    workers: int,
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Runs `evaluation` on all images of its reader. Each process takes its share, neighbours together; nothing is padded.

    A network's predictions must be finite. A method without learning may say NaN where it found no answer, if the meter
    scores failures. A metric without a finite value, as no image has what it needs or as too many predictions failed, is
    left out of the result, which says so once. An error is only: no targets at all, no selection metric, or no headline
    metric of a network (where a method without learning fails that often, its cell in the table stays empty).

    Raises:
        DivergedError: a prediction isn't finite.
        DataError: no image has a valid target.
        BenchError: an image was not scored, or scored twice.
    """
    began = time.monotonic()
    total = len(evaluation.reader)
    rank, processes = accelerator.process_index, accelerator.num_processes
    mine = list(range(total * rank // processes, total * (rank + 1) // processes))
    rows: list[dict[str, float | Array]] = []
    network.eval()
    device = accelerator.device
    batches = evaluation_batches(evaluation, mine, workers=usable_workers(workers), pin=device.type == "cuda")
    with torch.inference_mode():
        for batch in batches:
            with accelerator.autocast():
                predictions = evaluation.predict(network, to_device(batch, device))
            rows += _measure(evaluation, predictions, batch, may_fail=isinstance(network, Unlearned))
            advance(len(predictions))
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    rows.sort(key=lambda row: int(row["index"]))
    scored = [int(row["index"]) for row in rows]
    if scored != list(range(total)):
        raise BenchError(f"{len(scored)} rows were scored for {total} images", "each image must be scored exactly once")
    table = stack(rows)
    metrics = evaluation.meter.reduce(table)
    if np.isnan(list(metrics.values())).all():
        raise DataError(
            f"{', '.join(metrics)} can't be computed: none of the {total} images of the {evaluation.reader.split} split "
            f"has a valid target",
            f"croco-bench data check {evaluation.reader.dataset} says more",
        )
    missing = {name: _why(value, evaluation) for name, value in metrics.items() if not np.isfinite(value)}
    kept = {name: value for name, value in metrics.items() if name not in missing}
    return Scores(table, kept, time.monotonic() - began, missing)


def _why(value: float, evaluation: Evaluation) -> str:
    """Why a metric has no finite value."""
    if np.isnan(value):
        return f"no image of the {evaluation.reader.split} split has what it needs"
    return "too many predictions failed for a finite value"


def _measure(
    evaluation: Evaluation, predictions: list[Array], batch: dict[str, object], *, may_fail: bool
) -> list[dict[str, float | Array]]:
    rows: list[dict[str, float | Array]] = []
    keys = [key for key in batch if not key.startswith("image")]
    finite = not (may_fail and evaluation.meter.scores_failures)
    for position, prediction in enumerate(predictions):
        sample = {key: batch[key][position] for key in keys}  # type: ignore[index]
        if finite and not np.isfinite(prediction).all():
            raise DivergedError(
                f"the prediction for image {sample['index']} of the {evaluation.reader.split} split isn't finite: the "
                "network diverged",
                "lower --set optim.lr or use --set train.precision=fp32",
            )
        rows.append({**evaluation.meter.measure(prediction, sample), "index": float(sample["index"])})
    return rows
