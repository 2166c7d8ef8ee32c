"""The options of `croco-bench sweep`, by what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from croco_bench.cli.option_groups import option_group
from croco_bench.errors import UsageError

if TYPE_CHECKING:
    from croco_bench.sweeps.cells import Surroundings
    from croco_bench.sweeps.cluster import Cluster
    from croco_bench.sweeps.local import Machine
    from croco_bench.sweeps.plan import Plan


@option_group("What is run (with a plan: instead of what it says)")
@dataclass(frozen=True)
class RunOptions:
    """Which runs there are."""

    ckpt: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CKPT, or CKPT as croco-bench run takes it, or a glob of models; may be repeated."),
    ] = None
    task: Annotated[list[str] | None, typer.Option(help="A task, a group, or a glob; may be repeated.")] = None
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe; may be repeated. Tasks without it are left out. Default: paper.")
    ] = None
    seeds: Annotated[
        str | None, typer.Option(help="How many, such as 3; or which, such as 0-4 or 0,2. Default: 1.")
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="RECIPE/TASK/BACKBONE to leave out; may be repeated.")
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most N images of each split.")] = None
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe setting; may be repeated.")
    ] = None

    def plan(self, file: str | None) -> Plan:
        """The runs of a plan's file, changed by these options; without a file, of these alone.

        Raises:
            UsageError: a name or value is wrong, or without a file backbones or tasks are missing.
        """
        from croco_bench.sweeps.plan import plan_of, read_plan

        seeds = int(self.seeds) if self.seeds is not None and self.seeds.isdecimal() else self.seeds
        given = _given(
            backbones=self.ckpt,
            tasks=self.task,
            recipes=self.recipe,
            seeds=seeds,
            exclude=self.exclude,
            set=self.changes,
            limit=self.limit,
        )
        if file is not None:
            return read_plan(Path(file), given)
        for key, option in (("backbones", "--ckpt"), ("tasks", "--task")):
            if key not in given:
                raise UsageError(f"a sweep needs {option}, or a plan", "croco-bench sweep --help has examples")
        return plan_of(given)


@option_group("Where it reads and writes")
@dataclass(frozen=True)
class PlaceOptions:
    """Folders, and what becomes of results that are there."""

    data_root: Annotated[
        Path | None, typer.Option(help="Folder with one folder per dataset. Default: the plan's, or $CROCO_BENCH_DATA.")
    ] = None
    results: Annotated[Path | None, typer.Option("--results", help="Folder of result files. Default: results.")] = None
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Start over where a result or saved state has other settings, data or weights."),
    ] = False
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Open data and weights of finished runs, too, to see that they are the same."),
    ] = False


@option_group("How many at a time, and on what")
@dataclass(frozen=True)
class AmountOptions:
    """The machine, and its division among runs."""

    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto"
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, or jobs. Default: one run per GPU, or per four cores, or per core where images are small.",
        ),
    ] = None
    processes: Annotated[int, typer.Option(min=1, help="Processes of each run, by torchrun, each with a GPU.")] = 1
    retries: Annotated[
        int, typer.Option(min=0, help="How often a run (or job) is begun again if its process dies.")
    ] = 1
    executor: Annotated[
        Literal["local", "slurm", "submitit-local"],
        typer.Option(help="This machine; or a job array of Slurm; or, to try it, the same jobs on this machine."),
    ] = "local"

    def around(self, place: PlaceOptions, plan: Plan) -> Surroundings:
        """What all runs of the plan share."""
        from croco_bench.sweeps.cells import Surroundings

        return Surroundings(
            results=place.results or plan.results or Path("results"),
            data_root=place.data_root or plan.data_root,
            device=self.device,
            replace=place.replace,
            verify=place.verify,
            processes=self.processes,
        )

    def on(self, slurm: SlurmOptions) -> Machine | Cluster:
        """What does the runs."""
        from croco_bench.sweeps.cluster import Cluster
        from croco_bench.sweeps.local import Machine

        if self.executor == "local":
            return Machine(self.jobs, self.retries)
        return Cluster(self.executor, slurm.sbatch(), self.jobs, slurm.per_job, slurm.at_a_time, self.retries)


@option_group("Jobs of Slurm (with --executor)")
@dataclass(frozen=True)
class SlurmOptions:
    """What a job does, and what it asks the cluster for."""

    per_job: Annotated[int, typer.Option(min=1, help="Runs that each job does.")] = 1
    at_a_time: Annotated[
        int | None,
        typer.Option(min=1, help="Runs that a job does at the same time. Default: one per GPU, or four cores."),
    ] = None
    partition: Annotated[str | None, typer.Option(help="Slurm's.")] = None
    account: Annotated[str | None, typer.Option(help="Slurm's.")] = None
    time_limit: Annotated[str | None, typer.Option("--time", help="Slurm's, of each job. Default: 24:00:00.")] = None
    mem: Annotated[str | None, typer.Option(help="Slurm's, such as 32GB.")] = None
    gpus: Annotated[int | None, typer.Option(min=0, help="Slurm's gpus-per-node.")] = None
    cpus: Annotated[int | None, typer.Option(min=1, help="Slurm's cpus-per-task.")] = None
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Another option of sbatch; may be repeated.")
    ] = None

    def sbatch(self) -> dict[str, str]:
        """Options by Slurm's names.

        Raises:
            UsageError: one isn't KEY=VALUE.
        """
        numbers = {key: str(count) for key, count in (("gpus", self.gpus), ("cpus", self.cpus)) if count is not None}
        words = _given(partition=self.partition, account=self.account, time=self.time_limit, mem=self.mem)
        return {**words, **numbers, **_pairs(self.slurm or ())}


@option_group("Only look")
@dataclass(frozen=True)
class LookOptions:
    """Nothing is run."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and how long it takes.")] = False
    watch: Annotated[bool, typer.Option("--watch", help="With status: look again every few seconds.")] = False
    every: Annotated[bool, typer.Option("--all", help="With status: all sweeps that were started there.")] = False


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value}


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` texts; `-`-signs before a key don't matter."""
    pairs = [word.partition("=") for word in words]
    for key, equals, value in pairs:
        if not equals or not key.strip("-") or not value:
            raise UsageError(f"--slurm {key}{equals}{value} isn't KEY=VALUE", "write for instance --slurm qos=low")
    return {key.strip("-"): value for key, _, value in pairs}
