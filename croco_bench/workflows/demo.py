"""`croco-bench demo`: miniature data, runs of the small backbones in this package, a table and an HTML page."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from croco_bench import registry, report, tables
from croco_bench.backbones import zoo
from croco_bench.config.recipe import names_of
from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.errors import BenchError, UsageError
from croco_bench.files import atomic
from croco_bench.progress import log
from croco_bench.runs.runner import run

RECIPE = "mini"


def demo(out: Path, *, tasks: Sequence[str] = (), seeds: int = 1, open_page: bool = True) -> None:
    """Runs tasks on the miniature with several backbones and prints the table. An interrupted demo can be resumed.

    Args:
        out: folder for data, results and `index.html`.
        tasks: names of tasks; default: all with `showcase`.
        seeds: runs per task and backbone.
        open_page: open `index.html` in a browser.

    Raises:
        UsageError: a task is unknown or has no recipe for the miniature.
        BenchError: a run failed; all others are finished first.
    """
    entries = [registry.tasks()[name] for name in tasks] or [entry for entry in registry.tasks() if entry.card.showcase]
    if missing := [entry.name for entry in entries if RECIPE not in names_of(entry.name)]:
        raise UsageError(f"{', '.join(missing)} has no recipe {RECIPE}", "leave it out")
    make_mini(out / "data", datasets=sorted({entry.card.dataset for entry in entries} & MINIATURES.keys()))
    backbones = {"random": "random:mini-croco", **{name: name for name in zoo.packaged()}}
    failures = []
    for entry, (name, ckpt), seed in product(entries, backbones.items(), range(seeds)):
        log(f"{entry.name}, {name}, seed {seed}")
        try:
            run(
                entry.name,
                ckpt,
                recipe=RECIPE,
                data_root=out / "data",
                results=out / "results",
                name=name,
                seed=seed,
            )
        except BenchError as error:
            failures.append(f"{entry.name}, {name}, seed {seed}: {error}")
    print(tables.make([out / "results"], published="none"))
    page = out / "index.html"
    with atomic(page) as temporary:
        temporary.write_text(tables.make([out / "results"], format=report.page, published="none"), encoding="utf-8")
    log(f"the page with all pictures: {page}")
    if failures:
        raise BenchError(f"{len(failures)} runs failed: {'; '.join(failures)}")
    if open_page:
        webbrowser.open(page.absolute().as_uri())
