"""The `plot` command: figures of results for papers and talks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from croco_bench.plots.figure import Cost, Kind

EXAMPLES = """
Kinds:

  bars         every backbone in every task, with 95 % intervals and the table's numbers

  dots         the same as dots, with those of single seeds

  cost         score against --cost: parameters, operations (flops), images/s, memory or time

  curves       loss and selection metric against steps, of runs whose folder holds a log

  efficiency   score against the number of training images, of runs that differ in nothing else

  layers       selection metric against the block that is read: head.layers=auto, and correspondence

Examples:

  croco-bench plot bars --results results --recipe mini --out scores.pdf

  croco-bench plot dots --task nyuv2-depth --metric delta1 --metric 'eigen/*' --out depth.svg --out depth.png

  croco-bench plot cost --cost flops --model 'croco*' --model mae-vitb --out cost.pdf

  croco-bench plot curves --task sintel-flow --out curves.pdf

  croco-bench plot efficiency --task taskonomy-depth --out labels.pdf

  croco-bench plot layers --task 'correspondence*' --out blocks.pdf

The rules are those of `croco-bench table`: a mark holds runs of one backbone, one setting and one
dataset; what isn't ranked is hollow, and its label says why. Equal results give equal files.
"""


def plot(
    kind: Annotated[Kind, typer.Argument(help="bars, dots, cost, curves, efficiency or layers; see below.")],
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of result files; may be repeated.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", help="File that ends with .pdf, .svg or .png; may be repeated. Default: KIND.pdf."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task or group; or a glob. May be repeated.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Key of a metric, such as eigen/rmse; or a glob. May be repeated. Default: the table's."),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this backbone; or a glob. May be repeated.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe.")] = None,
    limited: Annotated[bool, typer.Option("--limited", help="Also runs that saw only part of the test split.")] = False,
    cost: Annotated[Cost, typer.Option(help="Axis of `cost`.")] = "parameters",
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Setting that may differ within a line of `efficiency`; may be repeated."),
    ] = None,
) -> None:
    """Draw results: bars, dots, score against cost, training curves, label efficiency, scores by block."""
    from croco_bench.plots.make import make
    from croco_bench.records.selection import Selection

    paths = out or [Path(f"{kind}.pdf")]
    notes = make(
        kind,
        results or [Path("results")],
        paths,
        recipe=recipe,
        selection=Selection(tuple(task or ()), tuple(metric or ()), tuple(model or ())),
        include_limited=limited,
        cost=cost,
        vary=vary or (),
    )
    for text in [*notes, *(f"wrote {path}" for path in paths)]:
        typer.echo(text, err=True)
