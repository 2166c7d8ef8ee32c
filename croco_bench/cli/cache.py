"""The `cache` command: what downloads and kept features take, and their removal."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

_EXAMPLES = """
Examples:

  croco-bench cache                                       what it holds, largest first

  croco-bench cache --clear vectors --older-than 30       kept vectors that weren't written for 30 days

  croco-bench cache --clear tokens                        those of dense probes, the largest

  croco-bench cache --clear all

The cache is $CROCO_BENCH_CACHE, or croco-bench below $XDG_CACHE_HOME (default: ~/.cache). Whatever is removed is made or
downloaded again when it is needed.
"""


def cache_command(
    kind: Annotated[
        Literal["vectors", "tokens", "archives", "compiled", "downloads", "all"] | None,
        typer.Option(
            "--clear",
            help="Remove kept vectors or tokens, lists of archives, compiled networks, downloads or all.",
        ),
    ] = None,
    older_than: Annotated[
        float, typer.Option(min=0, help="With --clear: only what is at least so many days old.")
    ] = 0.0,
) -> None:
    """List what the cache holds, or clear it."""
    from croco_bench.files import cache_folder
    from croco_bench.workflows.cache import clear, entries

    if kind is None:
        found = entries()
        for entry in found:
            size = f"{entry.size / 1e6:.1f} MB"
            typer.echo(f"{size:>12}  {entry.kind:<9}  {entry.age_days:4.0f} days  {entry.path.name}  {entry.about}")
        typer.echo(f"{sum(entry.size for entry in found) / 1e6:>9.1f} MB  in {cache_folder()}")
        return
    removed, used = clear(
        ("vectors", "tokens", "archives", "compiled", "downloads") if kind == "all" else (kind,), older_than
    )
    for entry in used:
        typer.echo(f"in use, kept: {entry.path}", err=True)
    typer.echo(
        f"removed {len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.1f} MB, of {cache_folder()}"
    )


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="cache", epilog=_EXAMPLES)(cache_command)
