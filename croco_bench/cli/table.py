"""The `table` command: results beside published numbers, published numbers alone, or measured minus published."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from croco_bench.errors import UsageError

if TYPE_CHECKING:
    from croco_bench import tables

Format = Literal["terminal", "markdown", "latex", "csv", "json", "html"]
EXAMPLES = """
Examples:

All results of a folder and one recipe; a page to sort, filter and compare in
(--pictures for whole sheets):

  croco-bench table --results results --recipe mini

  croco-bench table --format html --out table.html

Some tasks, in this order, and some backbones; other metrics and protocols:

  croco-bench table --task nyuv2-depth --task 'taskonomy-*' --model 'croco*' --model mae-vitb

  croco-bench table --task nyuv2-depth --metric delta1 --metric 'eigen/*' --sort eigen/rmse

Several pre-trainings of each method, each in a row of its own and in one row:

  croco-bench table --results results/pretrainings --model 'croco-?' --model 'mae-?'

  croco-bench table --results results/pretrainings --method 'croco=croco-?' --method 'mae=mae-?'

Every seed, all recipes side by side, scenes, classes:

  croco-bench table --task nyuv2-depth --rows seed

  croco-bench table --task nyuv2-depth --rows recipe

  croco-bench table --task nyuv2-depth --columns scene --transpose

  croco-bench table --task ade20k-seg --columns class --metric iou --transpose

A table for a paper (it needs the package booktabs) and numbers for a program:

  croco-bench table --recipe paper --format latex --digits 2 --out table.tex

  croco-bench table --format csv --no-published --out results.csv

Published numbers; the tables of CroCo's paper; measured minus published:

  croco-bench table --published --task nyuv2-depth

  croco-bench table --published --like croco

  croco-bench table --against published

Globs: * is any text, ? one letter, [ab] one of these; small and capital letters are
the same. Quote them, so that the shell leaves them alone. A group (taskonomy) stands
for its mean rank and its tasks. Metrics are those of croco-bench show; last/... (of the
last weights) come only where the glob begins with last/.

In a terminal, a table that is too wide is turned if it fits so, and otherwise goes on in
blocks below each other; in a pipe or file it is 120 letters wide. docs/tables.md has more.
"""


def table(
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of result files; may be repeated.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task or group; or a glob. May be repeated.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Key of a metric, such as eigen/rmse; or a glob. May be repeated. Default: headline metrics."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this backbone, or published numbers of it; or a glob. May be repeated."),
    ] = None,
    rows: Annotated[
        Literal["model", "recipe", "seed"],
        typer.Option(help="A row is a backbone (mean over seeds), a backbone under a recipe, or a single run."),
    ] = "model",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=BACKBONE,... (names or globs): pre-trainings of one method in one row, mean and deviation over them. "
            "May be repeated."
        ),
    ] = None,
    columns: Annotated[
        Literal["metric", "scene", "class"],
        typer.Option(help="A column is a metric; or a scene or class, with a table for each metric."),
    ] = "metric",
    sort: Annotated[
        str, typer.Option(help="Sort rows by this column, best first: a task, a metric, task/metric; or by name.")
    ] = "",
    digits: Annotated[
        int | None, typer.Option(min=0, max=15, help="Digits after the point. Default: those of each metric.")
    ] = None,
    transpose: Annotated[
        bool | None,
        typer.Option(
            "--transpose/--no-transpose",
            help="Tasks as rows, backbones as columns. Default: in a terminal where the table fits only so.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=30, help="Letters in a line of the terminal's format. Default: the terminal's, or 120."),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = "terminal",
    published: Annotated[
        bool | None,
        typer.Option(
            "--published/--no-published",
            help="Published numbers in tables of their own, below the results of --results if it is given; or none. "
            "Default: beside results on the same real data.",
        ),
    ] = None,
    like: Annotated[str | None, typer.Option(help="Published numbers of one source, as it prints them.")] = None,
    published_dir: Annotated[
        list[Path] | None, typer.Option(help="Folder of .toml files with further published numbers; may be repeated.")
    ] = None,
    against: Annotated[Literal["published"] | None, typer.Option(help="Print differences from published ones.")] = None,
    ties: Annotated[
        Literal["mean", "best"],
        typer.Option(help="Rank that equal values share: the mean, or the best as in CroCo's paper."),
    ] = "mean",
    tests: Annotated[
        bool,
        typer.Option("--tests/--no-tests", help="Mark as best only what a paired test separates; or best by value."),
    ] = True,
    limited: Annotated[bool, typer.Option("--limited", help="Also runs that saw only part of the test split.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead.")] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="With --format html: put whole contact sheets into a folder beside the page."),
    ] = False,
) -> None:
    """Set all results beside the published numbers."""
    from croco_bench import tables
    from croco_bench.records.selection import Selection
    from croco_bench.tables.render import Layout
    from croco_bench.tables.shape import Shape

    alone = like is not None or (published is True and results is None)
    _check(alone, against, published, rows, columns)
    if method and (alone or against is not None):
        raise UsageError("--method gathers rows of backbones", "leave it out with --like, --published and --against")
    folders = results or [Path("results")]
    shared: dict[str, Any] = {
        "format": _text_format(format, out, pictures=pictures),
        "published_folders": published_dir or [],
        "selection": Selection(tuple(task or ()), tuple(metric or ()), tuple(model or ())),
        "shape": Shape(rows, columns, sort, digits, tuple(method or ())),
        "layout": Layout(width, out is not None, transpose),
    }
    if alone:
        text = tables.make_published(like, **shared)
    elif against is not None:
        text = tables.make_against(folders, recipe=recipe, **shared)
    else:
        text = tables.make(
            folders,
            recipe=recipe,
            published="beside" if published is None else "apart" if published else "none",
            include_limited=limited,
            ties=ties,
            tests=tests,
            **shared,
        )
    _write(text, out)


def _text_format(format: Format, out: Path | None, *, pictures: bool) -> tables.Format | tables.Renderer:
    """What makes the text; of a page, with a folder for its pictures."""
    if format != "html":
        if pictures:
            raise UsageError("--pictures belongs to a page", "give --format html, too")
        return format
    if pictures and out is None:
        raise UsageError("--pictures needs a place for the pictures, beside the page", "name the page with --out")
    from croco_bench import report  # slow to import, and rarely asked for

    return partial(report.page, pictures=out.with_name(f"{out.stem}-pictures") if out and pictures else None)


def _check(alone: bool, against: str | None, published: bool | None, rows: str, columns: str) -> None:
    """Refuses options that don't go together."""
    if alone and (against is not None or published is False):
        raise UsageError(
            "--like and --published print published numbers alone", "leave --against and --no-published out"
        )
    if (alone or against is not None) and (rows, columns) != ("model", "metric"):
        raise UsageError(
            "--rows and --columns arrange results", "leave them out with --like, --published and --against"
        )


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text)
        return
    from croco_bench.files import atomic_output

    with atomic_output(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)
