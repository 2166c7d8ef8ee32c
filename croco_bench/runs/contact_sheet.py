"""Contact sheets: a row per test image, a column per panel."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator

from croco_bench.contracts import Evaluation, TrainingFreeTask
from croco_bench.data.splitting import spread_indices
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.evaluate import BackbonePredictor
from croco_bench.engine.figures import draw_sheet
from croco_bench.runs.setup import RunSetup
from croco_bench.types import Array, Batch, Sample

ROWS = 6


def contact_sheet(path: Path, setup: RunSetup, evaluation: Evaluation, accelerator: Accelerator, title: str) -> None:
    """Draws the task's panels for images evenly spaced over the test split, each row with its value of the first metric."""
    chosen = spread_indices(len(evaluation.reader), ROWS)
    rows: list[tuple[str, dict[str, Array]]] = []
    metric = evaluation.meter.metrics[0]
    with torch.inference_mode():
        for batch in evaluation_batches(evaluation, chosen, device=accelerator.device, workers=0):
            on_device = to_device(batch, accelerator.device)
            with accelerator.autocast():
                predictions = setup.predictor.predict(evaluation, on_device)
                further = _inside(setup, on_device)
            for i, prediction in enumerate(predictions):
                sample: Sample = {key: values[i] for key, values in batch.items()}
                value = float(evaluation.meter.measure(prediction, sample)[metric.name])
                label = f"#{sample['index']}  {metric.label} {value:.{metric.digits}f} {metric.unit}".rstrip()
                rows.append((label, {**setup.task.panels(setup.data, sample, prediction), **further[i]}))
    draw_sheet(path, rows, title)


def _inside(setup: RunSetup, batch: Batch) -> list[dict[str, Array]]:
    """Pictures of each sample that a task makes from the features of a backbone, if it trains nothing."""
    if isinstance(setup.task, TrainingFreeTask) and isinstance(setup.predictor, BackbonePredictor):
        return setup.task.inside(setup.predictor.network, batch)
    return [{} for _ in batch["index"]]
