"""What a run found, as a result record and per-image rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from accelerate import Accelerator

from croco_bench import registry
from croco_bench.contracts import Evaluation, Origin, Reader
from croco_bench.engine.devices import peak_memory_mb
from croco_bench.engine.evaluate import Scores
from croco_bench.engine.train import TrainResult
from croco_bench.errors import BenchError
from croco_bench.metrics.meter import Rows, bootstrap
from croco_bench.records.schema import Result, environment
from croco_bench.runs.setup import RunSetup
from croco_bench.seeding import derive


@dataclass(frozen=True)
class EvalResult:
    """Scores of one set of weights (`last/`, or "" for the reported ones) under one protocol."""

    weights: str
    evaluation: Evaluation
    scores: Scores

    def key(self, metric: str) -> str:
        """The metric's key in the result: `[last/][protocol/]metric`."""
        prefix = f"{self.evaluation.prefix}/" if self.evaluation.prefix else ""
        return f"{self.weights}{prefix}{metric}"


def build_result(
    assembly: RunSetup,
    trained: TrainResult | None,
    scored: list[EvalResult],
    accelerator: Accelerator,
    started: datetime,
) -> tuple[Result, Rows]:
    """The result record, validated, and the rows that stand beside it in the .npz file.

    Raises:
        BenchError: a headline metric of a network has no finite value.
    """
    request, model, test = assembly.request, assembly.model, assembly.splits.test
    rows: Rows = {"index": scored[0].scores.rows["index"], **_groups(test, scored)}
    metrics: dict[str, Any] = {}
    for item in scored:
        rows |= {item.key(name): values for name, values in item.scores.rows.items() if name != "index"}
        metrics |= _metrics(item, request.seed)
    if assembly.baseline is None:
        require_headline(request.task, metrics, scored)
    seconds = sum({id(item.scores): item.scores.seconds for item in scored}.values())
    result = Result.model_validate(
        {
            "schema_version": 1,
            "status": "complete",
            "task": {"name": request.task, "version": assembly.version},
            "recipe": {"name": request.recipe.name, "fingerprint": assembly.fingerprint},
            "model": {
                "name": model.name,
                "family": model.family,
                "source": _source(model.origin),
                "sha256": model.origin.sha256,
                "parameters": sum(parameter.numel() for parameter in assembly.network.parameters()),
                "binocular": assembly.task.views == 2,
            },
            "dataset": {
                "name": test.dataset,
                "split": test.split,
                "images": len(test),
                "images_available": test.available,
                "fingerprint": test.fingerprint(),
                "miniature": test.miniature,
            },
            "protocol": {"citation": _citation(assembly, scored), "deviations": _deviations(assembly, scored)},
            "settings": assembly.settings,
            "seed": request.seed,
            "metrics": metrics,
            "selected": trained
            and {"step": trained.step, "metric": trained.metric, "split": assembly.splits.select.split},
            "timing": {
                "train_s": trained.seconds if trained else 0.0,
                "eval_s": seconds,
                "images_per_s": trained.images_per_s if trained else 0.0,
                "peak_memory_mb": peak_memory_mb(accelerator.device),
            },
            "environment": environment(
                torch=torch.__version__,
                timm=timm.__version__,
                device=_device_name(accelerator.device),
                precision=request.recipe.train.precision,
                processes=accelerator.num_processes,
            ),
            "started": started,
            "finished": datetime.now(UTC),
        }
    )
    return result, rows


def _groups(test: Reader, scored: Sequence[EvalResult]) -> Rows:
    """The scene, film or building of each image, so that statistics know which images aren't independent.

    `group` belongs to the test split; a protocol that scores other images has its own, `<protocol>/group`.
    """
    named = {"group": np.asarray(test.groups)}
    for item in scored:
        own = np.asarray(item.evaluation.reader.groups)
        if not item.weights and not np.array_equal(own, named["group"]):
            named[item.key("group")] = own
    return named


def breakdown(scored: list[EvalResult]) -> str:
    """What meters tell beyond the metrics, of the reported weights, as CSV; empty where they tell nothing."""
    lines: list[dict[str, str | float]] = [
        {"protocol": item.evaluation.prefix or "headline", **line}
        for item in scored
        if not item.weights
        for line in item.evaluation.meter.breakdown(item.scores.rows)
    ]
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value != value else value for key, value in line.items()} for line in lines)  # NaN
    return text.getvalue()


def _metrics(item: EvalResult, seed: int) -> dict[str, Any]:
    meter, scores = item.evaluation.meter, item.scores
    intervals = bootstrap(meter, scores.rows, seed=derive(seed, "bootstrap"))
    return {
        item.key(metric.name): {
            "value": scores.metrics[metric.name],
            "ci95": intervals[metric.name],
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in meter.metrics
        if metric.name in scores.metrics
    }


def require_headline(task: str, metrics: Mapping[str, Any], scored: Sequence[EvalResult]) -> None:
    """Other metrics of a network may lack a value; without its headline its result has no place in the table.

    Raises:
        BenchError: a headline metric of `task` is missing.
    """
    reasons = {item.key(name): why for item in scored for name, why in item.scores.missing.items()}
    for metric in registry.tasks()[task].card.headline:
        if metric.name not in metrics:
            raise BenchError(
                f"{task} has no {metric.name}: {reasons.get(metric.name, 'no evaluation of the task gives it')}",
                "nothing is recorded",
            )


def _citation(assembly: RunSetup, scored: list[EvalResult]) -> str:
    """Whom the recipe follows, and what each protocol is."""
    scorings = {item.evaluation.prefix or "headline": item.evaluation.citation for item in scored}
    parts = [assembly.request.recipe.protocol.citation, *(f"{name}: {text}" for name, text in scorings.items())]
    return "; ".join(parts)


def _deviations(assembly: RunSetup, scored: list[EvalResult]) -> list[str]:
    """Of the recipe, of each protocol, of the weights, and of the changes that a user made, each once."""
    found = [*assembly.request.recipe.protocol.deviations]
    found += [f"changed from the recipe: {change}" for change in assembly.request.changes]
    for item in scored:
        found += [f"{item.evaluation.prefix or 'headline'}: {text}" for text in item.evaluation.deviations]
        found += [f"{item.key(name)} is left out: {why}" for name, why in item.scores.missing.items()]
    found += [f"weights: {note}" for note in assembly.model.origin.notes]
    return list(dict.fromkeys(found))


def _source(origin: Origin) -> str:
    """What was given as a checkpoint; of a local file its name alone: the checksum identifies it, folders are private."""
    path = Path(origin.source)
    return path.name if path.is_file() else origin.source


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
