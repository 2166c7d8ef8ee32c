"""Features of a frozen backbone, extracted once per split and kept in memory-mapped files."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from croco_bench.contracts import Evaluation, PooledHead
from croco_bench.data.splitting import spread_indices
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.network import Network
from croco_bench.errors import DivergedError
from croco_bench.files import atomic, exclusive_lock, fingerprint
from croco_bench.progress import log
from croco_bench.types import Array, Batch

# Part of the key: increment when the features of a key change.
_VERSION = 2
# Number of batches between two notes of progress.
_BATCHES = 32
# Number of images per split that are compared with the network before cached features are used.
_COMPARED = 8


@dataclass(frozen=True)
class CachedFeatures:
    """Features of one split.

    Attributes:
        vectors: pooling -> (N, C) float16, memory-mapped.
        labels: classes (N,) int64.
        seconds: duration of the extraction.
    """

    vectors: dict[str, Array]
    labels: Array
    seconds: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FeatureCache:
    """A folder with one entry per (weights, images, image size, preparation, poolings, precision).

    Attributes:
        folder: where the entries are.
        network: extracts the features; its head is a `PooledHead`.
        backbone: identity of the network's weights.
        accelerator: device, precision and processes.
        workers: data-loading workers.
        advance: called with the number of images that are done.
    """

    folder: Path
    network: Network
    backbone: str
    accelerator: Accelerator
    workers: int
    advance: Callable[[int], None] = field(default=lambda images: None)

    def extract_or_load(self, evaluation: Evaluation) -> CachedFeatures:
        """Features of an evaluation's images, extracted now or by an earlier run.

        An interrupted extraction is continued; a running one of another process is waited for. Before features are reused,
        checksums are compared, and the features of a few images with those that the network gives now; on a mismatch the
        whole entry is extracted anew.

        Raises:
            DivergedError: a feature isn't finite in half precision.
            RecordError: the folder can't be written.
        """
        entry, main = self.folder / self._key(evaluation), self.accelerator.is_main_process
        lock = exclusive_lock(
            entry.parent / f".{entry.name}.lock",
            waiting=f"another run is extracting these vectors to {entry}; waiting for it",
            unwritable="set CROCO_BENCH_CACHE to a folder that can be written",
        )
        with lock if main else nullcontext():
            if main:
                self._prepare(entry, evaluation)
            self.accelerator.wait_for_everyone()
            if (facts := _read_facts(entry / "done.json")) is None:
                self._extract(entry, evaluation)
            elif main:
                self.advance(len(evaluation.reader))
        self.accelerator.wait_for_everyone()
        facts = facts or _read_facts(entry / "done.json")
        assert facts is not None
        vectors = {how: np.load(entry / f"{how}.npy", mmap_mode="r") for how in self._head.poolings}
        return CachedFeatures(vectors, np.load(entry / "labels.npy"), float(facts["seconds"]))

    @property
    def _head(self) -> PooledHead:
        assert isinstance(self.network.head, PooledHead)
        return self.network.head

    def _key(self, evaluation: Evaluation) -> str:
        facts = [_VERSION, self.backbone, self.network.backbone.image_size, evaluation.citation]
        facts += [evaluation.reader.fingerprint(), self._head.poolings, self.accelerator.mixed_precision]
        return fingerprint(json.dumps(facts))

    def _prepare(self, entry: Path, evaluation: Evaluation) -> None:
        """Preallocates the arrays, or keeps existing ones that are intact."""
        if (entry / "begun").is_file():
            if self._is_intact(entry, evaluation):
                return
            log(f"the vectors kept in {entry} are damaged, or the images have changed: they are extracted anew")
        shutil.rmtree(entry, ignore_errors=True)
        entry.mkdir(parents=True, exist_ok=True)
        for name, (dtype, shape) in self._array_specs(evaluation).items():
            _preallocate(entry / f"{name}.npy", dtype, shape)
        reader, (height, width) = evaluation.reader, self.network.backbone.image_size
        about = (
            f"{self.network.backbone.name}, {reader.dataset} {reader.split}, {len(reader)} images of {height}x{width}"
        )
        (entry / "begun").write_text(about + "\n", encoding="utf-8")

    def _array_specs(self, evaluation: Evaluation) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
        """Type and shape of each array, by the name of its file."""
        count, width = len(evaluation.reader), self.network.backbone.embed_dim
        specs: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {}
        specs |= dict.fromkeys(self._head.poolings, (np.float16, (count, width)))
        return {**specs, "labels": (np.int64, (count,))}

    def _is_intact(self, entry: Path, evaluation: Evaluation) -> bool:
        """Whether the files are complete, unchanged since they were written, and agree with the network."""
        files = {name: entry / f"{name}.npy" for name in self._array_specs(evaluation)}
        try:
            arrays = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
        except (OSError, ValueError, EOFError):
            return False
        if any(
            (arrays[name].dtype, arrays[name].shape) != spec for name, spec in self._array_specs(evaluation).items()
        ):
            return False
        if (facts := _read_facts(entry / "done.json")) is not None:
            if facts["sums"] != {name: _checksum(path) for name, path in files.items()}:
                return False
            return self._matches_network(arrays, evaluation, spread_indices(len(evaluation.reader), _COMPARED))
        blocks = [_read_facts(path) for path in entry.glob("progress-*.json")]
        done = [
            block["first"] + i
            for block in blocks
            if block is not None
            for i in spread_indices(block["done"] - block["first"], _COMPARED)
        ]
        return None not in blocks and self._matches_network(arrays, evaluation, done)

    def _matches_network(self, arrays: dict[str, Array], evaluation: Evaluation, indices: Sequence[int]) -> bool:
        """Whether cached features of these images are those of the network, up to the rounding of different devices."""
        self.network.eval()
        for batch in evaluation_batches(evaluation, list(indices), device=self.accelerator.device, workers=0):
            rows = [int(index) for index in batch["index"]]
            if arrays["labels"][rows].tolist() != [int(label) for label in batch["label"]]:
                return False
            for how, vectors in self._vectors(to_device(batch, self.accelerator.device)).items():
                now, cached = vectors.astype(np.float64), arrays[how][rows].astype(np.float64)
                if (np.linalg.norm(now - cached, axis=1) > 0.05 * np.linalg.norm(now, axis=1) + 1e-3).any():
                    return False
        return True

    def _extract(self, entry: Path, evaluation: Evaluation) -> None:
        """Each process fills its own block of rows; the first one writes the checksums once all are done."""
        accelerator, count = self.accelerator, len(evaluation.reader)
        processes, rank = accelerator.num_processes, accelerator.process_index
        block = range(count * rank // processes, count * (rank + 1) // processes)
        progress = _Progress.of(entry / f"progress-{rank}-of-{processes}.json", block.start)
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r+") for name in self._array_specs(evaluation)}
        self.network.eval()
        indices, told = list(range(progress.done, block.stop)), 0
        batches = evaluation_batches(evaluation, indices, device=accelerator.device, workers=self.workers)
        for number, batch in enumerate(batches, start=1):
            rows = slice(progress.done, progress.done + len(batch["label"]))
            for how, vectors in self._vectors(to_device(batch, accelerator.device)).items():
                arrays[how][rows] = vectors
            arrays["labels"][rows] = np.array([int(label) for label in batch["label"]])
            progress.done = rows.stop
            if number % _BATCHES == 0 or progress.done == block.stop:
                for array in arrays.values():
                    array.flush()
                progress.write()
            if accelerator.is_main_process:
                reached = count * (progress.done - block.start) // len(block)  # the others are about as far
                self.advance(reached - told)
                told = reached
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            sums = {name: _checksum(entry / f"{name}.npy") for name in arrays}
            _write_facts(entry / "done.json", {"seconds": progress.seconds, "sums": sums})

    def _vectors(self, batch: Batch) -> dict[str, Array]:
        """Pooling -> (B, C) float16."""
        with torch.inference_mode(), self.accelerator.autocast():
            features = self.network.features(batch["image"])
            vectors = {
                how: self._head.pooled(features, how).to(torch.float16).cpu().numpy() for how in self._head.poolings
            }
        for how, values in vectors.items():
            if not np.isfinite(values).all():
                raise DivergedError(
                    f"{self.network.backbone.name} gives vectors ({how}) that aren't finite in half precision for the images "
                    f"{list(batch['index'])[:3]}, …",
                    "probe it with a recipe that keeps nothing, such as paper",
                )
        return vectors


class _Progress:
    """Rows `first` to `done` of one process's block are written; `seconds` of work so far, interruptions excluded."""

    def __init__(self, path: Path, first: int, done: int, seconds: float) -> None:
        self._path, self._first, self._earlier = path, first, seconds
        self._began = time.monotonic()
        self.done = done

    @classmethod
    def of(cls, path: Path, first: int) -> _Progress:
        """The state in a file; that of a new block where there is none."""
        facts = _read_facts(path) or {"first": first, "done": first, "seconds": 0.0}
        return cls(path, facts["first"], facts["done"], facts["seconds"])

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._began

    def write(self) -> None:
        _write_facts(self._path, {"first": self._first, "done": self.done, "seconds": self.seconds})


def _read_facts(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where the file is missing or damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as stream:
        while part := stream.read(2**24):
            checksum = zlib.crc32(part, checksum)
    return checksum


def _preallocate(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """An array of zeros with its disk space allocated: writing through a map to a full disk would kill the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    array.flush()
    del array
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
            except OSError as error:
                shutil.rmtree(path.parent, ignore_errors=True)
                error.filename = str(path)
                raise
