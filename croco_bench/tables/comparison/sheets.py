"""Files of values per image: each is read once and reduced to the pseudo-values of its metrics."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench import registry
from croco_bench.errors import RecordError
from croco_bench.files import check_unpacked_size
from croco_bench.records.store import ResultFile, reading_rows
from croco_bench.tables.comparison.leave_one_out import (
    LeftOut,
    assign_blocks,
    pseudo_values,
    pseudo_values_of_mean,
    pseudo_values_of_sums,
)
from croco_bench.types import Array

Reduction = Callable[[Mapping[str, Array]], Mapping[str, float]]
# Inode, size and time of change.
Stamp = tuple[int, int, int]

# Keys of rows that say which image a row belongs to.
GROUP, INDEX = "group", "index"
# How a .npy file of version 1.0 begins; the length of its header follows.
_VERSION_1 = np.lib.format.magic(1, 0)
# Sheets of so many files stay in memory. One takes 8 bytes per metric and block, of which there are 400 at most.
_KEPT_SHEETS = 2048
# Different sets of images whose blocks stay in memory.
_KEPT_DIVISIONS = 16


@dataclass(frozen=True, eq=False)
class Division:
    """How the images of a set are taken together.

    Attributes:
        blocks: the block of each image (n,).
        scenes: how many scenes, films or buildings the images belong to; None where the results don't say.
    """

    blocks: Array
    scenes: int | None

    def matches(self, other: Division) -> bool:
        """Whether both have the same images in the same blocks."""
        return self is other or np.array_equal(self.blocks, other.blocks)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The metrics of one result under one protocol, and their pseudo-values by its own division."""

    division: Division
    metrics: Mapping[str, LeftOut]


def load_sheet(file: ResultFile, prefix: str) -> Sheet:
    """The sheet of a result, read anew only where its file has changed.

    Args:
        file: a result.
        prefix: of the protocol's keys, such as `eigen`; empty for the headline protocol.

    Raises:
        RecordError: the file is missing or damaged.
    """
    return _read_sheet(file.paths.rows, _stamp(file.paths.rows), file.result.task.name, prefix)


def metrics_by(division: Division, file: ResultFile, prefix: str) -> Mapping[str, LeftOut]:
    """`load_sheet(file, prefix).metrics`, but with the blocks of another file."""
    sheet, path = load_sheet(file, prefix), file.paths.rows
    if sheet.division.matches(division):
        return sheet.metrics
    return _read_by(division, path, _stamp(path), file.result.task.name, prefix)


def _stamp(path: Path) -> Stamp | None:
    """What tells versions of a file apart; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=_KEPT_SHEETS)
def _read_sheet(path: Path, stamp: Stamp | None, task: str, prefix: str) -> Sheet:
    rows = read_rows(path, prefix)
    names = scenes_of(rows)
    division = _divide(len(next(iter(rows.values()))), None if names is None else tuple(names))
    return Sheet(division, _metrics(rows, task, division.blocks))


@lru_cache(maxsize=_KEPT_SHEETS)
def _read_by(division: Division, path: Path, stamp: Stamp | None, task: str, prefix: str) -> Mapping[str, LeftOut]:
    return _metrics(read_rows(path, prefix), task, division.blocks)


@lru_cache(maxsize=_KEPT_DIVISIONS)
def _divide(images: int, names: tuple[str, ...] | None) -> Division:
    blocks = assign_blocks(names or [str(image) for image in range(images)])
    return Division(blocks, None if names is None else len(set(names)))


def _metrics(rows: Mapping[str, Array], task: str, blocks: Array) -> dict[str, LeftOut]:
    """All metrics that rows give; none if they lack what the task's metrics are made of."""
    numbers = {key: values for key, values in rows.items() if key != GROUP}
    entry = next((entry for entry in registry.tasks() if entry.name == task and entry.card.reduction), None)
    if entry is None:  # means over images; also of a task that isn't installed here
        single = {key: values for key, values in numbers.items() if values.ndim == 1 and values.dtype.kind in "biuf"}
        return {key: pseudo_values_of_mean(values, blocks) for key, values in single.items()}
    reduce: Reduction = entry.load_reduction()
    try:
        return (pseudo_values_of_sums if entry.card.pooled else pseudo_values)(numbers, blocks, reduce)
    except KeyError:
        return {}


def read_rows(path: Path, prefix: str) -> dict[str, Array]:
    """Arrays of one protocol, by their names without its prefix, and the names of scenes.

    Raises:
        RecordError: the file is missing or damaged.
    """
    start = f"{prefix}/" if prefix else ""
    with reading_rows(path), zipfile.ZipFile(path) as file:
        check_unpacked_size(file)
        every = [name.removesuffix(".npy") for name in file.namelist()]
        keys = [key for key in every if key.startswith(start) and "/" not in key.removeprefix(start)]
        rows = {key.removeprefix(start): _read_array(file, key) for key in keys}
        rows.pop(INDEX, None)
        own = f"{start.removeprefix('last/')}{GROUP}"
        shared = next((_read_array(file, key) for key in (own, GROUP) if key in every), None)
    if not rows:
        raise RecordError(f"{path} has no per-image values of {prefix or 'the headline protocol'}", "run again")
    count = next(iter(rows.values())).shape[:1]
    numbers = [row for name, row in rows.items() if name not in (GROUP, "scene")]
    if not count or any(row.shape[:1] != count or row.dtype.kind not in "biuf" for row in numbers):
        raise RecordError(f"{path} should have numbers, as many per metric, but has others", "make the result again")
    if shared is not None and shared.shape == count:
        rows[GROUP] = shared
    return rows


def _read_array(file: zipfile.ZipFile, key: str) -> Array:
    """An array; headers, most of which are alike, are parsed once."""
    content = file.read(f"{key}.npy")
    start = len(_VERSION_1)
    if not content.startswith(_VERSION_1):
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    end = start + 2 + int.from_bytes(content[start : start + 2], "little")
    shape, is_fortran, kind = _layout(content[start:end])
    if kind.hasobject or min(shape, default=0) < 0:
        raise ValueError("it holds objects" if kind.hasobject else f"an array has the shape {shape}")
    count = math.prod(shape)
    values = np.frombuffer(content, kind, count, end) if count else np.empty(0, kind)
    return values.reshape(shape, order="F" if is_fortran else "C")


@lru_cache(maxsize=1024)
def _layout(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return np.lib.format.read_array_header_1_0(BytesIO(header))


def scenes_of(rows: Mapping[str, Array]) -> list[str] | None:
    """Names of the images' scenes; localisation's rows have always had the scene's number."""
    names = rows.get(GROUP, rows.get("scene"))
    return None if names is None else [str(name) for name in names]
