"""Predictions for pairs whose truth is withheld, written as the benchmarks' servers want them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.data.datasets.matching import kitti, sintel
from croco_bench.data.formats.flow import write_flo, write_kitti_flow
from croco_bench.errors import DataError, unknown
from croco_bench.metrics import Metric
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

# What 16 bits in steps of 1/64 px can say.
_KITTI_MOST_PX = 511.0


@dataclass(frozen=True)
class Server:
    """How a benchmark's test pairs are opened, and what becomes of one prediction: (folder, id, flow) -> a file."""

    open: Callable[[Path], Reader]
    write: Callable[[Path, str, Array], None]


def _write_sintel(folder: Path, name: str, flow: Array) -> None:
    """`{clean,final}/<scene>/frame_%04d.flo`: the bundler wants the folders of both passes."""
    write_flo(_place(folder / f"{name}.flo"), flow)


def _write_kitti(inside: str, folder: Path, name: str, flow: Array) -> None:
    """`%06d_10.png`, to be zipped; 2015 wants them in a folder `flow`."""
    write_kitti_flow(_place(folder / inside / f"{name}_10.png"), np.clip(flow, -_KITTI_MOST_PX, _KITTI_MOST_PX))


def _place(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{path.parent} can't be made ({error.strerror})", "give task.submissions another folder"
        ) from error
    return path


SERVERS: dict[str, Server] = {
    "sintel": Server(partial(sintel.open_split, split="test"), _write_sintel),
    "kitti2012": Server(partial(kitti.open_flow, split="test", year=2012), partial(_write_kitti, "")),
    "kitti2015": Server(partial(kitti.open_flow, split="test", year=2015), partial(_write_kitti, "flow")),
}


def open_submissions(data_root: Path, submissions: Mapping[str, str]) -> dict[str, Reader]:
    """The test pairs of every benchmark that a submission is wanted for.

    Raises:
        DataError: they aren't there.
        UsageError: nothing is known of such a benchmark.
    """
    readers: dict[str, Reader] = {}
    for name in submissions:
        if name not in SERVERS:
            raise unknown("benchmark that takes submissions of flow", name, SERVERS)
        folder = data_root / name
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}, of which task.submissions wants predictions")
        readers[name] = SERVERS[name].open(folder)
    return readers


class SubmissionMeter(Meter):
    """Writes every prediction it is shown, and counts them: there is nothing to score."""

    metrics: ClassVar = (Metric("written", "written", "", "higher", "pair", 0, "#{predictions written}"),)

    def __init__(self, server: Server, folder: Path) -> None:
        self._write = partial(server.write, folder)

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one pair."""
        self._write(str(sample["id"]), prediction.astype(np.float32))
        return {"written": 1.0}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """How many there are."""
        return {"written": float(rows["written"].sum())}
