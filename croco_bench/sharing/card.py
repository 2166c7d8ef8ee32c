"""`croco-bench card`: a model card of one backbone from its results, in Markdown. No torch here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from croco_bench import tables
from croco_bench.backbones import zoo
from croco_bench.backbones.provenance import overlap, training_data
from croco_bench.display import one_line, printable
from croco_bench.errors import RecordError
from croco_bench.records.changes import declared_changes, recipe_label
from croco_bench.records.schema import Result
from croco_bench.records.selection import Selection, require_known
from croco_bench.records.store import read_all
from croco_bench.tables.text.markdown import markdown_text

_OVERLAPS = {"images": "holds its images", "scenes": "shows the same places", "domain": "shows scenes of its kind"}


def card(model: str, results: Sequence[Path], recipe: str | None = None) -> str:
    """The card of a backbone: identity, training data and license as far as they are known, all results, how to repeat them.

    Args:
        model: its name in the results.
        results: folders of results.
        recipe: only results of this recipe.

    Raises:
        UsageError: no result has a backbone of this name.
        RecordError: a folder is missing or has no results.
    """
    found, complaints = read_all(results, recipe)
    if not found:
        raise RecordError(complaints[0] if complaints else f"there are no results in {', '.join(map(str, results))}")
    require_known("backbone", [model], {file.result.model.name for file in found})
    own = [file.result for file in found if file.result.model.name == model]
    if len({result.model.identity for result in own}) > 1:
        raise RecordError(
            f"results of different weights are called {model}", "give --results or --recipe with results of one of them"
        )
    table = tables.make(
        results, recipe=recipe, format="markdown", selection=Selection(models=(model,)), published="none"
    )
    parts = [
        _front_matter(own),
        f"# {markdown_text(model)}",
        _identity(own),
        f"## Results\n\n{table.strip()}",
        _protocol(own),
        _repeat(own),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(own: Sequence[Result]) -> str:
    """Facts for model hubs, as YAML, whose strings JSON's are."""
    facts = {
        "license": "other",
        "license_name": _license(own[0]) or "unknown",
        "library_name": "croco-bench",
        "tags": ["croco-bench", own[0].model.family],
        "datasets": sorted({result.dataset.name for result in own}),
    }
    return "\n".join(
        ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()), "---"]
    )


def _license(result: Result) -> str | None:
    entry = next((entry for entry in zoo.ENTRIES if result.model.source in (entry.name, entry.url)), None)
    return entry.license if entry else None


def _identity(own: Sequence[Result]) -> str:
    """A table of what the backbone is."""
    model, saw = own[0].model, training_data(own[0].model.source)
    sizes = sorted({cost.backbone_parameters for result in own if (cost := result.cost) and cost.backbone_parameters})
    rows = {
        "family": model.family,
        "source": model.source,
        "SHA-256": model.sha256 or "none: not a file",
        "parameters of the backbone": " to ".join(f"{size:,}" for size in dict.fromkeys((*sizes[:1], *sizes[-1:])))
        or "not recorded",
        "license of the weights": _license(own[0]) or "unknown",
        "pre-trained on": "unknown" if saw is None else ", ".join(saw) or "nothing: random weights",
    }
    lines = [f"| {name} | {markdown_text(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines, *_overlaps(saw or (), own)])


def _overlaps(saw: Sequence[str], own: Sequence[Result]) -> list[str]:
    """A line for each dataset that the pre-training may have seen."""
    named = {result.dataset.name: overlap(saw, result.dataset.name) for result in own if not result.dataset.miniature}
    lines = [f"- {name}: {one[1]} {_OVERLAPS[one[0]]}" for name, one in sorted(named.items()) if one]
    return ["", "Pre-training data that overlaps with test data:", "", *lines] if lines else []


def _protocol(own: Sequence[Result]) -> str:
    """How the numbers were made, and where that differs from the publication."""
    lines = ["## How the numbers were made", ""]
    if any(result.dataset.miniature for result in own):
        lines += ["Rendered miniatures were scored: such numbers say nothing about the real datasets.", ""]
    for task, label in sorted({(result.task.name, recipe_label(result)) for result in own}):
        same = [result for result in own if (result.task.name, recipe_label(result)) == (task, label)]
        seeds = ", ".join(str(seed) for seed in sorted({result.seed for result in same}))
        first = same[0]
        lines.append(
            f"- {task}, recipe {label}, seeds {seeds}: {first.dataset.images:,} of {first.dataset.images_available:,} "
            f"images; {first.protocol.citation}"
        )
        lines += [f"  - deviates: {text}" for text in first.protocol.deviations]
    return "\n".join(line and _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    """A line of a list, or a heading, with its text escaped."""
    start, text = next(
        ((mark, line.removeprefix(mark)) for mark in ("  - ", "- ", "## ") if line.startswith(mark)), ("", line)
    )
    return f"{start}{markdown_text(text)}"


def _repeat(own: Sequence[Result]) -> str:
    """The commands, and on what they ran."""
    machines = sorted(
        {f"{env.device}, {env.precision}, torch {env.torch}" for env in (result.environment for result in own)}
    )
    fenced = [printable(one_line(line)).replace("`", "'") for line in sorted(set(map(_command, own)))]
    return "\n".join(
        [
            "## Repeat",
            "",
            "```",
            *fenced,
            "```",
            "",
            _escaped(f"Made with croco-bench {own[0].environment.croco_bench} on {'; '.join(machines)}."),
        ]
    )


def _command(result: Result) -> str:
    """The command of a run, on data in the default place."""
    model, limit = result.model, result.settings.get("limit")
    words = ["croco-bench", "run", result.task.name, "--ckpt", model.source, "--recipe", result.recipe.name]
    words += ["--seed", str(result.seed)]
    words += [] if model.name == model.source else ["--name", model.name]
    words += [] if limit is None else ["--limit", str(limit)]
    words += ["--eval-only"] if result.only_scored else []
    return shlex.join([*words, *(word for change in declared_changes(result) for word in ("--set", change))])
