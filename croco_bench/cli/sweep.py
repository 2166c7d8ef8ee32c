"""The `sweep` command: many runs with one command, and a look at where they stand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from croco_bench.cli.option_groups import GroupedCommand, from_groups
from croco_bench.cli.sweep_options import AmountOptions, LookOptions, PlaceOptions, RunOptions, SlurmOptions

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


@from_groups
def sweep_command(
    plan: Annotated[
        str | None, typer.Argument(metavar="[PLAN|status]", help="A .toml file; or the word status: only look.")
    ] = None,
    *,
    runs: RunOptions,
    place: PlaceOptions,
    amount: AmountOptions,
    slurm: SlurmOptions,
    look: LookOptions,
) -> None:
    """Run backbones x tasks x recipes x seeds; finished runs are skipped, interrupted ones go on."""
    from croco_bench.sweeps.sweep import dry_run, sweep

    if plan == "status":
        _status(place.results or Path("results"), watch=look.watch, every=look.every)
        return
    made = runs.plan(plan)
    around = amount.around(place, made)
    if look.dry_run:
        typer.echo(dry_run(made, around, jobs=amount.jobs))
    else:
        sweep(made, around, amount.on(slurm))


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
    app.command(name="sweep", epilog=_EXAMPLES, cls=GroupedCommand)(sweep_command)
