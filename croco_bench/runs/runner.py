"""One run: resolve, open the data, check that all fits, train, evaluate, record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from accelerate import Accelerator

from croco_bench.backbones.save import save_finetuned
from croco_bench.config.recipe import load_recipe
from croco_bench.engine import devices
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.evaluate import evaluate
from croco_bench.engine.train import Job, Trainer, TrainResult
from croco_bench.errors import RecordError
from croco_bench.files import atomic, cache_folder
from croco_bench.probing.feature_cache import FeatureCache
from croco_bench.probing.linear_probe import probe
from croco_bench.progress import Bar, log
from croco_bench.records.changes import recipe_label
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths, check_name, read, require_free_name, write
from croco_bench.runs.contact_sheet import contact_sheet
from croco_bench.runs.report import EvalResult, breakdown, build_result
from croco_bench.runs.setup import RunRequest, RunSetup, set_up


def run(
    task: str,
    ckpt: str | Path,
    *,
    recipe: str = "paper",
    data_root: str | Path | None = None,
    results: str | Path = "results",
    name: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    changes: Iterable[str] = (),
    device: str = "auto",
    frozen: bool = False,
    eval_only: bool = False,
    fresh: bool = False,
) -> Result | None:
    """Fine-tunes and evaluates one checkpoint on one task; goes on where an interrupted run stopped.

    Args:
        task: a name from `croco-bench tasks`.
        ckpt: a file, URL, `hf://repo/file`, `timm:NAME`, `random:ARCH[@SEED]`, or a name from `croco-bench models`; or
            `classical:NAME`, a method without learning that the task knows.
        recipe: a name that comes with the task, or a path to a TOML file.
        data_root: folder with one folder per dataset; default: `$CROCO_BENCH_DATA`.
        results: where result files go.
        name: the model's name in the table; default: from the checkpoint.
        seed: of the head's initialisation, the order of images, augmentation and dropout.
        limit: at most this many images of each split, drawn with `seed`; such a result enters no table unasked.
        changes: `KEY=VALUE` strings, as `--set` takes them.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        frozen: train the head only.
        eval_only: score fine-tuned weights, no training.
        fresh: start over.

    Returns:
        The result that was written (or already there); None on processes other than the first.

    Raises:
        BenchError: anything that the user can put right; see `croco_bench.errors`.
    """
    if name is not None:
        check_name(name, "model's name (--name)")
    made = (*changes, *(["train.frozen=true"] if frozen else []))
    loaded = load_recipe(task, recipe, made)
    root = Path(data_root) if data_root is not None else None
    request = RunRequest(task, str(ckpt), loaded, root, name, seed, limit, eval_only, made)
    accelerator = devices.start(device, loaded.train.precision, seed)
    with devices.advice(loaded.train):
        assembly = set_up(request, accelerator.num_processes)
        devices.keep_freed_memory(accelerator.device)
        slot = ResultPaths(Path(results), loaded.name, task, assembly.model.name, seed)
        if name is None:
            require_free_name(slot, assembly.model.origin.sha256 or assembly.model.origin.source)
        with slot.lock() if accelerator.is_main_process else nullcontext():
            if fresh and accelerator.is_main_process:
                slot.clear()
            accelerator.wait_for_everyone()
            result = _already_done(slot, assembly) or _work(assembly, slot, accelerator)
            accelerator.wait_for_everyone()
    return result if accelerator.is_main_process else None


def _already_done(slot: ResultPaths, assembly: RunSetup) -> Result | None:
    """The finished result of the very same run, if there is one."""
    if not slot.json.is_file():
        return None
    result = read(slot.json)
    if result.settings.get("key") == assembly.key:
        log(f"already done: {slot.json} (start over with --fresh)")
        return result
    raise RecordError(
        f"{slot.json} holds a result with other settings, data or weights",
        "give --name or --results to keep both, or --fresh to replace it",
    )


def _work(assembly: RunSetup, slot: ResultPaths, accelerator: Accelerator) -> Result:
    """Trains (unless only evaluating), scores under every protocol, draws, records."""
    started = datetime.now(UTC)
    slot.folder.mkdir(parents=True, exist_ok=True)
    trained, others = _train(assembly, slot, accelerator) if assembly.learns else (None, [])
    if assembly.request.eval_only and assembly.baseline is None:
        accelerator.prepare(assembly.network)
    scored = [*_score(assembly, accelerator, trained), *others]
    result, rows = build_result(assembly, trained, scored, accelerator, started)
    if accelerator.is_main_process:
        title = f"{assembly.request.task}  ·  {slot.model}  ·  recipe {recipe_label(result)}  ·  seed {slot.seed}"
        headline = scored[0].evaluation
        contact_sheet(slot.sheet, assembly.network, assembly.task, headline, accelerator, title=title)
        if assembly.baseline is None:
            _export(assembly, slot)
        if finer := breakdown(scored):
            with atomic(slot.breakdown) as temporary:
                temporary.write_text(finer, encoding="utf-8")
        write(slot, result, rows)
        (slot.folder / "last.pt").unlink(missing_ok=True)
    return result


def _train(assembly: RunSetup, slot: ResultPaths, accelerator: Accelerator) -> tuple[TrainResult, list[EvalResult]]:
    """Fine-tunes, or trains on kept vectors; the latter scores the test split in further ways."""
    recipe, splits, seed = assembly.request.recipe, assembly.splits, assembly.request.seed
    plan = Plan.of(recipe.train, len(splits.train), accelerator.num_processes)
    resolved = assembly.settings["resolved"]
    resolved["train"] = {
        "steps": plan.steps,
        "warmup_steps": recipe.optim.warmup * plan.unit,
        "train_images": len(splits.train),
        "select_images": len(splits.select),
    }
    job = Job(
        recipe=recipe,
        task=assembly.task,
        splits=splits,
        network=assembly.network,
        plan=plan,
        seed=seed,
        folder=slot.folder,
        key=assembly.key,
    )
    if recipe.probe is None:
        return Trainer(job, accelerator).run(), []
    accelerator.prepare(assembly.network)
    origin = assembly.model.origin
    cache = FeatureCache(
        cache_folder() / "vectors", assembly.network, origin.sha256 or origin.source, accelerator, recipe.train.workers
    )
    probed = probe(job, cache, assembly.evaluations()[0], accelerator)
    resolved |= {"probe": probed.chosen, "head": assembly.network.head.resolved()}
    return probed.trained, probed.others


def _score(assembly: RunSetup, accelerator: Accelerator, trained: TrainResult | None) -> list[EvalResult]:
    """The test split under every protocol: the last weights first, then the selected ones, which the network keeps."""
    network, workers = assembly.network, assembly.request.recipe.train.workers
    evaluations = assembly.evaluations()
    same = trained is None or trained.step == assembly.settings["resolved"]["train"]["steps"]
    rounds = [""] if same else ["last/", ""]
    total = len(rounds) * sum(len(evaluation.reader) for evaluation in evaluations)
    scored: list[EvalResult] = []
    with Bar("evaluate", total, shown=accelerator.is_main_process) as bar:
        for weights in rounds:
            if weights == "" and trained is not None:
                network.load_state_dict(trained.selected)
            scored += [
                EvalResult(
                    weights,
                    evaluation,
                    evaluate(network, evaluation, accelerator, workers=workers, advance=bar.advance),
                )
                for evaluation in evaluations
            ]
    if same and trained is not None:
        scored += [EvalResult("last/", item.evaluation, item.scores) for item in scored]
    return sorted(scored, key=lambda item: item.weights)  # stable: the reported weights ("") first


def _export(assembly: RunSetup, slot: ResultPaths) -> None:
    """Fine-tuned weights that `--eval-only` and `load_backbone` read."""
    request = assembly.request
    metadata = {
        "task": request.task,
        "recipe": request.recipe.name,
        "fingerprint": assembly.fingerprint,
        "task_state": json.dumps(assembly.task.state),
    }
    save_finetuned(slot.folder / "weights.safetensors", assembly.network.backbone, assembly.network.head, metadata)
