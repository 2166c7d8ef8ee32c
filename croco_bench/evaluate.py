"""Scores a network under one protocol: every image once, per-image rows in float64, whatever the number of processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from croco_bench.contracts import Evaluation
from croco_bench.engine import usable_workers
from croco_bench.errors import BenchError, DataError, DivergedError
from croco_bench.loading import evaluation_batches, to_device
from croco_bench.metrics.meter import Array, Rows, stack
from croco_bench.network import Network


@dataclass(frozen=True)
class Scores:
    """Rows of all images, in index order, and the metrics made from them."""

    rows: Rows
    metrics: dict[str, float]
    seconds: float

    @property
    def images(self) -> int:
        """How many images were scored."""
        return len(self.rows["index"])


def evaluate(
    network: Network,
    evaluation: Evaluation,
    accelerator: Accelerator,
    *,
    workers: int,
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Runs `evaluation` on all images of its reader. Each process takes every n-th image; nothing is padded.

    Raises:
        DivergedError: a prediction isn't finite.
        DataError: no image has a valid target.
        BenchError: an image was not scored, or scored twice.
    """
    began = time.monotonic()
    total = len(evaluation.reader)
    mine = list(range(accelerator.process_index, total, accelerator.num_processes))
    rows: list[dict[str, float | Array]] = []
    network.eval()
    device = accelerator.device
    batches = evaluation_batches(evaluation, mine, workers=usable_workers(workers), pin=device.type == "cuda")
    with torch.inference_mode():
        for batch in batches:
            with accelerator.autocast():
                predictions = evaluation.predict(network, to_device(batch, device))
            rows += _measure(evaluation, predictions, batch)
            advance(len(predictions))
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    rows.sort(key=lambda row: int(row["index"]))
    scored = [int(row["index"]) for row in rows]
    if scored != list(range(total)):
        raise BenchError(f"{len(scored)} rows were scored for {total} images; each image must be scored exactly once")
    table = stack(rows)
    metrics = evaluation.meter.reduce(table)
    void = [name for name, value in metrics.items() if not np.isfinite(value)]
    if void:
        raise DataError(
            f"{', '.join(void)} can't be computed: none of the {total} images of the {evaluation.reader.split} split has "
            f"a valid target; croco-bench data check {evaluation.reader.dataset} says more"
        )
    return Scores(table, metrics, time.monotonic() - began)


def _measure(
    evaluation: Evaluation, predictions: list[Array], batch: dict[str, object]
) -> list[dict[str, float | Array]]:
    rows: list[dict[str, float | Array]] = []
    keys = [key for key in batch if not key.startswith("image")]
    for position, prediction in enumerate(predictions):
        sample = {key: batch[key][position] for key in keys}  # type: ignore[index]
        if not np.isfinite(prediction).all():
            raise DivergedError(
                f"the prediction for image {sample['index']} of the {evaluation.reader.split} split isn't finite: the "
                "network diverged; lower --set optim.lr or use --set train.precision=fp32"
            )
        rows.append({**evaluation.meter.measure(prediction, sample), "index": float(sample["index"])})
    return rows
