"""Times of forward passes, training steps, evaluations and loaders beside the floor that the device sets.

    python -m benchmarks.bench --device cuda --out figures.json
    python -m benchmarks.bench --tasks nyuv2-depth sintel-flow:frozen --pieces step evaluation --precision fp32
    python -m benchmarks.bench --render figures.json [...]

Networks have random weights and data are noise of the datasets' sizes. A floor is the work's operations at the rate of a large
matrix product in the same precision, plus the bytes that the optimiser moves at the rate of a copy. On a CPU with
OMP_NUM_THREADS=1 the times are processor time, which other processes hardly change. FILE.json gets a FILE.md beside it; both are
written anew after every figure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.bench import render
from benchmarks.bench.figures import Figure
from benchmarks.bench.machine import describe, measure_rates
from benchmarks.bench.measure import Bench, Plan
from benchmarks.bench.samples import known
from croco_bench import registry

PIECES = ("forward", "pretrain", "step", "evaluation", "loader")


def arguments_of(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if cuda else "cpu")
    parser.add_argument("--tasks", nargs="*", metavar="TASK[:RECIPE]", help="default: `paper` of one task per group")
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument(
        "--precision", nargs="+", choices=["fp32", "tf32", "bf16", "fp16"], help="default: bf16; fp32 on a CPU"
    )
    parser.add_argument("--ckpt", default="random:mae-vitb")
    parser.add_argument("--pretrain-recipe", default="croco-v1")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", dest="changes", help="for recipes of tasks"
    )
    parser.add_argument("--pretrain-set", nargs="*", default=[], metavar="KEY=VALUE", help="for the pre-training's")
    parser.add_argument("--batch", type=int, default=0, help="of steps; default: the recipe's on a GPU, 2 on a CPU")
    parser.add_argument("--workers", type=int, default=8 if cuda else 0, help="of the loader")
    parser.add_argument("--seconds", type=float, default=150.0, help="for everything; what doesn't fit is left out")
    parser.add_argument("--reference", default="", help="folder of a checkout of naver/croco")
    parser.add_argument("--out", type=Path, help="file of figures, .json")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: tries the command, the figures mean nothing")
    parser.add_argument(
        "--render", nargs="+", type=Path, metavar="FILE", help="only print files of figures as Markdown"
    )
    return parser.parse_args(given)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the arguments ask for."""
    groups: dict[str, str] = {}
    for entry in (one for one in registry.tasks() if known(one.name)):
        groups.setdefault(entry.card.group or entry.name, entry.name)
    tasks = list(groups.values()) if arguments.tasks is None else arguments.tasks
    return Plan(
        device=torch.device(arguments.device),
        tasks=tuple(tasks),
        pieces=tuple(arguments.pieces),
        precisions=tuple(arguments.precision or (["bf16"] if arguments.device == "cuda" else ["fp32"])),
        ckpt=arguments.ckpt,
        pretrain_recipe=arguments.pretrain_recipe,
        changes=tuple(arguments.changes),
        pretrain_changes=tuple(arguments.pretrain_set),
        batch=arguments.batch,
        workers=arguments.workers,
        seconds=arguments.seconds,
        reference=arguments.reference,
        tiny=arguments.tiny,
    )


def main(given: list[str] | None = None) -> None:
    """Reads the arguments, measures, prints and writes."""
    arguments = arguments_of(given)
    if arguments.render:
        print("\n".join(render.markdown(*render.read(path)) for path in arguments.render))
        return
    plan, began = plan_of(arguments), time.monotonic()
    machine, found = describe(plan.device), list[Figure]()
    rates = measure_rates(plan.device, 0.0 if plan.tiny else 0.5, tiny=plan.tiny)
    with TemporaryDirectory() as folder:
        bench = Bench(plan, rates, Path(folder))
        for figure in bench.figures():
            found.append(figure)
            shown = figure.failed or f"{1e3 * (figure.seconds or 0):.1f} ms of {figure.items} {figure.unit}s"
            print(
                f"{time.monotonic() - began:6.1f} s  {figure.piece}, {figure.name} {figure.precision}: {shown}",
                flush=True,
            )
            if arguments.out:
                render.write(arguments.out, machine, rates, found)
                arguments.out.with_suffix(".md").write_text(render.markdown(machine, rates, found), encoding="utf-8")
    print(render.markdown(machine, rates, found))


if __name__ == "__main__":
    main()
