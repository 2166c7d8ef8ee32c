"""The runs behind the numbers of a page: pictures, curves, metrics, cost, settings and deviations of each, folded."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from croco_bench.records.changes import recipe_label
from croco_bench.records.packaged import is_packaged
from croco_bench.records.schema import MetricValue, ProtocolFacts, Result
from croco_bench.records.store import ResultFile
from croco_bench.report import cost, curves
from croco_bench.report.anchors import Anchors
from croco_bench.report.markup import Markup, element, join, table, with_links
from croco_bench.report.pictures import Pictures
from croco_bench.report.settings import folded, shared_settings, without
from croco_bench.tables.render import MISSING
from croco_bench.tables.show import arrow


@dataclass(frozen=True)
class _Shared:
    """What is said once, for all runs of a task or of a backbone."""

    settings: Mapping[str, Mapping[str, Any]]
    protocol: ProtocolFacts | None
    facts: Mapping[str, str]


def section(files: Sequence[ResultFile], anchors: Anchors, pictures: Pictures) -> Markup:
    """All runs, by recipe and task; nothing without runs."""
    if not files:
        return Markup()
    by_task: dict[tuple[str, bool, str], list[ResultFile]] = defaultdict(list)
    for file in files:
        by_task[file.result.recipe.name, file.result.dataset.miniature, file.result.task.name].append(file)
    groups = [_task(several, anchors, pictures) for _, several in sorted(by_task.items())]
    lead = element("p", "A number in a table leads to the first of its runs.", class_="facts")
    return element("section", element("h2", "Runs"), lead, *groups, id="runs")


def _task(files: Sequence[ResultFile], anchors: Anchors, pictures: Pictures) -> Markup:
    """The runs of one recipe and task, whose curves share their axes."""
    first = files[0].result
    drawn = curves.read_all(files)
    axes = curves.frames(drawn.values())
    count = f"{len(files)} run{'s' if len(files) > 1 else ''}"
    facts = [first.recipe.name, "miniature"] if first.dataset.miniature else [first.recipe.name]
    title = element("summary", element("b", first.task.name), " ", _facts([", ".join(facts), count]))
    ordered = sorted(files, key=lambda file: (file.result.model.name, file.result.seed))
    shared = shared_settings([file.result.settings for file in ordered])
    common = _common([file.result.protocol for file in ordered])
    alike = _alike([_origin(file.result) for file in ordered])
    shown = _Shared(settings=shared, protocol=common, facts=alike)
    runs: list[Markup] = []
    for name, own in groupby(ordered, key=lambda file: file.result.model.name):
        seeds = list(own)
        told = _alike([_own_facts(file.result, shown) for file in seeds])
        runs += [_of_backbone(name, told)] if told else []
        known = replace(shown, facts={**alike, **told})
        runs += [
            _run(file, anchors, pictures.figure(file, anchors), curves.charts(drawn[file.paths.json], axes), known)
            for file in seeds
        ]
    return element(
        "details",
        title,
        cost.section(ordered),
        *(_protocol(common, None, "Protocol of all these runs") if common else []),
        *([_listed(alike)] if alike else []),
        *([folded("settings of all these runs", shared)] if shared else []),
        *runs,
        class_="group",
        data_task=first.task.name,
        data_recipe=first.recipe.name,
    )


def _run(
    file: ResultFile,
    anchors: Anchors,
    picture: Markup,
    charts: Markup,
    shared: _Shared,
) -> Markup:
    result = file.result
    name, metric = next(iter(result.metrics.items()))
    headline = f"{name} {metric.value:.4g} {metric.unit}".rstrip()
    title = element(
        "summary",
        element("b", element("bdi", result.model.name)),
        f" seed {result.seed} ",
        _facts([headline, *_apart(file)]),
    )
    told = _protocol(result.protocol, shared.protocol)
    numbers = [_metrics(result.metrics), _breakdown(file.paths.breakdown)]
    looks = element("div", picture, element("div", charts, *numbers), class_="run-body")
    own = folded("settings", without(result.settings, shared.settings))
    parts = [looks, *told, _listed(_own_facts(result, shared)), own]
    return element(
        "details",
        title,
        *parts,
        class_="run",
        id=anchors[file.paths.json],
        data_backbone=result.model.name,
    )


def _apart(file: ResultFile) -> list[str]:
    """What a reader should know before the run is opened."""
    result = file.result
    label, data = recipe_label(result), result.dataset
    found = ["packaged, not run here"] if is_packaged(file) else []
    found += [] if label == result.recipe.name else [f"recipe {label}"]
    if data.images < data.images_available:
        found.append(f"{data.images} of {data.images_available} images")
    return found


def _facts(words: Iterable[str]) -> Markup:
    return element("span", join(words, " · "), class_="facts")


def _metrics(metrics: Mapping[str, MetricValue]) -> Markup:
    """Every metric with its interval, and the value of the last weights, if any, beside that of the selected ones."""
    several = any(name.startswith("last/") for name in metrics)
    lines = [
        [
            _named(name, metric),
            _number(metric),
            _bounds(metric),
            *([_number(metrics.get(f"last/{name}"))] if several else []),
        ]
        for name, metric in metrics.items()
        if not name.startswith("last/")
    ]
    heads = ("metric", "value", "95 % interval", *(["last weights"] if several else []))
    return element("div", table(heads, lines, class_="metrics"), class_="wide", tabindex=0)


def _named(name: str, metric: MetricValue) -> str:
    """With its unit and the direction, as a table's column."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{name}{unit} {arrow(name, metric)}".rstrip()


def _number(metric: MetricValue | None) -> str:
    return MISSING if metric is None else f"{metric.value:.4g}"


def _bounds(metric: MetricValue) -> str:
    return f"{metric.ci95[0]:.4g} to {metric.ci95[1]:.4g}" if metric.ci95 else MISSING


def _breakdown(path: Path) -> Markup:
    """The finer numbers of a run, folded; nothing where there are none."""
    try:
        heads, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, csv.Error):  # no file, no line, or no text
        return Markup()
    content = table(heads, ([_finer(text) for text in line] for line in lines))
    box = element("div", content, class_="wide", tabindex=0)
    return element("details", element("summary", "breakdown"), box)


def _finer(text: str) -> Markup:
    """A cell of words or of a number."""
    try:
        return element("td", f"{float(text):.4g}", data_value=text)
    except ValueError:
        return element("td", text or MISSING, data_value="")


def _origin(result: Result) -> dict[str, str]:
    """Where the weights come from, what was scored, and on what machine."""
    model, data, env = result.model, result.dataset, result.environment
    chosen = result.selected
    commit = f", commit {env.git[:10]}{' with changes' if env.dirty else ''}" if env.git else ""
    facts = {
        "weights": f"{model.source} ({model.family})",
        "SHA-256": model.sha256 or "none: not a file",
        "data": f"{data.name} {data.split}, {data.images} of {data.images_available} images",
        "selected": f"step {chosen.step}, by {chosen.metric} on {chosen.split}" if chosen else "",
        "ran on": f"{env.device}, {env.precision}" + (f", {env.processes} processes" if env.processes > 1 else ""),
        "code": f"croco-bench {env.croco_bench}{commit}",
        "packages": f"torch {env.torch}, timm {env.timm}, Python {env.python}",
        "finished": f"{result.finished:%Y-%m-%d %H:%M} UTC",
    }
    return {what: said for what, said in facts.items() if said}


def _own_facts(result: Result, shared: _Shared) -> dict[str, str]:
    """Those that aren't said above."""
    return {what: said for what, said in _origin(result).items() if what not in shared.facts}


def _of_backbone(name: str, facts: Mapping[str, str]) -> Markup:
    """What all seeds of a backbone share, folded."""
    title = element("summary", "the same in all runs of ", element("bdi", name), class_="facts")
    return element("details", title, _listed(facts), class_="of-backbone", data_backbone=name)


def _alike(several: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Facts that two or more runs share."""
    first, *others = several
    return {what: said for what, said in first.items() if others and all(one.get(what) == said for one in others)}


def _listed(facts: Mapping[str, str]) -> Markup:
    return element("dl", *(join([element("dt", what), element("dd", said)]) for what, said in facts.items()))


def _common(several: Sequence[ProtocolFacts]) -> ProtocolFacts | None:
    """What two or more runs follow, with the deviations that all have; None where they follow different sources."""
    first, *others = several
    if not others or any(one.citation != first.citation for one in others):
        return None
    everywhere = (text for text in first.deviations if all(text in one.deviations for one in others))
    return first.model_copy(update={"deviations": tuple(everywhere)})


def _protocol(protocol: ProtocolFacts, common: ProtocolFacts | None, title: str = "Protocol") -> list[Markup]:
    """What a run follows and where it deviates; beside what is common to all runs, only its further deviations."""
    known = common.deviations if common else ()
    deviations = [element("li", with_links(text)) for text in protocol.deviations if text not in known]
    if common and not deviations:
        return []
    listed = [element("ul", *deviations)] if deviations else []
    if common:
        return [element("p", "Also deviates in:"), *listed]
    what = "It deviates from that in:" if deviations else "No deviation is recorded."
    return [element("h4", title), element("p", "Follows ", with_links(protocol.citation)), element("p", what), *listed]
