"""One result in full, as text."""

from __future__ import annotations

import json
from pathlib import Path

from croco_bench.display import printable
from croco_bench.errors import RecordError
from croco_bench.metrics import ARROWS, Better, better_of
from croco_bench.records.changes import recipe_label
from croco_bench.records.schema import Cost, MetricValue, Result
from croco_bench.records.store import ResultPaths, read
from croco_bench.tables.columns import known_metrics


def find(given: str, results: Path) -> Path:
    """A result file, from its path or from RECIPE/TASK/MODEL/seedN below `results`.

    Raises:
        RecordError: there is none; the message lists what there is.
    """
    for path in (Path(given), results / given, results / f"{given}.json"):
        if path.is_file():
            return path
    there = sorted(path.relative_to(results).with_suffix("").as_posix() for path in results.glob("*/*/*/seed*.json"))
    known = ", ".join(there[:6]) + (" …" if len(there) > 6 else "") if there else "nothing"
    raise RecordError(f"no result {given}", f"below {results} there is {known}")


def show(path: Path) -> str:
    """Metrics with intervals and units, settings, deviations, environment, and where the pictures are."""
    result, slot = read(path), ResultPaths.of(path.absolute())
    data, model = result.dataset, result.model
    recipe = f"{recipe_label(result)} ({result.recipe.fingerprint})"
    lines = [
        f"{result.task.name}  {model.name}  recipe {recipe}  seed {result.seed}",
        f"model       {model.source}  [{model.family}, {model.parameters:,} parameters{_with_head(result)}{_positions(result)}]",
        f"sha256      {model.sha256 or 'none: not a file'}",
        f"data        {data.name} {data.split}, {data.images} of {data.images_available} images"
        + (", a miniature of rendered rooms" if data.miniature else ""),
    ]
    lines += _chosen(result)
    lines += ["", *_metrics(result), "", f"follows     {result.protocol.citation}"]
    lines += [f"deviates    {text}" for text in result.protocol.deviations]
    lines += ["", *_settings(result), "", *_cost(result), "", *_files(slot)]
    return "\n".join(map(printable, lines))


def _with_head(result: Result) -> str:
    return " with head" if "head" in result.settings else ""


def _positions(result: Result) -> str:
    return f", {result.model.positions} positions" if result.model.positions else ""


def _chosen(result: Result) -> list[str]:
    """How the weights, or what stands in their place, were chosen; nothing where no data was seen before the test."""
    chosen, bank = result.selected, result.settings.get("resolved", {}).get("probe", {}).get("bank")
    if chosen is None:
        return []
    if bank:
        patches = bank["images"] * bank["patches_per_image"]
        return [f"bank        {patches:,} patches of {bank['images']:,} training images; nothing was trained"]
    if chosen.step:
        return [
            f"weights     of step {chosen.step}, chosen by {chosen.metric} on {chosen.split}; last/ is the last step"
        ]
    return [f"read        as is best by {chosen.metric} on {chosen.split}; nothing was trained"]


def _metrics(result: Result) -> list[str]:
    """One line per metric, protocols apart, each with the value of the last weights beside it."""
    wide = max(24, *(len(name) + 2 for name in result.metrics if not name.startswith("last/")))
    lines = [f"{'metric':<{wide}}{'value':>12}  {'95 % interval':<24}{'last':>12}"]
    for name, metric in result.metrics.items():
        if name.startswith("last/"):
            continue
        interval = f"[{metric.ci95[0]:.4g}, {metric.ci95[1]:.4g}]" if metric.ci95 else ""
        last = result.metrics.get(f"last/{name}")
        value = f"{metric.value:.4g} {metric.unit}".rstrip()
        left = f"{name:<{wide}}{value:>12}  {interval:<24}{f'{last.value:.4g}' if last else '':>12}"
        better = _better(name, metric)
        lines.append(left.rstrip() if better == "neither" else f"{left}  {better} is better")
    return lines


def _better(name: str, metric: MetricValue) -> Better:
    """Which values are better; `neither` also for older files that give a direction where there is none."""
    known = known_metrics().get(name.rpartition("/")[2])
    return known.better if known else better_of(metric.higher_is_better)


def arrow(name: str, metric: MetricValue) -> str:
    """Which values are better, as a sign; empty where neither is."""
    return ARROWS[_better(name, metric)]


def _settings(result: Result) -> list[str]:
    return [f"{table:<12}{json.dumps(value)}" for table, value in result.settings.items()]


def _network(cost: Cost | None) -> list[str]:
    if cost is None or cost.flops is None or cost.image_size is None:
        return []
    size = "x".join(map(str, cost.image_size))
    return [
        f"network     {cost.backbone_parameters:,} parameters of the backbone, {cost.trained_parameters:,} trained, "
        f"{cost.flops / 1e9:.3g} GFLOPs a forward pass at {size}"
    ]


def _cost(result: Result) -> list[str]:
    timing, env = result.timing, result.environment
    speed = result.cost and result.cost.eval_images_per_s
    scoring = f" at {speed:.1f} images/s" if speed else ""
    learning = "preparation" if result.cost and result.cost.trained_parameters == 0 else "training"
    pace = f" at {timing.images_per_s:.1f} images/s" if timing.images_per_s else ""
    training = f"{timing.train_s:.0f} s {learning}{pace}, " if timing.train_s else ""
    commit = f", commit {env.git[:10]}{' with changes' if env.dirty else ''}" if env.git else ""
    return [
        *_network(result.cost),
        f"cost        {training}{timing.eval_s:.0f} s evaluation{scoring}, {timing.peak_memory_mb:.0f} MB at most",
        f"ran on      {env.device}, {env.precision}, {env.processes} process(es); croco-bench {env.croco_bench}{commit}, "
        f"torch {env.torch}, timm {env.timm}, Python {env.python}",
        f"when        {result.started:%Y-%m-%d %H:%M} to {result.finished:%Y-%m-%d %H:%M} UTC",
    ]


def _files(slot: ResultPaths) -> list[str]:
    weights = slot.folder / "weights.safetensors"
    named = (
        *(("pictures", slot.sheet), ("breakdown", slot.breakdown)),
        *(("per image", slot.rows), ("weights", weights)),
    )
    return [f"{what:<12}{path}" for what, path in named if path.is_file()]
