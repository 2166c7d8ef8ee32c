"""The `data` commands: list and check datasets, render miniatures, mine pairs, prepare releases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from croco_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from croco_bench.data.catalogue.loader import DatasetInfo
    from croco_bench.data.checks.run_check import Finding

data_app = typer.Typer(
    help="Datasets: what there is, what is wrong, and miniatures to try things on.", no_args_is_help=True
)
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", envvar="CROCO_BENCH_DATA", help="Folder with one folder per dataset (nyuv2/, sintel/, …)."
    ),
]


@data_app.command("list")
def data_list() -> None:
    """Show layout, size, license and link of every dataset."""
    from croco_bench.data.catalogue import CATALOGUE

    for info in CATALOGUE.values():
        typer.echo(f"{info.name}: {info.title}")
        typer.echo(f"  size     {info.size}\n  license  {info.license}\n  get it   {info.link}")
        if info.addresses():
            typer.echo(f"  or       croco-bench data get {info.name}")
        typer.echo("\n".join(f"  | {line}" for line in info.layout.strip("\n").splitlines()) + "\n")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A name from `croco-bench data list`.")],
    data_root: DataRoot = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Draw so many samples of each part into --out. Default with --out: 2.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG file of samples. Default with --samples: NAME-samples.png.")
    ] = None,
) -> None:
    """Check the files of a dataset: what a run uses, what is left out and why; exit code 1 where a run would fail.

    With --samples or --out, also a contact sheet of samples: images, targets in colors, and which pixels count.
    """
    from croco_bench.data.catalogue import dataset_info
    from croco_bench.data.checks.values import look_at_values
    from croco_bench.data.folders import data_folder, is_miniature

    info = dataset_info(name)
    root = data_folder(data_root, info.name)
    findings = info.check(root)
    findings += look_at_values(findings)
    typer.echo(f"{info.title} in {root}{' (a miniature)' if is_miniature(root) else ''}")
    for finding in findings:
        advice = f"\n      {finding.advice}" if finding.advice and (finding.absent or not finding.ok) else ""
        typer.echo(f"  {finding.mark}{finding.what}{advice}")
    if samples is not None or out is not None:
        _draw_samples(info, findings, samples or 2, out or Path(f"{name}-samples.png"))
    if any(finding.stops and not finding.ok for finding in findings):
        raise typer.Exit(1)


def _draw_samples(info: DatasetInfo, findings: Sequence[Finding], count: int, out: Path) -> None:
    """Draws samples of the parts that the findings name."""
    from croco_bench.workflows.data_samples import draw_samples

    readers = [finding.reader for finding in findings if finding.reader is not None]
    if not readers:
        raise DataError(f"no part of {info.name} can be opened, so there is no sample to draw", "see what is BAD above")
    rows = draw_samples(readers, count, out, f"{info.name}: samples as they are read")
    typer.echo(f"wrote {out}: {rows} samples")


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="A name from `croco-bench data list`.")],
    data_root: DataRoot = None,
    allow_http: Annotated[bool, typer.Option("--allow-http", help="Also from servers without encryption.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives once they are unpacked.")] = False,
) -> None:
    """Download and unpack a dataset that is offered without a form; the same command goes on after an interruption."""
    from croco_bench.data.catalogue import dataset_info
    from croco_bench.workflows.get_data import get_dataset

    info = dataset_info(name)
    if data_root is None:
        raise UsageError("where should the dataset go?", "give --data-root DIR or set CROCO_BENCH_DATA")
    root = data_root.expanduser() / info.name
    get_dataset(info, root, allow_http=allow_http, keep=keep)
    typer.echo(f"{root} is there; croco-bench data check {info.name} looks whether it is whole")


@data_app.command("make-mini")
def data_make_mini(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; becomes a data root.")],
    only: Annotated[list[str] | None, typer.Option(help="Only this dataset; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all processors.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="DATASET.KEY=N",
            help="Sizes and counts: nyuv2.train=50, nyuv2.height=480; may be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a miniature with other settings.")] = False,
) -> None:
    """Render miniature datasets of procedural rooms in the official layouts."""
    from croco_bench.data.miniatures.make import make_mini

    make_mini(root, datasets=only, changes=changes or (), seed=seed, workers=workers, overwrite=overwrite)


_PAIRS_EXAMPLES = """
Examples:

  croco-bench data make-pairs /data/7scenes --out pairs/7scenes

  croco-bench data make-pairs /data/scannet --out pairs/scannet --covisibility 0.4 0.6 --crop 256

  croco-bench pretrain --recipe croco-v1 --pairs pairs/scannet/crops --out runs/croco
"""


@data_app.command("make-pairs", epilog=_PAIRS_EXAMPLES)
def data_make_pairs(
    source: Annotated[
        Path, typer.Argument(help="Posed RGB-D video of 7-Scenes, ScanNet, ScanNet++ or with a COLMAP model.")
    ],
    out: Annotated[Path, typer.Option(help="Where pairs.txt, the report and crops go.")],
    every: Annotated[int, typer.Option(min=1, help="Look at every so many frames only.")] = 10,
    covisibility: Annotated[
        tuple[float, float], typer.Option(help="Range of the smaller share of pixels that the other view sees.")
    ] = (0.35, 0.65),
    tolerance: Annotated[
        tuple[float, float],
        typer.Option(help="Depths of one surface differ by up to this many metres and this share of the depth."),
    ] = (0.05, 0.03),
    per_frame: Annotated[int, typer.Option(min=1, help="Most pairs that one frame is in.")] = 4,
    per_sequence: Annotated[int, typer.Option(min=1, help="Most pairs of one sequence.")] = 200,
    split: Annotated[Literal["train", "test", "all"], typer.Option(help="Which sequences.")] = "train",
    crop: Annotated[int | None, typer.Option(min=16, help="Also write square JPEGs of this side.")] = None,
    focal_px: Annotated[float, typer.Option(min=1, help="Focal length of 7-Scenes at 640x480.")] = 525.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all processors.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pairs made with other settings.")] = False,
    accept_unusual: Annotated[
        bool, typer.Option("--accept-unusual", help="Depths are in millimeters, though they don't look so.")
    ] = False,
) -> None:
    """Mine pairs of views that see about half of each other; an interrupted call goes on where it stopped."""
    from croco_bench.data.mining.mine import make_pairs

    make_pairs(
        source,
        out,
        every=every,
        covisibility=covisibility,
        tolerance=tolerance,
        per_frame=per_frame,
        per_sequence=per_sequence,
        split=split,
        crop=crop,
        focal_px=focal_px,
        seed=seed,
        workers=workers,
        overwrite=overwrite,
        accept_unusual=accept_unusual,
    )


# What compares images for `data prepare 7scenes` unless another checkpoint is given.
_RETRIEVAL_CKPT = "timm:vit_small_patch16_224.dino"


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="A name from `croco-bench data list`.")],
    data_root: DataRoot = None,
    ckpt: Annotated[
        str | None, typer.Option(help="Network that compares images, for retrieval lists (7scenes).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Make what a release leaves to its users: lists of Habitat pairs, of retrieval for 7-Scenes, ImageNet's class folders."""
    from croco_bench.data.catalogue import dataset_info
    from croco_bench.data.folders import data_folder

    info = dataset_info(name)
    root = data_folder(data_root, info.name)
    if info.name == "7scenes":
        # Retrieval compares images with a network.
        from croco_bench.workflows.prepare_retrieval import list_seven_scenes

        made = list_seven_scenes(root, ckpt or _RETRIEVAL_CKPT, device)
    else:
        prepare = info.preparer()
        if ckpt:
            raise UsageError(f"{info.name} is prepared without a network", "leave --ckpt out")
        made = prepare(root)
    typer.echo(f"wrote {made}")
