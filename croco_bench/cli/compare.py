"""The `compare` command: is one backbone better than another, and how sure is that?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_EXAMPLES = """
Examples:

All tasks that both have results of, then some:

  croco-bench compare croco-v2 mae-vitb

  croco-bench compare croco-v2 mae-vitb --task nyuv2-depth --task taskonomy

Other metrics than the table's; results of two people; a file:

  croco-bench compare croco-v2 mae-vitb --task nyuv2-depth --metric rmse --metric 'eigen/*'

  croco-bench compare croco-v2 mae-vitb --results mine --results theirs

  croco-bench compare croco-v2 mae-vitb --format json --out compared.json

Every pair of three backbones, and their mean ranks:

  croco-bench compare croco-v2 mae-vitb multimae-vitb --recipe paper

Methods instead of files: several pre-trainings of each, names or globs:

  croco-bench compare 'croco=croco-*' 'mae=mae-1,mae-2,mae-3'

A row reads, for three seeds each:

  nyuv2-depth δ1 (%)  85.6  83.5  +2.1 % better [+0.4, +3.8]  0.021  holds

"holds": the first backbone is better; "does not hold": it is worse;
"undecided": these runs can't tell. In brackets, the 95 % interval over
other images (whole scenes or films where results name them) and other
seeds, or pre-trainings of methods. With several rows, p-values and
verdicts are corrected for their number (Holm). docs/statistics.md says
how, and why.
"""


def compare_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            help="Names of backbones, as the table shows them; or NAME=BACKBONE,… for pre-trainings of a method.",
        ),
    ],
    task: Annotated[list[str] | None, typer.Option(help="Only this task or group; or a glob. May be repeated.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Key of a metric, such as eigen/rmse; or a glob. May be repeated. Default: the table's."),
    ] = None,
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of result files; may be repeated.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe.")] = None,
    format: Annotated[
        Literal["terminal", "markdown", "latex", "json"], typer.Option(help="How to print it.")
    ] = "terminal",
    out: Annotated[Path | None, typer.Option(help="Write to a file instead.")] = None,
) -> None:
    """Compare backbones on the same images: difference, 95 % interval, p-value, verdict."""
    from croco_bench.tables.comparison.compare import compare
    from croco_bench.tables.comparison.render import RENDERERS

    folders = results or [Path("results")]
    found = compare(models, folders, tasks=task or (), metrics=metric or (), recipe=recipe)
    text = RENDERERS[format](found)
    if out is None:
        typer.echo(text)
        return
    from croco_bench.files import atomic_output

    with atomic_output(out) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="compare", epilog=_EXAMPLES)(compare_command)
