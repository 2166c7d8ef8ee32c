"""The `models` command: what is known by name, what downloads hold, and a first look at any checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from croco_bench.errors import UsageError

EXAMPLES = """
Examples:

  croco-bench models

  croco-bench models --verify                                   compare downloaded files with their checksums

  croco-bench models --try mine.pth --image kitchen.jpg         facts, one forward pass, a picture of the features

  croco-bench models --try timm:resnet50 --image-size 224x320
"""


def models(
    ckpt: Annotated[
        str | None, typer.Option("--try", metavar="CKPT", help="Load this checkpoint and say all about it.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="With --try: an image; default: a rendered room.")] = None,
    image_size: Annotated[str, typer.Option(metavar="N|HxW", help="With --try: size to encode, in pixels.")] = "224",
    out: Annotated[
        Path | None, typer.Option(help="With --try: where the picture goes; default: <name>-features.png.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare downloaded files with their checksums.")] = False,
) -> None:
    """List the checkpoints that are known by name: family, training data, license, where they come from."""
    if ckpt is not None:
        from croco_bench.workflows.try_backbone import try_backbone

        typer.echo(try_backbone(ckpt, _size(image_size), image, out))
    elif image is not None or out is not None:
        raise UsageError("--image and --out belong to --try", "name a checkpoint: --try CKPT")
    elif verify:
        _verify()
    else:
        _list()


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides) or len(sides) > 2:
        raise UsageError(f"--image-size {text} should be a number of pixels, or HEIGHTxWIDTH")
    return int(sides[0]), int(sides[-1])


def _list() -> None:
    from croco_bench import registry
    from croco_bench.backbones import zoo
    from croco_bench.backbones.provenance import training_data

    for entry in zoo.ENTRIES:
        saw = _told(training_data(entry.name))
        typer.echo(f"{entry.name:<22} {entry.family:<9} {entry.summary}  [saw {saw}; {entry.license}; {entry.url}]")
    for own in registry.backbones():
        saw = _told(own.card.training_data)
        typer.echo(
            f"{own.name:<22} {'code':<9} {own.card.summary}  [saw {saw}; {own.card.license}; from {own.distribution}]"
        )


def _told(sets: tuple[str, ...] | None) -> str:
    return "unknown data" if sets is None else ", ".join(sets) or "no data"


def _verify() -> None:
    """Prints a line per downloaded file; exit code 1 if one has changed."""
    from croco_bench.backbones.verify import verify_downloads

    checks = verify_downloads()
    for check in checks:
        typer.echo(f"{'ok  ' if check.ok else 'BAD '}{check.name:<22} {check.told}")
    if not checks:
        typer.echo("no checkpoint of the list has been downloaded")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
