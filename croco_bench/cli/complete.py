"""The `complete` command: cross-view completion of one's own pair of images, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

  croco-bench complete left.jpg right.jpg --ckpt mini-croco

  croco-bench complete left.jpg right.jpg --ckpt croco-v2-vitb-base

  croco-bench complete left.jpg right.jpg --ckpt runs/croco/checkpoint-last.pth --wrong elsewhere.jpg --mask-ratio 0.8
"""


def complete_command(
    image1: Annotated[Path, typer.Argument(help="An image.")],
    image2: Annotated[Path, typer.Argument(help="Another view of the same place.")],
    ckpt: Annotated[str, typer.Option(help="A CroCo checkpoint with mask token and prediction head.")],
    out: Annotated[Path, typer.Option(help="The PNG file.")] = Path("completion.png"),
    wrong: Annotated[Path | None, typer.Option(help="The wrong reference; default: a rendered room.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the network's images; default: its own.")] = None,
    mask_ratio: Annotated[float, typer.Option(help="Share of hidden patches.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of the masks.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
) -> None:
    """Complete each image from the other, and from a wrong reference; a ratio well below 1 says that the other was used."""
    from croco_bench.pretraining.complete import complete

    found = complete(
        (image1, image2),
        ckpt,
        out,
        wrong=wrong,
        image_size=None if size is None else (size, size),
        mask_ratio=mask_ratio,
        seed=seed,
        device=device,
    )
    for path, one in zip((image1, image2), found, strict=True):
        typer.echo(f"{path.name}: error {one.error:.3f}, wrong reference {one.error_wrong:.3f}, ratio {one.ratio:.2f}")
    typer.echo(f"wrote {out}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="complete", epilog=_EXAMPLES)(complete_command)
