"""Vectors of frozen backbones, extracted once per split and kept in memory-mapped files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock

from croco_bench.contracts import Evaluation, PooledHead
from croco_bench.engine import usable_workers
from croco_bench.errors import DivergedError
from croco_bench.files import atomic
from croco_bench.loading import evaluation_batches, to_device
from croco_bench.metrics.meter import Array
from croco_bench.network import Network

# Rises when vectors of one key would come out different.
_VERSION = 1
# Progress is written down after so many batches.
_BATCHES = 32


@dataclass(frozen=True)
class Kept:
    """Vectors of one split: per pooling (N, C) float16 on disk, labels (N,), and how long the extraction took."""

    vectors: dict[str, Array]
    labels: Array
    seconds: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FeatureCache:
    """A folder of kept vectors. `backbone` says which weights, `recipe` what else can change vectors."""

    folder: Path
    network: Network
    backbone: str
    accelerator: Accelerator
    workers: int
    advance: Callable[[int], None] = field(default=lambda images: None)

    def keep(self, evaluation: Evaluation) -> Kept:
        """The vectors of an evaluation's images, from the folder or extracted now.

        Files are there whole or not at all: an extraction that was killed goes on where it stopped, one that is under
        way elsewhere is waited for, and other weights, images, sizes or preparations have another key.

        Raises:
            DivergedError: a vector isn't finite in half precision.
        """
        place = self.folder / self._key(evaluation)
        main = self.accelerator.is_main_process
        with _locked(place) if main else nullcontext():
            if main and not (place / "done.json").is_file():
                self._prepare(place, evaluation)
            self.accelerator.wait_for_everyone()
            if not (place / "done.json").is_file():
                self._extract(place, evaluation)
        self.accelerator.wait_for_everyone()
        facts = json.loads((place / "done.json").read_text(encoding="utf-8"))
        if main:
            self.advance(len(evaluation.reader))
        vectors = {how: np.load(place / f"{how}.npy", mmap_mode="r") for how in self._head.poolings}
        return Kept(vectors, np.load(place / "labels.npy"), float(facts["seconds"]))

    @property
    def _head(self) -> PooledHead:
        assert isinstance(self.network.head, PooledHead)
        return self.network.head

    def _key(self, evaluation: Evaluation) -> str:
        facts = [_VERSION, self.backbone, self.network.backbone.image_size, evaluation.citation]
        facts += [evaluation.reader.fingerprint(), self._head.poolings, self.accelerator.mixed_precision]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _prepare(self, place: Path, evaluation: Evaluation) -> None:
        """Files of the final size, unless an earlier attempt left them."""
        place.mkdir(parents=True, exist_ok=True)
        count, width = len(evaluation.reader), self.network.backbone.embed_dim
        if (place / "begun").is_file():
            return
        for how in self._head.poolings:
            _reserve(place / f"{how}.npy", np.float16, (count, width))
        _reserve(place / "labels.npy", np.int64, (count,))
        (place / "begun").touch()

    def _extract(self, place: Path, evaluation: Evaluation) -> None:
        """Each process fills its own block of rows; the first marks the whole as done."""
        accelerator, began = self.accelerator, time.monotonic()
        count, processes, rank = len(evaluation.reader), accelerator.num_processes, accelerator.process_index
        first, last = count * rank // processes, count * (rank + 1) // processes
        progress = place / f"progress-{rank}-of-{processes}.json"
        done, earlier = json.loads(progress.read_text(encoding="utf-8")) if progress.is_file() else (first, 0.0)
        files = {how: np.load(place / f"{how}.npy", mmap_mode="r+") for how in (*self._head.poolings, "labels")}
        indices = list(range(done, last))
        workers, pin = usable_workers(self.workers), accelerator.device.type == "cuda"
        self.network.eval()
        for number, batch in enumerate(evaluation_batches(evaluation, indices, workers=workers, pin=pin), start=1):
            rows = slice(done, done + len(batch["label"]))
            for how, vectors in self._vectors(to_device(batch, accelerator.device)).items():
                files[how][rows] = vectors
            files["labels"][rows] = np.array([int(label) for label in batch["label"]])
            done = rows.stop
            if number % _BATCHES == 0 or done == last:
                for file in files.values():
                    file.flush()
                with atomic(progress) as temporary:
                    temporary.write_text(json.dumps([done, earlier + time.monotonic() - began]), encoding="utf-8")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            with atomic(place / "done.json") as temporary:
                temporary.write_text(json.dumps({"seconds": earlier + time.monotonic() - began}), encoding="utf-8")

    def _vectors(self, batch: dict[str, Any]) -> dict[str, Array]:
        with torch.inference_mode(), self.accelerator.autocast():
            features = self.network.features(batch["image"])
            found = {
                how: self._head.pooled(features, how).to(torch.float16).cpu().numpy() for how in self._head.poolings
            }
        for how, vectors in found.items():
            if not np.isfinite(vectors).all():
                raise DivergedError(
                    f"{self.network.backbone.name} gives vectors ({how}) that aren't finite in half precision for the images "
                    f"{list(batch['index'])[:3]}, …; probe it with a recipe that keeps nothing, such as paper"
                )
        return found


def _locked(place: Path) -> FileLock:
    place.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(place.parent / f".{place.name}.lock")


def _reserve(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> None:
    """A file of zeros whose space is really there: writing through a map into a full disk would kill the process."""
    path.unlink(missing_ok=True)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    file.flush()
    del file
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
            except OSError as error:
                shutil.rmtree(path.parent, ignore_errors=True)
                error.filename = str(path)
                raise
