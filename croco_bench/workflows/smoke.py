"""`croco-bench smoke`: every installed task on a tiny miniature, end to end."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from croco_bench import registry, report, tables
from croco_bench.backbones import load_backbone
from croco_bench.config.recipe import names_of
from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.errors import BenchError
from croco_bench.progress import log
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths, read
from croco_bench.runs.runner import run
from croco_bench.workflows.sample_checkpoints import write_samples

# The recipe that is tried with every checkpoint; those whose names begin with `FURTHER` are tried with one.
RECIPE, FURTHER = "smoke", "smoke-"
# Miniatures that recipes read beside that of their task.
_BESIDE = {"imagenet_c"}
OWN_DISTRIBUTION = "croco-bench"  # only its results can be committed as a reference
# Relative; rounding differs between processors and thread counts, and grows over the dozen training steps.
_TOLERANCE = 0.05
_FORMATS: tuple[tables.Format, ...] = ("terminal", "markdown", "latex", "csv", "json")


@dataclass(frozen=True)
class SmokeSetup:
    """Folders and device of one smoke run. `reference` is a folder of committed results, or None."""

    data: Path
    results: Path
    reference: Path | None
    device: str


def smoke(*, device: str = "auto", keep: Path | None = None, reference: Path | None = None) -> bool:
    """Trains and evaluates every task with every checkpoint format, evaluates again from the saved weights, makes all tables.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        keep: folder for data and results; default: a temporary one.
        reference: results folder with a `smoke/` part, whose headline metrics are compared.

    Returns:
        Whether all checks passed. Each check logs one line to stderr.
    """
    with _folder(keep) as folder:
        setup = SmokeSetup(folder / "data", folder / "results", reference, device)
        datasets = sorted(({entry.card.dataset for entry in registry.tasks()} | _BESIDE) & MINIATURES.keys())
        make_mini(setup.data, datasets=datasets, tiny=True)
        samples = write_samples(folder / "checkpoints")
        passed = [
            _check(f"{task} {name}", lambda task=task, name=name: _cell(setup, task, name, samples[name]))
            for task, name in cells_of(list(samples))
        ]
        first = next(iter(samples))
        passed += [
            _check(
                f"{task} {recipe}", lambda task=task, recipe=recipe: _again(setup, task, first, samples[first], recipe)
            )
            for task, recipe in further_recipes()
        ]
        for entry in registry.backbones():
            passed.append(_check(f"backbone {entry.name}", lambda name=entry.name: _loads(name)))
        passed.append(_check("tables", lambda: _tables(setup)))
    log(f"{sum(passed)} of {len(passed)} passed")
    return all(passed)


def cells_of(samples: list[str]) -> list[tuple[str, str]]:
    """Pairs of task and sample checkpoint: all samples, but only the first one for all but one task of a group.

    Tasks of a group share their code. A task that can't be tried is left out and reported.
    """
    cells, groups = [], set[str]()
    for entry in registry.tasks():
        if lacking := _lacking(entry):
            log(f"left out  {entry.name}  {entry.distribution} has no {lacking} for it")
            continue
        few = entry.card.group in groups
        groups |= {entry.card.group} - {""}
        cells += [(entry.name, name) for name in (samples[:1] if few else samples)]
    return cells


def further_recipes() -> list[tuple[str, str]]:
    """Pairs of task and recipe: those whose names begin with `smoke-`, of one task of a group."""
    pairs, groups = [], set[str]()
    for entry in registry.tasks():
        if entry.card.group not in groups and entry.card.dataset in MINIATURES:
            pairs += [(entry.name, name) for name in names_of(entry.name) if name.startswith(FURTHER)]
        groups |= {entry.card.group} - {""}
    return pairs


def _lacking(entry: registry.Entry[registry.TaskCard]) -> str:
    """What a smoke run of a task of another distribution would need; empty where nothing is missing."""
    lacking = [] if entry.card.dataset in MINIATURES else [f"miniature of {entry.card.dataset}"]
    lacking += [] if RECIPE in names_of(entry.name) else [f"recipe {RECIPE}"]
    return " and no ".join(lacking)


def _loads(name: str) -> str:
    """Builds an announced backbone, which encodes an image for that."""
    load_backbone(name)
    return ""


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="croco-bench-smoke-") as name:
        yield Path(name)


def _check(what: str, work: object) -> bool:
    """Runs one check and logs its outcome; a failure doesn't stop the others."""
    began = time.monotonic()
    assert callable(work)
    try:
        complaint = work()
    except BenchError as error:
        complaint = str(error)
    except Exception as error:  # an unexpected failure doesn't stop the remaining checks
        complaint = f"{type(error).__name__}: {error}"
    log(
        f"{'FAILED' if complaint else 'passed'}  {what}  {time.monotonic() - began:.1f} s{f'  {complaint}' if complaint else ''}"
    )
    return not complaint


def _cell(setup: SmokeSetup, task: str, name: str, ckpt: str) -> str:
    """Checks one task with one checkpoint; returns a complaint, or an empty string."""
    slot = ResultPaths(setup.results, RECIPE, task, name, 0)
    if registry.tasks()[task].card.training_free:
        result = _run(setup, task, ckpt, name, RECIPE)
        return differs_from_reference(setup, slot, result) if slot.sheet.is_file() else "there is no contact sheet"
    return _again(setup, task, name, ckpt, RECIPE) or differs_from_reference(setup, slot, read(slot.json))


def _again(setup: SmokeSetup, task: str, name: str, ckpt: str, recipe: str) -> str:
    """Runs a recipe and scores its weights again; returns a complaint, or an empty string."""
    result = _run(setup, task, ckpt, name, recipe)
    slot = ResultPaths(setup.results, recipe, task, name, 0)
    losses = [
        json.loads(line)["loss"] for line in (slot.folder / "log.jsonl").read_text().splitlines() if '"loss"' in line
    ]
    if not all(math.isfinite(loss) for loss in losses):
        return "a loss isn't finite"
    if not slot.sheet.is_file():
        return "there is no contact sheet"
    again = _run(setup, task, str(slot.folder / "weights.safetensors"), f"{name}-again", recipe, eval_only=True)
    for key, metric in again.metrics.items():
        if not math.isclose(metric.value, result.metrics[key].value, rel_tol=1e-6, abs_tol=1e-9):
            return f"{key} is {metric.value} from the saved weights, but was {result.metrics[key].value}"
    return ""


def _run(setup: SmokeSetup, task: str, ckpt: str, name: str, recipe: str, *, eval_only: bool = False) -> Result:
    result = run(
        task,
        ckpt,
        recipe=recipe,
        data_root=setup.data,
        results=setup.results,
        name=name,
        device=setup.device,
        eval_only=eval_only,
        fresh=True,
    )
    assert result is not None
    return result


def differs_from_reference(setup: SmokeSetup, slot: ResultPaths, result: Result) -> str:
    """Compares headline metrics with the reference; returns a complaint, or an empty string.

    Where something was trained, only results of the same kind of device agree: blocks that a step drops are drawn there.
    """
    if setup.reference is None or registry.tasks()[slot.task].distribution != OWN_DISTRIBUTION:
        return ""
    path = ResultPaths(setup.reference, slot.recipe, slot.task, slot.model, slot.seed).json
    if not path.is_file():
        return f"there is no {path} to compare with; make it with croco-bench smoke --keep DIR"
    known = read(path)
    if known.recipe.fingerprint != result.recipe.fingerprint:
        return f"{path} was made with other settings; make it again with croco-bench smoke --keep DIR"
    card = registry.tasks()[slot.task].card
    if not card.training_free and (known.environment.device == "cpu") != (result.environment.device == "cpu"):
        log(f"not compared: {path} was trained on {known.environment.device}, where random draws of a step are others")
        return ""
    for metric in card.headline:
        now, then = result.metrics[metric.name].value, known.metrics[metric.name].value
        if abs(now - then) > _TOLERANCE * abs(then):
            return f"{metric.name} is {now:.4g}, but {path} has {then:.4g}"
    return ""


def _tables(setup: SmokeSetup) -> str:
    for format in _FORMATS:
        if not tables.make([setup.results], format=format):
            return f"the {format} table is empty"
    return "" if tables.make([setup.results], format=report.page) else "the page is empty"
