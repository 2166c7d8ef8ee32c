"""Targets: bundles of results, plans and states of sweeps."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

from hypothesis import strategies as st

from croco_bench.sharing.archive import MANIFEST
from croco_bench.sharing.bundle import bundle
from croco_bench.sharing.card import card
from croco_bench.sharing.check import check, unpacked
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.plan import read_plan
from croco_bench.sweeps.state import CellState, SweepFolder
from croco_bench.sweeps.sweep import status
from tests.fuzz.damage import damaged_bytes, damaged_json
from tests.fuzz.results import write_results
from tests.fuzz.target import Target, of_file, of_folder, of_text

_FAMILY = "bundles and sweeps"
_PLAN = """
data_root = "data"
results = "results"
recipes = ["smoke"]
set = ["train.workers=0"]

[[block]]
tasks = ["nyuv2-depth", "taskonomy-*"]
backbones = ["mini-*", "other=random:mini-croco"]
seeds = "0-2"
exclude = ["smoke/taskonomy-edges/*"]

[[block]]
tasks = "sintel-flow"
backbones = ["mini-croco"]
seeds = [0, 5]
set = ["train.steps=3", "optim.lr=1e-3"]
limit = 4
"""


def sharing() -> list[Target]:
    """Bundles of the repository's own results; plans and states of sweeps."""
    with tempfile.TemporaryDirectory() as name:
        content = _bundle(Path(__file__).parents[2] / "results", Path(name))
    return [
        of_file("bundle.zip", _FAMILY, content, _checked, knowable=_differs),
        of_file("forged.zip", _FAMILY, content, _checked, damaged=_forged),
        of_text("plan.toml", _FAMILY, _PLAN, lambda path: read_plan(path, {}).cells),
        of_folder("states", _FAMILY, _swept, _looked, _damaged),
    ]


def _bundle(committed: Path, folder: Path) -> bytes:
    write_results(committed, folder / "results")
    bundle(folder / "results", folder / "bundle.zip")
    return (folder / "bundle.zip").read_bytes()


def _contents(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _differs(before: bytes, after: bytes) -> bool:
    """Whatever is read of a bundle has a checksum."""
    return before != after


def _checked(path: Path) -> object:
    """Counts of metrics that were made again and of those that don't agree, and the model card of the first backbone."""
    found = check(path)
    with unpacked(path) as files:
        slot = files[0].paths
        return [found.again, found.scored, len(found.faults), card(slot.model, [slot.results])]


def _forged(content: bytes) -> st.SearchStrategy[bytes]:
    """Bundles with damaged files in them, and checksums that fit."""
    files = _contents(content)
    names = [name for name in files if name.endswith((".json", ".npz"))]

    def damaged(name: str) -> st.SearchStrategy[bytes]:
        inner = files[name]
        ways = damaged_json(json.loads(inner)) if name.endswith(".json") else damaged_bytes(inner)
        return ways.map(lambda after: _zipped({**files, name: after}, fits=name != MANIFEST))

    return st.sampled_from(names).flatmap(damaged)


def _zipped(files: dict[str, bytes], *, fits: bool) -> bytes:
    if fits:
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != MANIFEST}
        files = {**files, MANIFEST: json.dumps({**json.loads(files[MANIFEST]), "files": digests}).encode()}
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _swept(folder: Path) -> None:
    cells = [Cell("nyuv2-depth", "smoke", "mini-croco", "mini-croco", seed=seed) for seed in range(3)]
    sweep, now = SweepFolder(folder), time.time()
    sweep.announce(cells, 2, now)
    state = partial(CellState, host="here", pid=1, started=now, beat=now)
    sweep.write(cells[0], state(status="done", key="x", seconds=3.0))
    sweep.write(cells[1], state(status="running", text="training", left_s=5.0))
    sweep.write(cells[2], state(status="failed", text="the disk is full"))


def _looked(folder: Path) -> object:
    return [status(folder, every=every).counts() for every in (True, False)]


def _damaged(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    return damaged_json(json.loads(content))
