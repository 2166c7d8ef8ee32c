"""One pre-training: read the recipe, build the network, open the data, train, write the backbone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from croco_bench import __version__
from croco_bench.engine import devices
from croco_bench.engine.dataloading import Plan
from croco_bench.errors import size_text
from croco_bench.files import fingerprint
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import at_fitting_size, build
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.recipe import PretrainRecipe
from croco_bench.pretraining.sources import PretrainSource, open_source
from croco_bench.pretraining.start import start_from
from croco_bench.pretraining.train import Pretrainer, PretrainJob
from croco_bench.progress import log


def pretrain(
    recipe: str,
    out: str | Path,
    *,
    pairs: Iterable[str] = (),
    objective: str | None = None,
    decoder: str | None = None,
    init: str | None = None,
    data_root: str | Path | None = None,
    seed: int = 0,
    changes: Iterable[str] = (),
    device: str = "auto",
    fresh: bool = False,
) -> Path | None:
    """Pre-trains a backbone; continues an interrupted pre-training.

    Args:
        recipe: a name of `croco_bench.pretraining.recipe.names()`, or a path to a TOML file.
        out: the folder for checkpoints, log and sheets.
        pairs: folders or lists of pairs, names below `data_root`, or `rooms`; with `multimae` one folder in its layout;
            default: the recipe's.
        objective: `croco`, `mae` or `multimae`; default: the recipe's.
        decoder: CroCo's decoder, `cross` or `cat`; default: the recipe's.
        init: checkpoint with the first weights, as `load_backbone` names them; default: random weights.
        data_root: folder with one folder per dataset; default: `$CROCO_BENCH_DATA`.
        seed: of weights, order, augmentation and masks.
        changes: `KEY=VALUE` strings, as `--set` takes them.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        fresh: start over.

    Returns:
        The finished backbone's file, which `load_backbone` reads; None on processes other than the first.

    Raises:
        BenchError: anything that the user can put right; see `croco_bench.errors`.
    """
    pairs, changes, folder = list(pairs), list(changes), Path(out)
    loaded = recipes.load(recipe, changes, pairs=pairs, objective=objective, decoder=decoder)
    accelerator = devices.start(device, loaded.train.precision, seed)
    main, wanted = accelerator.is_main_process, loaded.train.image_size
    loaded = at_fitting_size(loaded)
    if main and loaded.train.image_size != wanted:
        chosen, given = size_text(loaded.train.image_size), size_text(wanted)
        log(f"train.image_size=auto: {chosen}, the nearest to {given} that fits")
    with devices.explain_errors(loaded.train), devices.float32_products(loaded.train.precision):
        job, facts = _prepare(loaded, folder, data_root, seed, accelerator, init)
        facts["command"] = _command(recipe, pairs, objective, decoder, init, changes, seed)
        devices.keep_freed_memory(accelerator.device)
        output = Output(folder)
        with output.lock() if main else nullcontext():
            if main:
                output.prepare(fresh=fresh)
                for note in facts["notes"]:
                    log(f"note: {note}")
            accelerator.wait_for_everyone()
            output.refuse_finished_without_state()
            finished = _work(job, facts, accelerator)
            accelerator.wait_for_everyone()
    return finished if main else None


def _prepare(
    recipe: PretrainRecipe,
    folder: Path,
    data_root: str | Path | None,
    seed: int,
    accelerator: Accelerator,
    init: str | None,
) -> tuple[PretrainJob, dict[str, Any]]:
    objective = build(recipe, seed)
    start = start_from(objective, init) if init else None
    root = Path(data_root) if data_root is not None else None
    source = open_source(recipe.data, objective, recipe.train.image_size, root)
    plan = Plan.of(recipe.train, len(source.train), accelerator.num_processes)
    facts = _facts(recipes.settings_of(recipe, asdict(objective.options)), source, plan, seed)
    facts["notes"] = [*source.notes, *_notes_of(recipe)]
    facts["deviations"] = [*recipe.protocol.deviations, *objective.deviations]
    identity = [facts["fingerprint"], facts["data"]["fingerprint"], seed, accelerator.num_processes]
    if start is not None:
        facts["init"] = asdict(start)
        facts["notes"] += start.notes
        identity.append(start.sha256 or start.ckpt)
    job = PretrainJob(
        recipe=recipe,
        objective=objective,
        source=source,
        plan=plan,
        seed=seed,
        folder=folder,
        key=fingerprint(json.dumps(identity)),
    )
    return job, facts


def _notes_of(recipe: PretrainRecipe) -> list[str]:
    """What the settings say that isn't so."""
    if recipe.family == "croco" or recipe.model.positions == "cosine":
        return []
    return [
        f"{recipe.objective} has absolute positions; model.positions={recipe.model.positions} is read by croco alone"
    ]


def _command(
    recipe: str,
    pairs: Sequence[str],
    objective: str | None,
    decoder: str | None,
    init: str | None,
    changes: Sequence[str],
    seed: int,
) -> str:
    """A command that makes the same weights from the same data."""
    words = ["croco-bench", "pretrain", "--recipe", recipe]
    words += [f"--pairs={name}" for name in pairs]
    words += [f"--objective={objective}"] if objective else []
    words += [f"--decoder={decoder}"] if decoder else []
    words += [f"--init={init}"] if init else []
    words += [f"--set={change}" for change in changes]
    return shlex.join([*words, f"--seed={seed}"])


def _facts(settings: dict[str, Any], source: PretrainSource, plan: Plan, seed: int) -> dict[str, Any]:
    """Everything that determines the weights."""
    return {
        "fingerprint": recipes.fingerprint(settings),
        "seed": seed,
        "data": {
            "sets": source.train.dataset,
            "fingerprint": source.train.fingerprint(),
            "training": len(source.train),
            "held_out": len(source.held_out) if source.held_out else 0,
            "miniature": source.train.miniature,
        },
        "steps": plan.steps,
        "images_seen": plan.steps * settings["train"]["batch_size"],
        "settings": settings,
        "environment": {"croco_bench": __version__, "torch": torch.__version__},
    }


def _work(job: PretrainJob, facts: dict[str, Any], accelerator: Accelerator) -> Path:
    trainer = Pretrainer(job, accelerator)
    trainer.train()
    path, model = trainer.output.path, trainer.unsharded_model()
    if accelerator.is_main_process and (trainer.start < job.plan.steps or not path.is_file()):
        clock, finished = trainer.clock, datetime.now(UTC).isoformat(timespec="seconds")
        timing = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds, "finished": finished}
        trainer.output.finish(model, {**facts, "scores": trainer.scores, "timing": timing})
        log(f"wrote {path}; try croco-bench run TASK --ckpt {path}")
    elif accelerator.is_main_process:
        log(f"already done: {path} (start over with --fresh)")
    return path
