"""The `sweep` command: many runs with one command, and a look at where they stand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from croco_bench.errors import UsageError

_WATCH_S = 2.0
_EXAMPLES = """
Examples:

Backbones x tasks x recipes x seeds; the same command skips what is done and goes on with the rest:

  croco-bench sweep --ckpt CroCo.pth --ckpt mae-vitb --task nyuv2-depth --task 'taskonomy-*' --seeds 3 --data-root /data

  croco-bench sweep --ckpt 'mini-*' --ckpt random=random:mini-croco --task '*' --recipe mini --seeds 0-4 --jobs 2

A plan in a file, which can be committed; options replace what it says:

  croco-bench sweep plan.toml --jobs 8 --device cuda

  croco-bench sweep plan.toml --dry-run

Where it stands, from any machine that sees the folder of results:

  croco-bench sweep status --results results --watch

docs/sweep.md has the form of plans, and what happens on several GPUs.
"""


def sweep_command(
    plan: Annotated[
        str | None, typer.Argument(metavar="[PLAN|status]", help="A .toml file; or the word status: only look.")
    ] = None,
    ckpt: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CKPT, or CKPT as croco-bench run takes it, or a glob of models; may be repeated."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task, a group, or a glob; may be repeated.")] = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe; may be repeated. Tasks without it are left out. Default: paper.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many, such as 3; or which, such as 0-4 or 0,2. Default: 1.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="RECIPE/TASK/BACKBONE to leave out; may be repeated.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with one folder per dataset. Default: the plan's, or $CROCO_BENCH_DATA.")
    ] = None,
    results: Annotated[Path | None, typer.Option("--results", help="Folder of result files. Default: results.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most N images of each split.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe setting; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, or jobs. Default: one run per GPU, or per four cores.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of each run, by torchrun, each with a GPU.")] = 1,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a run (or job) is begun again if its process dies.")
    ] = 1,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace results with other settings, data or weights.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Open data and weights of finished runs, too, to see that they are the same."),
    ] = False,
    executor: Annotated[
        Literal["local", "slurm", "submitit-local"],
        typer.Option(help="This machine; or a job array of Slurm; or, to try it, the same jobs on this machine."),
    ] = "local",
    per_job: Annotated[int, typer.Option(min=1, help="With jobs: runs that each does.")] = 1,
    at_a_time: Annotated[
        int | None,
        typer.Option(
            min=1, help="With jobs: runs that a job does at the same time. Default: one per GPU, or four cores."
        ),
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Slurm's.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm's.")] = None,
    time_limit: Annotated[str | None, typer.Option("--time", help="Slurm's, of each job. Default: 24:00:00.")] = None,
    mem: Annotated[str | None, typer.Option(help="Slurm's, such as 32GB.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Slurm's gpus-per-node.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Slurm's cpus-per-task.")] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Another option of sbatch; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and how long it takes.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="With status: look again every few seconds.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With status: all sweeps that were started there.")] = False,
) -> None:
    """Run backbones x tasks x recipes x seeds; finished runs are skipped, interrupted ones go on."""
    from croco_bench.sweeps.cells import Surroundings
    from croco_bench.sweeps.cluster import Cluster
    from croco_bench.sweeps.local import Machine
    from croco_bench.sweeps.plan import Plan, plan_of, read_plan
    from croco_bench.sweeps.sweep import dry_run as make_dry_run
    from croco_bench.sweeps.sweep import sweep

    if plan == "status":
        _status(results or Path("results"), watch=watch, every=every)
        return
    given = _given(
        backbones=ckpt, tasks=task, recipes=recipe, seeds=_number(seeds), exclude=exclude, set=changes, limit=limit
    )
    made: Plan = read_plan(Path(plan), given) if plan is not None else plan_of(_complete(given))
    around = Surroundings(
        results=results or made.results or Path("results"),
        data_root=data_root or made.data_root,
        device=device,
        replace=replace,
        verify=verify,
        processes=processes,
    )
    if dry_run:
        typer.echo(make_dry_run(made, around, jobs=jobs))
    else:
        on: Machine | Cluster = Machine(jobs, retries)
        if executor != "local":
            options = _given(
                partition=partition, account=account, time=time_limit, mem=mem, gpus=_text(gpus), cpus=_text(cpus)
            )
            on = Cluster(executor, {**options, **_pairs(slurm or ())}, jobs, per_job, at_a_time, retries)
        sweep(made, around, on)


def _number(seeds: str | None) -> int | str | None:
    """A single number is how many seeds there are."""
    return int(seeds) if seeds is not None and seeds.isdecimal() else seeds


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` texts; `-`-signs before a key don't matter."""
    pairs = [word.partition("=") for word in words]
    for key, equals, value in pairs:
        if not equals or not key.strip("-") or not value:
            raise UsageError(f"--slurm {key}{equals}{value} isn't KEY=VALUE", "write for instance --slurm qos=low")
    return {key.strip("-"): value for key, _, value in pairs}


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value}


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    for key, option in (("backbones", "--ckpt"), ("tasks", "--task")):
        if key not in given:
            raise UsageError(f"a sweep needs {option}, or a plan", "croco-bench sweep --help has examples")
    return given


def _status(results: Path, *, watch: bool, every: bool) -> None:
    """Prints the overview, with `watch` again and again until all runs have ended."""
    from croco_bench.sweeps.overview import Screen
    from croco_bench.sweeps.sweep import status

    if not watch:
        typer.echo("\n".join(status(results, every=every).lines()))
        return
    with Screen() as screen:
        while (overview := status(results, every=every)).open:
            screen.show(overview)
            time.sleep(_WATCH_S)
    typer.echo("\n".join(overview.lines()))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="sweep", epilog=_EXAMPLES)(sweep_command)
