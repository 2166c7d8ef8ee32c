"""The command line: thin commands over the library. Whatever is heavy is imported inside a command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from croco_bench import __version__
from croco_bench.cli import models as models_command
from croco_bench.cli import plot as plot_command
from croco_bench.cli import table as table_command
from croco_bench.cli.cache import register as register_cache
from croco_bench.cli.compare import register as register_compare
from croco_bench.cli.complete import register as register_complete
from croco_bench.cli.data import DataRoot, data_app
from croco_bench.cli.process import Commands, close_output, output_failed, raise_on_signals
from croco_bench.cli.sharing import register as register_sharing
from croco_bench.cli.sweep import register as register_sweep
from croco_bench.errors import BenchError
from croco_bench.progress import log

_EXAMPLES = """
Examples:

  croco-bench demo                                              the whole story in a few minutes, nothing to download

  croco-bench run nyuv2-depth --ckpt CroCo.pth --data-root /data

  croco-bench run nyuv2-depth --ckpt timm:vit_base_patch16_224.dino --set optim.lr=3e-4 --seed 1

  croco-bench table --results results --format markdown
"""

app = typer.Typer(
    cls=Commands,
    help="The downstream benchmark for 3D-vision pre-training: any backbone, one protocol, one table.",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

Results = Annotated[Path, typer.Option("--results", help="Folder of result files.")]
_debug = False


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"croco-bench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


@app.command(name="run", epilog=_EXAMPLES)
def run_command(
    task: Annotated[str, typer.Argument(help="A name from `croco-bench tasks`, or a group such as taskonomy.")],
    ckpt: Annotated[
        str,
        typer.Option(
            help="File, URL, hf://repo/file, timm:NAME[@FILE], python:MODULE:NAME[@FILE] (code of yours), "
            "random:ARCH[@SEED] or random:FILE (random weights), or a model name."
        ),
    ],
    recipe: Annotated[str, typer.Option(help="paper, mini, smoke, or a path to a .toml file.")] = "paper",
    data_root: DataRoot = None,
    results: Results = Path("results"),
    name: Annotated[str | None, typer.Option(help="Model name in the table; default: from the checkpoint.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most N images of each split; never enters a table.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe setting; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
    frozen: Annotated[bool, typer.Option("--frozen", help="Train the head only.")] = False,
    eval_only: Annotated[bool, typer.Option("--eval-only", help="Score fine-tuned weights; no training.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
) -> None:
    """Fine-tune and evaluate one checkpoint on a task, or on a group of them; an interrupted run goes on where it stopped."""
    from croco_bench.records.store import ResultPaths
    from croco_bench.runs.group import run_group
    from croco_bench.runs.runner import run
    from croco_bench.tables.show import show

    run_task = partial(
        run,
        ckpt=ckpt,
        recipe=recipe,
        data_root=data_root,
        results=results,
        name=name,
        seed=seed,
        limit=limit,
        changes=changes or (),
        device=device,
        frozen=frozen,
        eval_only=eval_only,
        fresh=fresh,
    )
    failed: OSError | None = None
    for result in run_group(task, run_task):
        text = show(ResultPaths(results, result.recipe.name, result.task.name, result.model.name, seed).json)
        try:
            typer.echo(text)
        except BrokenPipeError:  # the result is on disk, and its reader has seen enough
            continue
        except OSError as error:  # the other tasks of a group run all the same
            failed = error
    if failed is not None:
        raise failed


_PRETRAIN_EXAMPLES = """
Examples:

  croco-bench pretrain --recipe croco-v1 --pairs /data/habitat_release --out runs/croco

  torchrun --nproc-per-node 8 -m croco_bench pretrain --recipe croco-v2-vitl-base --data-root /data --out runs/croco-l

  croco-bench pretrain --recipe mini --objective mae --pairs rooms --out runs/mae --set train.steps=2000

Recipes: croco-v1, croco-v2-vitb-base, croco-v2-vitb-small, croco-v2-vitl-base, mini, small.
"""


@app.command(name="pretrain", epilog=_PRETRAIN_EXAMPLES)
def pretrain_command(
    recipe: Annotated[str, typer.Option(help="A name (--help lists them below), or a path to a .toml file.")],
    out: Annotated[Path, typer.Option(help="Where checkpoints, the log and pictures go.")],
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder or list of pairs, a name below --data-root, or rooms; may be repeated. With multimae, one folder."
        ),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="What to learn: croco, mae, multimae, or one that a distribution announces.")
    ] = None,
    decoder: Annotated[
        Literal["cross", "cat"] | None,
        typer.Option(help="How CroCo's decoder sees view 2: attention to it, or joined."),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Begin with the weights of this checkpoint instead of random ones.")
    ] = None,
    data_root: DataRoot = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe setting; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
) -> None:
    """Pre-train a backbone on pairs of views; an interrupted pre-training goes on where it stopped."""
    from croco_bench.pretraining.pretrain import pretrain

    pretrain(
        recipe,
        out,
        pairs=pairs or (),
        objective=objective,
        decoder=decoder,
        init=init,
        data_root=data_root,
        seed=seed,
        changes=changes or (),
        device=device,
        fresh=fresh,
    )


app.command(epilog=table_command.EXAMPLES)(table_command.table)


app.command(epilog=plot_command.EXAMPLES)(plot_command.plot)


register_compare(app)
register_cache(app)
register_complete(app)
register_sweep(app)
register_sharing(app)


@app.command(name="show")
def show_command(
    result: Annotated[str, typer.Argument(help="A result file, or RECIPE/TASK/MODEL/seedN below --results.")],
    results: Results = Path("results"),
) -> None:
    """Show one result in full: metrics, settings, deviations from the paper, pictures."""
    from croco_bench.tables.show import find, show

    typer.echo(show(find(result, results)))


@app.command()
def tasks() -> None:
    """List the tasks: what each measures, and which distribution it comes from."""
    from croco_bench import registry
    from croco_bench.config.recipe import names_of

    for entry in registry.tasks():
        recipes = ", ".join(names_of(entry.name))
        typer.echo(f"{entry.name:<24} {entry.card.summary}  [recipes: {recipes}; from {entry.distribution}]")


app.command(epilog=models_command.EXAMPLES)(models_command.models)


@app.command()
def smoke(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
    keep: Annotated[Path | None, typer.Option(help="Keep data and results in this folder.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Results folder whose smoke/ part the headline numbers must agree with.")
    ] = None,
) -> None:
    """Run every task on tiny subsets, for CI; exit code 1 when something broke."""
    from croco_bench.workflows.smoke import smoke as run_smoke

    if not run_smoke(device=device, keep=keep, reference=reference):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where data, checkpoints, results and the page go.")] = Path("demo"),
    task: Annotated[
        list[str] | None, typer.Option(help="Fine-tune on this task only, without packaged results; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per backbone.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two frozen read-outs only, beside packaged results of fine-tuning.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. Default: one per core, at most eight.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """The whole story on the miniature: data, backbones, runs, tables, pictures; after an interruption it goes on."""
    from croco_bench.workflows.demo import demo as run_demo
    from croco_bench.workflows.demo_plan import demo_plan

    run_demo(out, demo_plan(task or (), seeds=seeds, quick=quick), jobs=jobs, open_page=open_page)


def _at_home(word: str) -> str:
    """A word of the command line with `~` expanded where a path begins with it, which shells don't do in `--out=~/x`."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{Path(value).expanduser()}" if value.startswith("~/") or value == "~" else word


def main() -> None:
    """Runs the command line; errors are one sentence on stderr.

    Exit code 0 done, 1 failed, 2 wrong command line, 128 + number of a signal.
    """
    raise_on_signals()
    code: int | str | None = 0
    try:
        app(args=[_at_home(word) for word in sys.argv[1:]], standalone_mode=True)
    except SystemExit as ended:
        code = ended.code
    except BenchError as error:
        if _debug:
            raise
        log(f"croco-bench: {error}")
        code = error.exit_code
    except OSError as error:
        if _debug or error.filename is not None:  # streams alone have no name
            raise
        code = output_failed(error)
    sys.exit(close_output() or code)
