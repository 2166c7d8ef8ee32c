"""The commands `bundle` and `card`: results to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from croco_bench.errors import BenchError, UsageError

_EXAMPLES = """
Examples:

Results, the rows behind them, recipes and pictures in one file:

  croco-bench bundle --results results --recipe paper --out ours.zip

  croco-bench bundle --model 'croco*' --weights --out croco.zip          also fine-tuned weights

What somebody else's bundle says, made again from its rows, or from its weights and one's own data:

  croco-bench bundle check theirs.zip

  croco-bench bundle check theirs.zip --data-root /data

A page of all bundles (*.zip) in a folder:

  croco-bench bundle page bundles --out leaderboard.html
"""

bundle_app = typer.Typer(
    help="Results in one file, which others can check; pages of several.", invoke_without_command=True, epilog=_EXAMPLES
)


@bundle_app.callback()
def bundle_command(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="The bundle, such as ours.zip.")] = None,
    results: Annotated[Path, typer.Option("--results", help="Folder of result files.")] = Path("results"),
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe; or a glob.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task or group; or a glob. May be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this backbone; or a glob. May be repeated.")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="With fine-tuned weights, so that others can score them.")
    ] = False,
) -> None:
    """Write results, the rows behind them, recipes and pictures into one file."""
    if context.invoked_subcommand is not None:
        return
    from croco_bench.records.selection import Selection
    from croco_bench.sharing.bundle import bundle

    if out is None:
        raise UsageError("where should the bundle go?", "give --out FILE.zip")
    selection = Selection(tuple(task or ()), (), tuple(model or ()))
    count = bundle(results, out, recipe=recipe, selection=selection, weights=weights)
    typer.echo(f"wrote {out}: {count} results, {out.stat().st_size / 1e6:.1f} MB")


@bundle_app.command("check")
def check_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Also score fine-tuned weights in it on the data in this folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
) -> None:
    """Compare checksums, then make every metric again from the rows; exit code 1 where something doesn't agree."""
    from croco_bench.sharing.check import check

    found = check(bundle, data_root=data_root, device=device)
    typer.echo(f"{found.results} results, whole; {found.again} metrics made again from their rows")
    if found.unscored:
        typer.echo(f"not in the rows: {', '.join(sorted(found.unscored))}")
    if data_root is not None:
        typer.echo(f"{found.scored} results scored again from their weights")
    for text in (*found.notes, *found.faults):
        typer.echo(text)
    if found.faults:
        raise BenchError(f"{bundle}: {len(found.faults)} results or metrics don't agree")


@bundle_app.command("page")
def page_command(
    folder: Annotated[Path, typer.Argument(help="Folder of bundles.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("leaderboard.html"),
) -> None:
    """Make a page of all bundles in a folder, to sort, filter and compare in."""
    from croco_bench.sharing.leaderboard import leaderboard

    count, complaints = leaderboard(folder, out)
    for text in complaints:
        typer.echo(f"left out: {text}", err=True)
    typer.echo(f"wrote {out}: {count} bundles")


_CARD_EXAMPLES = """
Examples:

  croco-bench card croco-v2 --results results --out README.md

  croco-bench card mini-croco --recipe mini
"""


def card_command(
    model: Annotated[str, typer.Argument(help="Name of a backbone, as the table shows it.")],
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of result files; may be repeated.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only results of this recipe; or a glob.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead.")] = None,
) -> None:
    """Write a model card in Markdown: identity, data, license, all results, deviations, commands."""
    from croco_bench.sharing.card import card

    text = card(model, results or [Path("results")], recipe)
    if out is None:
        typer.echo(text, nl=False)
        return
    from croco_bench.files import atomic_output

    with atomic_output(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(bundle_app, name="bundle")
    app.command(name="card", epilog=_CARD_EXAMPLES)(card_command)
