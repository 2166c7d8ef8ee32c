"""Predictions for test pairs with withheld ground truth, in the formats of the benchmarks' servers."""

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

# Range of 16 bits in steps of 1/64 px.
_KITTI_MAX_PX = 511.0


@dataclass(frozen=True)
class Server:
    """Opens the test pairs of a benchmark (by its folder) and writes one prediction (folder, id, flow)."""

    open: Callable[[Path], Reader]
    write: Callable[[Path, str, Array], None]


def _write_sintel(folder: Path, name: str, flow: Array) -> None:
    """`{clean,final}/<scene>/frame_%04d.flo`: the bundler expects both passes."""
    write_flo(_with_folder(folder / f"{name}.flo"), flow)


def _write_kitti(inside: str, folder: Path, name: str, flow: Array) -> None:
    """`%06d_10.png`, to be zipped; KITTI 2015 expects a folder `flow`."""
    write_kitti_flow(_with_folder(folder / inside / f"{name}_10.png"), np.clip(flow, -_KITTI_MAX_PX, _KITTI_MAX_PX))


def _with_folder(path: Path) -> Path:
    """Creates the folder of a file."""
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
    """The test pairs of the benchmarks named in `task.submissions`.

    Raises:
        DataError: a dataset is missing.
        UsageError: the name of a benchmark isn't known.
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
    """Writes predictions and counts them; there is no ground truth to score them with."""

    metrics: ClassVar = (Metric("written", "written", "", "neither", "pair", 0, "#{predictions written}"),)

    def __init__(self, server: Server, folder: Path) -> None:
        self._write = partial(server.write, folder)

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Writes the prediction of one pair."""
        self._write(str(sample["id"]), prediction.astype(np.float32))
        return {"written": 1.0}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Number of written predictions."""
        return {"written": float(rows["written"].sum())}
