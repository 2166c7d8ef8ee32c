"""The result of a run: a validated record, and per-image values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from accelerate import Accelerator

from croco_bench.config.recipe import Recipe
from croco_bench.contracts import Origin, Reader
from croco_bench.display import csv_text
from croco_bench.engine.cost import cost_of
from croco_bench.engine.devices import peak_memory_mb
from croco_bench.engine.evaluate import EvalResult
from croco_bench.engine.train import TrainResult
from croco_bench.engine.training_log import values_at_steps
from croco_bench.errors import BenchError
from croco_bench.metrics import Metric
from croco_bench.metrics.meter import FEWEST_IMAGES, Rows, bootstrap
from croco_bench.probing.read_out import ReadOutChoice
from croco_bench.records.changes import DECLARED, can_change_a_number
from croco_bench.records.schema import (
    Cost,
    DatasetFacts,
    MetricValue,
    ModelFacts,
    PretrainingFacts,
    ProtocolFacts,
    RecipeFacts,
    Result,
    Selected,
    TaskFacts,
    Timing,
    environment,
)
from croco_bench.runs.setup import RunSetup, is_setting
from croco_bench.seeding import derive

# Metrics without a value that are named one by one.
_MISSING_SHOWN = 12
Trained = TrainResult | ReadOutChoice


def build_result(
    setup: RunSetup,
    trained: Trained | None,
    scored: Sequence[EvalResult],
    accelerator: Accelerator,
    started: datetime,
    folder: Path,
) -> tuple[Result, Rows]:
    """The validated result, and per-image values by metric key for the .npz file beside it.

    Args:
        setup: the run.
        trained: None where nothing was trained.
        scored: the headline evaluation of the selected weights first.
        accelerator: device and number of processes.
        started: when the run began.
        folder: of the run, with the log of its training.

    Raises:
        BenchError: a headline metric of a network has no finite value.
    """
    request = setup.request
    rows: Rows = {"index": scored[0].scores.rows["index"], **_groups(setup.data.test, scored)}
    metrics: dict[str, MetricValue] = {}
    for item in scored:
        rows |= {_key(item, name): values for name, values in item.scores.rows.items() if name != "index"}
        metrics |= _metrics(item, request.seed)
    if not setup.predictor.may_fail:
        require_headline(request.task, setup.card.headline, metrics, scored)
    result = Result(
        status="complete",
        task=TaskFacts(name=request.task, version=setup.card.version),
        recipe=RecipeFacts(name=request.recipe.name, fingerprint=setup.fingerprint),
        model=_model(setup),
        dataset=_dataset(setup.data.test),
        protocol=ProtocolFacts(citation=_citation(setup, scored), deviations=_deviations(setup, trained, scored)),
        settings=_settings(setup, trained),
        seed=request.seed,
        metrics=metrics,
        selected=_selected(setup, trained),
        history=values_at_steps(folder, f"select/{trained.metric}") if trained else {},
        timing=_timing(trained, scored, accelerator.device),
        cost=_cost(setup, scored[0]),
        environment=environment(
            torch=torch.__version__,
            timm=timm.__version__,
            device=_device_name(accelerator.device),
            precision=request.recipe.train.precision,
            processes=accelerator.num_processes,
        ),
        started=started,
        finished=datetime.now(UTC),
    )
    return result, rows


def _model(setup: RunSetup) -> ModelFacts:
    origin = setup.model.origin
    return ModelFacts(
        name=setup.model.name,
        family=setup.model.family,
        source=_source(origin),
        sha256=origin.sha256,
        parameters=setup.predictor.parameters,
        binocular=setup.task.views == 2,
        positions=setup.model.positions,
        pretraining=PretrainingFacts(**asdict(origin.pretraining)) if origin.pretraining else None,
    )


def _dataset(test: Reader) -> DatasetFacts:
    return DatasetFacts(
        name=test.dataset,
        split=test.split,
        images=len(test),
        images_available=test.available,
        fingerprint=test.fingerprint(),
        miniature=test.miniature,
    )


def _groups(test: Reader, scored: Sequence[EvalResult]) -> Rows:
    """The scene, film or building of each image, so that statistics know which images aren't independent.

    `group` belongs to the test split; a protocol that scores other images has its own, `<protocol>/group`.
    """
    named = {"group": np.asarray(test.groups)}
    for item in scored:
        own = np.asarray(item.evaluation.reader.groups)
        if item.weights == "selected" and not np.array_equal(own, named["group"]):
            named[_key(item, "group")] = own
    return named


def _key(item: EvalResult, metric: str) -> str:
    """The metric's key in the result: `[last/][protocol/]metric`."""
    last = "last/" if item.weights == "last" else ""
    protocol = f"{item.evaluation.prefix}/" if item.evaluation.prefix else ""
    return f"{last}{protocol}{metric}"


def _settings(setup: RunSetup, trained: Trained | None) -> dict[str, Any]:
    """The recipe's settings; limit and key; what differs from the built-in recipe; values derived from data and training."""
    resolved = setup.predictor.resolved(setup.task, setup.data)
    if trained is not None:
        resolved["train"] = {
            **_length(setup, trained),
            "train_images": len(setup.data.train),
            "select_images": len(setup.data.select),
        }
    if isinstance(trained, TrainResult) and trained.chosen:
        resolved["probe"] = dict(trained.chosen)
    return {
        **setup.settings,
        "limit": setup.request.limit,
        "key": setup.key,
        "changed": None if setup.changed is None else dict(setup.changed),
        "resolved": resolved,
    }


def _length(setup: RunSetup, trained: Trained) -> dict[str, int]:
    """The length of a training; nothing where a read-out was chosen."""
    recipe = setup.request.recipe
    if not isinstance(trained, TrainResult) or not isinstance(recipe, Recipe):
        return {}
    return {"steps": trained.plan.steps, "warmup_steps": recipe.optim.warmup * trained.plan.unit}


def _selected(setup: RunSetup, trained: Trained | None) -> Selected | None:
    if trained is None:
        return None
    step = trained.step if isinstance(trained, TrainResult) else 0
    return Selected(step=step, metric=trained.metric, split=setup.data.select.split)


def _timing(trained: Trained | None, scored: Sequence[EvalResult], device: torch.device) -> Timing:
    # If the last step was selected, both sets of weights share their scores.
    different = {id(item.scores): item.scores for item in scored}
    return Timing(
        train_s=trained.seconds if trained else 0.0,
        eval_s=sum(scores.seconds for scores in different.values()),
        images_per_s=trained.images_per_s if isinstance(trained, TrainResult) else 0.0,
        peak_memory_mb=peak_memory_mb(device),
    )


def _cost(setup: RunSetup, headline: EvalResult) -> Cost:
    """Counted on the network, and timed under the headline protocol."""
    size, scores = setup.request.recipe.train.image_size, headline.scores
    counted = (
        {} if setup.request.classical_method else {**asdict(cost_of(setup.scored_network, size)), "image_size": size}
    )
    speed = scores.images / scores.seconds if scores.seconds else None
    return Cost(**counted, eval_images_per_s=speed)


def breakdown(scored: Sequence[EvalResult]) -> str:
    """Finer numbers of the selected weights (per class, for instance) as CSV; empty where no meter has any."""
    lines: list[dict[str, str | float]] = [
        {"protocol": item.evaluation.prefix or "headline", **line}
        for item in scored
        if item.weights == "selected"
        for line in item.evaluation.meter.breakdown(item.scores.rows)
    ]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    known = ({key: "" if value != value else value for key, value in line.items()} for line in lines)  # NaN
    return csv_text(columns, known) if lines else ""


def _metrics(item: EvalResult, seed: int) -> dict[str, MetricValue]:
    meter, scores = item.evaluation.meter, item.scores
    intervals = bootstrap(meter, scores.rows, seed=derive(seed, "bootstrap"))
    return {
        _key(item, metric.name): MetricValue(
            value=scores.metrics[metric.name],
            ci95=intervals[metric.name],
            unit=metric.unit,
            higher_is_better=None if metric.better == "neither" else metric.higher_is_better,
        )
        for metric in meter.metrics
        if metric.name in scores.metrics
    }


def require_headline(
    task: str, headline: Sequence[Metric], metrics: Mapping[str, MetricValue], scored: Sequence[EvalResult]
) -> None:
    """Refuses a result without its headline, which the table could not show; other metrics may be missing.

    Raises:
        BenchError: a headline metric of `task` is missing.
    """
    reasons = {_key(item, name): why for item in scored for name, why in item.scores.missing.items()}
    for metric in headline:
        if metric.name not in metrics:
            raise BenchError(
                f"{task} has no {metric.name}: {reasons.get(metric.name, 'no evaluation of the task gives it')}",
                "nothing is recorded",
            )


def _citation(setup: RunSetup, scored: Sequence[EvalResult]) -> str:
    """Citations of the recipe, which says how networks are trained, and of each protocol."""
    recipe = [] if setup.request.classical_method else [setup.request.recipe.protocol.citation]
    scorings = {item.evaluation.prefix or "headline": item.evaluation.citation for item in scored}
    return "; ".join([*recipe, *(f"{name}: {text}" for name, text in scorings.items())])


def _deviations(setup: RunSetup, trained: Trained | None, scored: Sequence[EvalResult]) -> tuple[str, ...]:
    """Deviations of the recipe, its changed settings, each protocol, the training, the data and the weights, each once."""
    request, protocol = setup.request, setup.request.recipe.protocol
    classical = request.classical_method is not None
    found = [*protocol.deviations, *(() if classical else protocol.training_deviations)]
    # Of a classical method, the settings are only those that it uses.
    changes = {text: text.partition("=")[0].strip() for text in request.changes}
    used = (text for text, key in changes.items() if not classical or is_setting(key, setup.settings))
    found += [f"{DECLARED}{text}" for text in used if can_change_a_number(changes[text])]
    for item in scored:
        found += [f"{item.evaluation.prefix or 'headline'}: {text}" for text in item.evaluation.deviations]
    found += [*_missing(scored), *_without_intervals(scored)]
    found += trained.notes if isinstance(trained, TrainResult) else ()
    found += _incomplete(setup.data.test, setup.request.limit)
    found += [f"data: {note}" for note in setup.assumptions]
    found += [f"weights: {note}" for note in setup.model.origin.notes]
    return tuple(dict.fromkeys(found))


def _missing(scored: Sequence[EvalResult]) -> list[str]:
    """Metrics without a value, together where the reason is the same."""
    by_reason: dict[str, list[str]] = {}
    for item in scored:
        for name, why in item.scores.missing.items():
            by_reason.setdefault(why, []).append(_key(item, name))
    return [f"{_listed(keys)} {'is' if len(keys) == 1 else 'are'} left out: {why}" for why, keys in by_reason.items()]


def _listed(keys: Sequence[str]) -> str:
    """All keys, or the first of many and the number of the others."""
    shown = keys if len(keys) <= _MISSING_SHOWN + 1 else [*keys[:_MISSING_SHOWN], f"{len(keys) - _MISSING_SHOWN} more"]
    return ", ".join(shown)


def _without_intervals(scored: Sequence[EvalResult]) -> list[str]:
    """That protocols scored too few images for an interval."""
    few = {item.evaluation.prefix or "headline": n for item in scored if (n := item.scores.images) < FEWEST_IMAGES}
    return [
        f"{name}: no 95 % intervals, since {n} of at least {FEWEST_IMAGES} images were scored"
        for name, n in few.items()
    ]


def _incomplete(test: Reader, limit: int | None) -> list[str]:
    """That only a part of a release was there, which a limited run can't say."""
    if limit is not None or len(test) >= test.available:
        return []
    return [f"only {len(test)} of the {test.available} items of {test.dataset}'s {test.split} split are there"]


def _source(origin: Origin) -> str:
    """The checkpoint as given; only the name of a local file, as its folder is private and the checksum identifies it."""
    path = Path(origin.source)
    return path.name if path.is_file() else origin.source


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
