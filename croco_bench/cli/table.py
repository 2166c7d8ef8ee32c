"""The `table` command: results beside published numbers, published numbers alone, or measured minus published."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from croco_bench.errors import UsageError

if TYPE_CHECKING:
    from croco_bench import tables

Format = Literal["terminal", "markdown", "latex", "csv", "json", "html"]
EXAMPLES = """
Examples:

  croco-bench table --results results --recipe mini

  croco-bench table --format html --out table.html          a page to sort, filter and compare in; --pictures for whole sheets

  croco-bench table --published                     all numbers that papers reported, by task

  croco-bench table --published --like croco        the tables of CroCo's paper

  croco-bench table --against published             measured minus published, with intervals
"""


def table(
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of result files; may be repeated.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe.")] = None,
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

    text_format = _text_format(format, out, pictures=pictures)
    folders, extra = results or [Path("results")], published_dir or []
    if like is not None or (published and results is None):
        if against is not None or published is False:
            raise UsageError(
                "--like and --published print published numbers alone", "leave --against and --no-published out"
            )
        text = tables.make_published(like, format=text_format, published_folders=extra)
    elif against is not None:
        text = tables.make_against(folders, recipe=recipe, format=text_format, published_folders=extra)
    else:
        text = tables.make(
            folders,
            recipe=recipe,
            format=text_format,
            published="beside" if published is None else "apart" if published else "none",
            include_limited=limited,
            ties=ties,
            tests=tests,
            published_folders=extra,
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


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text)
        return
    from croco_bench.files import atomic

    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)
