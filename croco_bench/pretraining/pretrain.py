"""One pre-training: resolve, open the data, check that all fits, train, hand over."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout

from croco_bench import __version__
from croco_bench.engine import devices
from croco_bench.engine.dataloading import Plan
from croco_bench.errors import RecordError, UsageError
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.loop import Job, Pretrainer
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.recipe import Pretraining
from croco_bench.pretraining.sources import Source, open_source
from croco_bench.progress import log


def pretrain(
    recipe: str,
    out: str | Path,
    *,
    pairs: Iterable[str] = (),
    objective: str | None = None,
    decoder: str | None = None,
    data_root: str | Path | None = None,
    seed: int = 0,
    changes: Iterable[str] = (),
    device: str = "auto",
    fresh: bool = False,
) -> Path | None:
    """Pre-trains a backbone; goes on where an interrupted pre-training stopped.

    Args:
        recipe: a name of `croco_bench.pretraining.recipe.names()`, or a path to a TOML file.
        out: the folder for checkpoints, log and sheets.
        pairs: folders or lists of pairs, names below `data_root`, or `rooms`; with `multimae` one folder in its layout;
            default: the recipe's.
        objective: `croco`, `mae` or `multimae`; default: the recipe's.
        decoder: CroCo's decoder, `cross` or `cat`; default: the recipe's.
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
    named = {"objective": objective, "decoder": decoder}
    made = [*changes, *(f"{key}={value}" for key, value in named.items() if value is not None)]
    made += _sets(list(pairs), recipes.load(recipe, made).objective)
    loaded, folder = recipes.load(recipe, made), Path(out)
    accelerator = devices.start(device, loaded.train.precision, seed)
    with devices.advice(loaded.train), _tf32():
        job, facts = _prepare(loaded, folder, data_root, seed, accelerator)
        devices.keep_freed_memory(accelerator.device)
        facts["command"] = _command(recipe, made, seed)
        with _only_one(folder) if accelerator.is_main_process else nullcontext():
            if fresh and accelerator.is_main_process:
                _clear(folder)
            if accelerator.is_main_process:
                _sweep(folder)
            accelerator.wait_for_everyone()
            _refuse_unknown(folder)
            finished = _work(job, facts, accelerator)
            accelerator.wait_for_everyone()
    return finished if accelerator.is_main_process else None


def _sets(names: list[str], objective: str) -> list[str]:
    """What `--pairs` changes: the multimae objective reads one folder with depth and classes instead of pairs."""
    if objective != "multimae":
        return [f"data.pairs={json.dumps(names)}"] if names else []
    if len(names) > 1:
        raise UsageError(f"the multimae objective learns from one folder, but --pairs names {len(names)}", "give one")
    return [f"data.modalities={json.dumps(name)}" for name in names]


def _prepare(
    recipe: Pretraining, folder: Path, data_root: str | Path | None, seed: int, accelerator: Accelerator
) -> tuple[Job, dict[str, Any]]:
    objective = build(recipe, seed)
    root = Path(data_root) if data_root is not None else None
    source = open_source(recipe.data, objective, recipe.train.image_size, root)
    plan = Plan.of(recipe.train, len(source.train), accelerator.num_processes)
    settings = recipes.settings_of(recipe, asdict(objective.options))
    facts = _facts(settings, source, plan, seed)
    identity = [facts["fingerprint"], facts["data"]["fingerprint"], seed, accelerator.num_processes]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return Job(recipe, objective, source, plan, seed, folder, key), facts


def _command(recipe: str, changes: list[str], seed: int) -> str:
    """What makes the same weights from the same data, wherever that lies."""
    return shlex.join(
        ["croco-bench", "pretrain", "--recipe", recipe, *(f"--set={one}" for one in changes), f"--seed={seed}"]
    )


def _facts(settings: dict[str, Any], source: Source, plan: Plan, seed: int) -> dict[str, Any]:
    """What made the weights."""
    held_out = source.held_out
    return {
        "fingerprint": recipes.fingerprint(settings),
        "seed": seed,
        "data": {
            "sets": source.train.dataset,
            "fingerprint": source.train.fingerprint(),
            "training": len(source.train),
            "held_out": len(held_out) if held_out else 0,
            "miniature": source.train.miniature,
        },
        "steps": plan.steps,
        "images_seen": plan.steps * settings["train"]["batch_size"],
        "settings": settings,
        "environment": {"croco_bench": __version__, "torch": torch.__version__},
    }


def _work(job: Job, facts: dict[str, Any], accelerator: Accelerator) -> Path:
    trainer = Pretrainer(job, accelerator)
    trainer.run()
    path, model = trainer.output.path, trainer.whole_model()
    if accelerator.is_main_process and (trainer.start < job.plan.steps or not path.is_file()):
        timing = {"seconds": trainer.seconds, "cpu_seconds": trainer.cpu_seconds, "finished": _now()}
        trainer.output.finish(model, {**facts, "scores": trainer.scores, "timing": timing})
        log(f"wrote {path}; try croco-bench run TASK --ckpt {path}")
    elif accelerator.is_main_process:
        log(f"already done: {path} (start over with --fresh)")
    return path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _clear(folder: Path) -> None:
    """Removes what an earlier pre-training left, and nothing else."""
    kept = [path for path in folder.glob("checkpoint-*.pth") if path.stem.removeprefix("checkpoint-").isdecimal()]
    names = ("last.pt", "checkpoint-last.pth", "log.jsonl", "facts.json")
    for path in (*kept, *(folder / name for name in names), Output(folder).path):
        path.unlink(missing_ok=True)
    for name in ("sheets", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes halves of files, each as large as the network's whole state, that a killed process was writing."""
    for name in ("last.pt", "checkpoint-*.pth", "log.jsonl", "facts.json", Output(folder).path.name):
        for leftover in folder.glob(f".{name}.*.partial"):
            leftover.unlink(missing_ok=True)


def _refuse_unknown(folder: Path) -> None:
    """Finished work is never trained over by mistake, even where its state was deleted to save space."""
    if (folder / "facts.json").is_file() and not (folder / "last.pt").is_file():
        raise RecordError(
            f"{folder} holds a finished pre-training without its state (last.pt), so it can't go on",
            "give another --out, or --fresh to start over",
        )


@contextmanager
def _tf32() -> Iterator[None]:
    """Faster matrix products, as in CroCo's own pre-training; fine-tuning keeps full float32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"can't make the folder {folder}: {error.strerror or error}", "give another --out") from error
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout as error:
        raise RecordError(
            f"another pre-training is at work in {folder}", "wait for it, or give another --out"
        ) from error
