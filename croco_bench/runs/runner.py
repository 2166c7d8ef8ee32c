"""One run: set up, train, evaluate, write the result."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from accelerate import Accelerator

from croco_bench.backbones import own_code
from croco_bench.backbones.save import save_finetuned
from croco_bench.config.recipe import Recipe, load_task_recipe
from croco_bench.contracts import Backbone, BankHead, ScoredTask, Task, TrainingFreeTask
from croco_bench.engine import devices
from croco_bench.engine.compiling import Compilation, compile_network
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.evaluate import EvalResult, NetworkPredictor, evaluate
from croco_bench.engine.train import FineTuneJob, Trainer, TrainResult
from croco_bench.errors import OtherResultError, Stopped, UsageError, size_text
from croco_bench.files import atomic, cache_folder
from croco_bench.probing.bank import fill_bank
from croco_bench.probing.feature_cache import FeatureCache
from croco_bench.probing.head_grid import GridTrainer
from croco_bench.probing.linear_probe import probe
from croco_bench.probing.read_out import ReadOutChoice, choose_read_out
from croco_bench.probing.token_probe import probe_tokens
from croco_bench.progress import Bar, log
from croco_bench.records.changes import recipe_label
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths, check_name, read, require_free_name, write
from croco_bench.registry import tasks
from croco_bench.runs.contact_sheet import contact_sheet
from croco_bench.runs.report import breakdown, build_result
from croco_bench.runs.request import RunRequest
from croco_bench.runs.setup import RunSetup, set_up


def run(
    task: str,
    ckpt: str | Path | Backbone,
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
        ckpt: a file, URL, `hf://repo/file`, `timm:NAME[@FILE]`, `python:MODULE:NAME[@FILE]`, `random:ARCH[@SEED]`,
            `random:FILE[@SEED]`, or a name from `croco-bench models`; `classical:NAME`, a classical method of the task; or a
            `Backbone`, which is copied.
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
    if frozen and tasks()[task].card.training_free:
        raise UsageError(f"{task} trains nothing, so nothing can be frozen", "leave --frozen out")
    made = (*changes, *(["train.frozen=true"] if frozen else []))
    given = None if isinstance(ckpt, str | Path) else ckpt
    if given is not None and not isinstance(given, Backbone):
        raise own_code.not_a_backbone(given, "what should be scored")
    request = RunRequest(
        task=task,
        ckpt=str(ckpt) if given is None else own_code.code_of(given),
        backbone=given,
        recipe=load_task_recipe(task, recipe, made),
        data_root=None if data_root is None else Path(data_root),
        results=Path(results),
        name=name,
        seed=seed,
        limit=limit,
        changes=made,
        device=device,
        eval_only=eval_only,
        fresh=fresh,
    )
    return execute(request)


def execute(request: RunRequest) -> Result | None:
    """Does what `run` describes."""
    recipe = request.recipe
    accelerator = devices.start(request.device, recipe.train.precision, request.seed)
    main = accelerator.is_main_process
    with devices.explain_errors(recipe.train), devices.float32_products(recipe.train.precision):
        setup = set_up(request, accelerator.num_processes)
        if main and recipe.train.nearest_size:
            chosen, wanted = (size_text(one.train.image_size) for one in (setup.request.recipe, recipe))
            log(
                f"train.image_size=auto: {chosen}"
                + (f", the nearest to {wanted} that fits" if chosen != wanted else "")
            )
        devices.keep_freed_memory(accelerator.device)
        paths = ResultPaths(request.results, recipe.name, request.task, setup.model.name, request.seed)
        if request.name is None:
            require_free_name(paths, setup.model.origin.identity)
        with paths.lock() if main else nullcontext():
            if main:
                paths.begin(fresh=request.fresh)
            accelerator.wait_for_everyone()
            paths = paths.at_work()
            with nullcontext() if _saves(setup) else _starting_over():
                result = _already_done(paths, setup) or _work(setup, paths, accelerator)
            accelerator.wait_for_everyone()
    return result if main else None


def _saves(setup: RunSetup) -> bool:
    """Whether an interrupted run goes on where it was: scores alone, and banks of tokens, are made anew."""
    trains = setup.request.learns and isinstance(setup.task, Task)
    return trains and not isinstance(setup.network.head, BankHead)


@contextmanager
def _starting_over() -> Iterator[None]:
    """Signals inside the block say that nothing of it is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, Stopped) else signal.SIGINT
        raise Stopped(number, "nothing was kept: the same command starts over") from error


def _already_done(paths: ResultPaths, setup: RunSetup) -> Result | None:
    """The finished result of a run with the same key, if there is one."""
    if paths.replacing or not paths.json.is_file():
        return None
    result = read(paths.json)
    if result.settings.get("key") == setup.key:
        log(f"already done: {paths.json} (start over with --fresh)")
        return result
    raise OtherResultError(
        f"{paths.json} holds a result with other settings, data or weights",
        "give --name or --results to keep both, or --fresh to replace it",
    )


def _work(setup: RunSetup, paths: ResultPaths, accelerator: Accelerator) -> Result:
    """Trains if asked to, scores under every protocol, writes the result and its files."""
    started = datetime.now(UTC)
    paths.folder.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        for note in setup.model.origin.notes:
            log(f"{setup.model.name}: {note}")
        for note in setup.assumptions:
            log(f"data: {note}")
    trained: TrainResult | ReadOutChoice | None = None
    if isinstance(setup.task, TrainingFreeTask) and setup.request.learns:
        setup, trained = _read(setup, setup.task, accelerator)
    elif setup.request.learns:
        trained = _train(setup, setup.task, paths, accelerator)
    else:
        _prepare(setup, accelerator)
    scored = _score(setup, trained if isinstance(trained, TrainResult) else None, accelerator)
    result, rows = build_result(setup, trained, scored, accelerator, started, paths.folder)
    if accelerator.is_main_process:
        title = f"{paths.task}  ·  {paths.model}  ·  recipe {recipe_label(result)}  ·  seed {paths.seed}"
        _write_work_files(setup, paths, scored, accelerator, title)
        write(paths, result, rows)
        paths.end()
        (replace(paths, replacing=False).folder / "last.pt").unlink(missing_ok=True)
    return result


def _read(setup: RunSetup, task: TrainingFreeTask, accelerator: Accelerator) -> tuple[RunSetup, ReadOutChoice]:
    """Chooses how the backbone's features are read; the evaluations follow from that."""
    assert setup.data.training is not None
    setup.predictor.prepare(accelerator)
    workers = setup.request.recipe.train.workers
    choice = choose_read_out(task, setup.bare_predictor, setup.data.training, accelerator, workers=workers)
    return replace(setup, evaluations=task.evaluations(setup.data)), choice


def _train(setup: RunSetup, task: ScoredTask, paths: ResultPaths, accelerator: Accelerator) -> TrainResult:
    """Fine-tunes, fills a bank, or trains probes on cached features."""
    request, training, recipe = setup.request, setup.data.training, setup.request.recipe
    assert training is not None and isinstance(task, Task) and isinstance(recipe, Recipe)
    plan = Plan.of(recipe.train, len(training.train), accelerator.num_processes)
    job = FineTuneJob(
        recipe=recipe,
        task=task,
        splits=training,
        network=setup.network,
        plan=plan,
        seed=request.seed,
        folder=paths.folder,
        key=setup.key,
    )
    fills_bank = isinstance(setup.network.head, BankHead)
    if not fills_bank and recipe.probe is None and recipe.token_probe is None:
        return (Trainer if recipe.grid is None else GridTrainer)(job, accelerator).run()
    compilation = _prepare(setup, accelerator)
    found = fill_bank(job, accelerator) if fills_bank else _probe(setup, job, accelerator)
    return replace(found, notes=(*found.notes, *(compilation.notes if compilation else ())))


def _prepare(setup: RunSetup, accelerator: Accelerator) -> Compilation | None:
    """Moves what is scored to the device; compiles a network if the recipe says so."""
    setup.predictor.prepare(accelerator)
    recipe = setup.request.recipe
    if not isinstance(setup.predictor, NetworkPredictor) or not isinstance(recipe, Recipe):
        return None
    return compile_network(setup.network, recipe.train.compile, accelerator.device)


def _probe(setup: RunSetup, job: FineTuneJob, accelerator: Accelerator) -> TrainResult:
    """Trains probes on cached features."""
    recipe = job.recipe
    cache = FeatureCache(
        folder=cache_folder() / ("vectors" if recipe.probe else "tokens"),
        network=setup.network,
        backbone=_weights_key(setup),
        accelerator=accelerator,
        workers=recipe.train.workers,
    )
    if recipe.probe:
        return probe(job, cache, setup.evaluations[0], accelerator)
    return probe_tokens(job, cache, accelerator)


def _weights_key(setup: RunSetup) -> str:
    """Identity of the backbone: its file, the facts about it that the user stated, and how it is compiled."""
    origin, recipe = setup.model.origin, setup.request.recipe
    facts = json.dumps(recipe.backbone, sort_keys=True) if recipe.backbone else ""
    extent = recipe.train.compile if isinstance(recipe, Recipe) else "off"
    return origin.identity + facts + (f" compiled: {extent}" if extent != "off" else "")


def _score(setup: RunSetup, trained: TrainResult | None, accelerator: Accelerator) -> list[EvalResult]:
    """Scores of the test split under every protocol: of the selected weights, then, after a training, of the last ones.

    The last weights are scored first, as the network holds them; it keeps the selected ones.
    """
    rounds: list[Literal["selected", "last"]] = (
        ["selected"] if trained is None or trained.is_last else ["last", "selected"]
    )
    total = len(rounds) * sum(len(evaluation.reader) for evaluation in setup.evaluations)
    scored: dict[str, list[EvalResult]] = {}
    with Bar("evaluate", total, shown=accelerator.is_main_process) as bar:
        run_one = partial(
            evaluate,
            setup.predictor,
            accelerator=accelerator,
            workers=setup.request.recipe.train.workers,
            advance=bar.advance,
        )
        for weights in rounds:
            if weights == "selected" and trained is not None:
                setup.network.load_state_dict(trained.weights)
            scored[weights] = [EvalResult(weights, evaluation, run_one(evaluation)) for evaluation in setup.evaluations]
    if trained is None:
        return scored["selected"]
    last = scored.get("last") or [replace(item, weights="last") for item in scored["selected"]]
    return [*scored["selected"], *last, *trained.others]


def _write_work_files(
    setup: RunSetup, paths: ResultPaths, scored: Sequence[EvalResult], accelerator: Accelerator, title: str
) -> None:
    """The contact sheet of the headline protocol, fine-tuned weights, and finer numbers where a meter has some."""
    contact_sheet(paths.sheet, setup, scored[0].evaluation, accelerator, title)
    if isinstance(setup.predictor, NetworkPredictor):
        _export(setup, paths)
    if finer := breakdown(scored):
        with atomic(paths.breakdown) as temporary:
            temporary.write_text(finer, encoding="utf-8")


def _export(setup: RunSetup, paths: ResultPaths) -> None:
    """Writes the weights for `--eval-only` and `load_backbone`."""
    metadata = {
        "task": setup.request.task,
        "recipe": setup.request.recipe.name,
        "fingerprint": setup.fingerprint,
        "task_state": json.dumps(setup.task.state),
    }
    network = setup.network
    save_finetuned(paths.folder / "weights.safetensors", network.backbone, network.head, metadata)
