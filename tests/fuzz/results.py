"""Targets: result files, with every command that reads them."""

from __future__ import annotations

import io
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from croco_bench import load_results, load_rows, tables
from croco_bench.engine.training_log import RunLog, lines
from croco_bench.records.store import ResultPaths, read_all
from croco_bench.report import page
from croco_bench.tables.comparison.compare import compare
from croco_bench.tables.comparison.render import RENDERERS
from croco_bench.tables.show import show
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_text
from tests.fuzz.target import Target, of_folder, of_text

_FAMILY = "results and tables"
_STATE = "state and log"
_LOG = "".join(
    f'{{"step": {k}, "loss": {2 - k / 9}, "lr": 0.001, "select/delta1": {0.5 + k / 30}}}\n' for k in range(9)
)
_TABLE = "protocol,class,iou\nheadline,wall,0.5\nheadline,sky,0.25\n"


def results(committed: Path) -> list[Target]:
    """Commands that read results; the sound ones are some of those in `committed`, the repository's own."""
    make = partial(write_results, committed)
    readers = {"table": _tables, "page": _page, "compare": _compared, "show": _shown, "frames": _frames}
    found = [of_folder(name, _FAMILY, make, read, _damaged) for name, read in readers.items()]
    return [*found, of_text("log.jsonl", _STATE, _LOG, _logged)]


def write_results(committed: Path, folder: Path) -> None:
    """Two seeds of two backbones, with all files that stand beside a result."""
    for model in ("mini-croco", "mini-mae"):
        source = ResultPaths(committed, "mini", "nyuv2-depth", model, 0)
        for seed in (0, 1):
            target = ResultPaths(folder, "mini", "nyuv2-depth", model, seed)
            target.folder.mkdir(parents=True)
            target.json.write_text(json.dumps({**json.loads(source.json.read_text()), "seed": seed}))
            _fewer_rows(source.rows, target.rows)
    (target.folder / "log.jsonl").write_text(_LOG)
    target.breakdown.write_text(_TABLE)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(target.sheet)


def _fewer_rows(source: Path, target: Path) -> None:
    """A copy without rows of other protocols, so that damage meets what is read."""
    with np.load(source) as rows:
        kept = {name: rows[name] for name in rows.files if "/" not in name}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **kept)
    target.write_bytes(stream.getvalue())


def _damaged(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    if path.suffix == ".json":
        return damaged_json(json.loads(content))
    if path.suffix in (".jsonl", ".csv"):
        return damaged_text(content.decode(), ",")
    return damaged_bytes(content)


def _tables(folder: Path) -> object:
    formats = ("terminal", "markdown", "latex", "csv", "json")
    texts = [tables.make([folder], format=name, include_limited=True) for name in formats]  # type: ignore[arg-type]
    for text in texts:
        text.encode()
    return texts


def _page(folder: Path) -> object:
    text = tables.make([folder], format=page)
    text.encode()
    return text


def _compared(folder: Path) -> object:
    found = compare(["mini-croco", "mini-mae"], [folder])
    texts = [render(found) for render in RENDERERS.values()]
    for text in texts:
        text.encode()
    return texts


def _shown(folder: Path) -> object:
    read_all([folder])
    texts = [show(path) for path in sorted(folder.glob("*/*/*/*.json"))]
    for text in texts:
        text.encode()
    return texts


def _frames(folder: Path) -> object:
    return [load_results(folder).to_csv(), load_rows(folder).to_csv()]


def _logged(path: Path) -> object:
    """All lines, and those that a run keeps that goes on from step 5."""
    copy = path.parent.with_name(f"{path.parent.name}.copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path.parent, copy, symlinks=True)
    found = lines(copy)
    RunLog(copy, start=5, tracker="none").close()
    return [found, lines(copy)]
