"""Vectors of frozen backbones, extracted once per split and kept in memory-mapped files."""

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
from croco_bench.engine.devices import usable_workers
from croco_bench.engine.network import Network
from croco_bench.errors import DivergedError
from croco_bench.files import atomic, exclusive_lock, fingerprint
from croco_bench.progress import log
from croco_bench.types import Array

# Rises when vectors of one key would come out different.
_VERSION = 2
# Progress is written down after so many batches.
_BATCHES = 32
# So many images, spread over a split, are looked at again before kept vectors are used.
_LOOKED_AT = 8


@dataclass(frozen=True)
class CachedFeatures:
    """Vectors of one split: per pooling (N, C) float16 on disk, labels (N,), and how long the extraction took."""

    vectors: dict[str, Array]
    labels: Array
    seconds: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FeatureCache:
    """A folder of kept vectors. `backbone` says which weights `network` has."""

    folder: Path
    network: Network
    backbone: str
    accelerator: Accelerator
    workers: int
    advance: Callable[[int], None] = field(default=lambda images: None)

    def extract_or_load(self, evaluation: Evaluation) -> CachedFeatures:
        """The vectors of an evaluation's images, from the folder or extracted now.

        Files are there whole or not at all: an extraction that was killed goes on where it stopped, one that is under
        way elsewhere is waited for, and other weights, images, sizes or preparations have another key. Before vectors
        are used, or an extraction goes on, their checksums are compared, and those of a few images with what the network
        makes of these images now; what doesn't agree is extracted anew.

        Raises:
            DivergedError: a vector isn't finite in half precision.
            RecordError: the folder can't be written.
        """
        place = self.folder / self._key(evaluation)
        main = self.accelerator.is_main_process
        lock = exclusive_lock(
            place.parent / f".{place.name}.lock",
            waiting=f"another run is extracting these vectors to {place}; waiting for it",
            unwritable="set CROCO_BENCH_CACHE to a folder that can be written",
        )
        with lock if main else nullcontext():
            if main:
                self._prepare(place, evaluation)
            self.accelerator.wait_for_everyone()
            if (facts := _facts(place / "done.json")) is None:
                self._extract(place, evaluation)
            elif main:
                self.advance(len(evaluation.reader))
        self.accelerator.wait_for_everyone()
        facts = facts or _facts(place / "done.json")
        assert facts is not None
        vectors = {how: np.load(place / f"{how}.npy", mmap_mode="r") for how in self._head.poolings}
        return CachedFeatures(vectors, np.load(place / "labels.npy"), float(facts["seconds"]))

    @property
    def _head(self) -> PooledHead:
        assert isinstance(self.network.head, PooledHead)
        return self.network.head

    def _key(self, evaluation: Evaluation) -> str:
        facts = [_VERSION, self.backbone, self.network.backbone.image_size, evaluation.citation]
        facts += [evaluation.reader.fingerprint(), self._head.poolings, self.accelerator.mixed_precision]
        return fingerprint(json.dumps(facts))

    def _prepare(self, place: Path, evaluation: Evaluation) -> None:
        """Sees to it that there are files of the final size, empty ones unless sound ones are there."""
        if (place / "begun").is_file():
            if self._is_intact(place, evaluation):
                return
            log(f"the vectors kept in {place} are damaged, or the images have changed: they are extracted anew")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        for how, (kind, shape) in self._array_specs(evaluation).items():
            _reserve(place / f"{how}.npy", kind, shape)
        (place / "begun").touch()

    def _array_specs(self, evaluation: Evaluation) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
        """Name of a file -> type and shape of what it holds."""
        count, width = len(evaluation.reader), self.network.backbone.embed_dim
        forms: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {}
        forms |= dict.fromkeys(self._head.poolings, (np.float16, (count, width)))
        return {**forms, "labels": (np.int64, (count,))}

    def _is_intact(self, place: Path, evaluation: Evaluation) -> bool:
        """Whether the files are as they were written, and vectors are what the network gives today."""
        files = {name: place / f"{name}.npy" for name in self._array_specs(evaluation)}
        try:
            kept = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
        except (OSError, ValueError, EOFError):
            return False
        if any((kept[name].dtype, kept[name].shape) != form for name, form in self._array_specs(evaluation).items()):
            return False
        if (facts := _facts(place / "done.json")) is not None:
            if facts["sums"] != {name: _sum(path) for name, path in files.items()}:
                return False
            return self._matches_network(kept, evaluation, spread_indices(len(evaluation.reader), _LOOKED_AT))
        blocks = [_facts(path) for path in place.glob("progress-*.json")]
        rows = [
            block["first"] + i
            for block in blocks
            if block is not None
            for i in spread_indices(block["done"] - block["first"], _LOOKED_AT)
        ]
        return None not in blocks and self._matches_network(kept, evaluation, rows)

    def _matches_network(self, kept: dict[str, Array], evaluation: Evaluation, rows: Sequence[int]) -> bool:
        """Whether the kept vectors of these images are those of now; devices round differently, so nearly is enough."""
        self.network.eval()
        for batch in evaluation_batches(evaluation, list(rows), workers=0, pin=False):
            places = [int(index) for index in batch["index"]]
            if kept["labels"][places].tolist() != [int(label) for label in batch["label"]]:
                return False
            for how, vectors in self._vectors(to_device(batch, self.accelerator.device)).items():
                now, then = vectors.astype(np.float64), kept[how][places].astype(np.float64)
                if (np.linalg.norm(now - then, axis=1) > 0.05 * np.linalg.norm(now, axis=1) + 1e-3).any():
                    return False
        return True

    def _extract(self, place: Path, evaluation: Evaluation) -> None:
        """Each process fills its own block of rows; the first marks the whole as done."""
        accelerator, began = self.accelerator, time.monotonic()
        count, processes, rank = len(evaluation.reader), accelerator.num_processes, accelerator.process_index
        first, last = count * rank // processes, count * (rank + 1) // processes
        progress = place / f"progress-{rank}-of-{processes}.json"
        facts = _facts(progress) or {"first": first, "done": first, "seconds": 0.0}
        done, earlier, told = facts["done"], facts["seconds"], 0
        files = {name: np.load(place / f"{name}.npy", mmap_mode="r+") for name in self._array_specs(evaluation)}
        workers, pin = usable_workers(self.workers), accelerator.device.type == "cuda"
        self.network.eval()
        indices = list(range(done, last))
        for number, batch in enumerate(evaluation_batches(evaluation, indices, workers=workers, pin=pin), start=1):
            rows = slice(done, done + len(batch["label"]))
            for how, vectors in self._vectors(to_device(batch, accelerator.device)).items():
                files[how][rows] = vectors
            files["labels"][rows] = np.array([int(label) for label in batch["label"]])
            done = rows.stop
            if number % _BATCHES == 0 or done == last:
                for file in files.values():
                    file.flush()
                _note(progress, {"first": first, "done": done, "seconds": earlier + time.monotonic() - began})
            if accelerator.is_main_process:
                reached = count * (done - first) // (last - first)  # the others are about as far
                self.advance(reached - told)
                told = reached
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            sums = {name: _sum(place / f"{name}.npy") for name in files}
            _note(place / "done.json", {"seconds": earlier + time.monotonic() - began, "sums": sums})

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
                    f"{list(batch['index'])[:3]}, …",
                    "probe it with a recipe that keeps nothing, such as paper",
                )
        return found


def _facts(path: Path) -> dict[str, Any] | None:
    """What a file notes; None where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _note(path: Path, facts: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def _sum(path: Path) -> int:
    """Checksum of a file."""
    found = 0
    with path.open("rb") as stream:
        while part := stream.read(2**24):
            found = zlib.crc32(part, found)
    return found


def _reserve(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> None:
    """A file of zeros whose space is really there: writing through a map into a full disk would kill the process."""
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
