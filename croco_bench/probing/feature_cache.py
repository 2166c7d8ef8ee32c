"""Features of a frozen backbone, extracted once per split and kept in memory-mapped files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from croco_bench.contracts import Evaluation
from croco_bench.data.splitting import spread_indices
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.devices import arithmetic
from croco_bench.engine.network import Network
from croco_bench.errors import DivergedError
from croco_bench.files import exclusive_lock, fingerprint, remove, sweep
from croco_bench.probing.contents import BlockTokens, Content, PooledVectors, name_of, target_name
from croco_bench.probing.entry_files import (
    NOTHING_DONE,
    Done,
    Progress,
    Spec,
    array_path,
    bytes_of,
    checksum,
    open_arrays,
    preallocate,
    read_done,
    read_note,
    require_room,
    write_facts,
)
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
    """Pooled features of one split.

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
class CachedTokens:
    """Tokens of one split. All arrays are memory-mapped.

    Attributes:
        blocks: index of a block -> (images, N, C) float16.
        cls: class tokens (images, C) float16; None if the backbone has none.
        targets: everything that a prepared sample holds besides its image, by name: (images, ...).
        seconds: duration of the extraction.
    """

    blocks: dict[int, Array]
    cls: Array | None
    targets: dict[str, Array]
    seconds: float

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))


@dataclass(frozen=True)
class FeatureCache:
    """A folder with one entry per (weights, images, image size, preparation, kind of features, precision).

    Attributes:
        folder: where the entries are.
        network: extracts the features; for pooled ones, its head is a `PooledHead`.
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
        """Pooled features of an evaluation's images, extracted now or by an earlier run.

        An interrupted extraction is continued; a running one of another process is waited for. Before features are reused,
        checksums are compared, and the features of a few images with those that the network gives now; on a mismatch the
        whole entry is extracted anew.

        Raises:
            DivergedError: a feature isn't finite in half precision.
            RecordError: the folder can't be written, or the disk lacks room.
        """
        content = PooledVectors(self.network)
        arrays, seconds = self._arrays(evaluation, content)
        return CachedFeatures(
            {how: arrays[how] for how in arrays if how != "labels"}, np.array(arrays["labels"]), seconds
        )

    def tokens(self, evaluation: Evaluation, blocks: Sequence[int]) -> CachedTokens:
        """Tokens of some blocks and the targets of an evaluation's images, as `extract_or_load`.

        Blocks that were kept before are reused; missing ones are added in one more pass.

        Args:
            evaluation: its samples have targets of one shape (`Task.single_pass`).
            blocks: indices of the block outputs.

        Raises:
            BenchError: as `extract_or_load`; or targets differ in shape.
        """
        content = BlockTokens(self.network, evaluation, tuple(sorted(set(blocks))))
        arrays, seconds = self._arrays(evaluation, content)
        targets = {
            name.removeprefix(target_name("")): array
            for name, array in arrays.items()
            if name.startswith(target_name(""))
        }
        kept = {block: arrays[name_of(block)] for block in content.blocks}
        return CachedTokens(kept, arrays.get("cls"), targets, seconds)

    def _arrays(self, evaluation: Evaluation, content: Content) -> tuple[dict[str, Array], float]:
        """The content's arrays, complete, and how long their extraction took in seconds."""
        entry, main = self.folder / self._key(evaluation, content), self.accelerator.is_main_process
        lock = exclusive_lock(
            entry.parent / f".{entry.name}.lock",
            waiting=f"another run is extracting these {content.kind} to {entry}; waiting for it",
            unwritable="set CROCO_BENCH_CACHE to a folder that can be written",
        )
        with lock if main else nullcontext():
            if main:
                sweep(entry, "*")
                self._prepare(entry, evaluation, content)
            self.accelerator.wait_for_everyone()
            if missing := _missing(entry, content.specs):
                self._extract(entry, evaluation, content, missing)
            elif main:
                self.advance(len(evaluation.reader))
            self.accelerator.wait_for_everyone()
            facts, arrays = read_done(entry), open_arrays(entry, content.specs, len(evaluation.reader))
        assert facts is not None and arrays is not None
        return arrays, float(facts.seconds)

    def _key(self, evaluation: Evaluation, content: Content) -> str:
        facts = [_VERSION, self.backbone, self.network.backbone.image_size, evaluation.citation]
        facts += [evaluation.reader.fingerprint(), *content.key, arithmetic(self.accelerator)]
        return fingerprint(json.dumps(facts))

    def _prepare(self, entry: Path, evaluation: Evaluation, content: Content) -> None:
        """Preallocates missing arrays; keeps existing ones that are intact, and those of an interrupted extraction."""
        if not (entry / "begun").is_file():
            remove(entry)  # no extraction came so far, or something else stands there
        elif not self._is_intact(entry, evaluation, content):
            log(f"the {content.kind} kept in {entry} are damaged, or the images have changed: they are extracted anew")
            remove(entry)
        entry.mkdir(parents=True, exist_ok=True)
        missing = _missing(entry, content.specs)
        if not missing or _is_at_work(entry, missing):
            return
        for path in [*entry.glob("progress-*.json"), *(array_path(entry, name) for name in missing)]:
            path.unlink(missing_ok=True)
        count = len(evaluation.reader)
        require_room(entry, bytes_of(missing, count), f"the {content.kind} of {count} images")
        preallocate(entry, missing, count)
        reader, (height, width) = evaluation.reader, self.network.backbone.image_size
        about = f"{self.network.backbone.name}, {reader.dataset} {reader.split}, {count} images of {height}x{width}"
        (entry / "begun").write_text(about + "\n", encoding="utf-8")

    def _is_intact(self, entry: Path, evaluation: Evaluation, content: Content) -> bool:
        """Whether the files are complete, unchanged since they were written, and agree with the network.

        Arrays that the entry doesn't hold yet are left out.
        """
        count, missing = len(evaluation.reader), _missing(entry, content.specs)
        done = {name: spec for name, spec in content.specs.items() if name not in missing}
        if done:
            arrays = open_arrays(entry, done, count)
            sums = (read_done(entry) or NOTHING_DONE).sums
            if arrays is None or any(sums[name] != checksum(array_path(entry, name)) for name in done):
                return False
            if not self._matches_network(arrays, evaluation, content, spread_indices(count, _COMPARED)):
                return False
        elif not _is_at_work(entry, missing):
            # Those of an interrupted extraction of other arrays are no damage.
            return all(read_note(path) is not None for path in entry.glob("progress-*.json"))
        if not _is_at_work(entry, missing):
            return True
        arrays = open_arrays(entry, missing, count)
        return arrays is not None and self._matches_network(arrays, evaluation, content, _written(entry, count))

    def _matches_network(
        self, arrays: Mapping[str, Array], evaluation: Evaluation, content: Content, indices: Sequence[int]
    ) -> bool:
        """Whether cached features of these images are those of the network, up to the rounding of different devices."""
        self.network.eval()
        for batch in evaluation_batches(evaluation, list(indices), device=self.accelerator.device, workers=0):
            rows = [int(index) for index in batch["index"]]
            for name, now in self._batch_arrays(batch, content).items():
                if name in arrays and not _agree(now, arrays[name][rows]):
                    return False
        return True

    def _extract(self, entry: Path, evaluation: Evaluation, content: Content, missing: Mapping[str, Spec]) -> None:
        """Each process fills its own block of rows; the first one writes the checksums once all are done."""
        accelerator, count = self.accelerator, len(evaluation.reader)
        processes, rank = accelerator.num_processes, accelerator.process_index
        block = range(count * rank // processes, count * (rank + 1) // processes)
        progress = Progress(entry / f"progress-{rank}-of-{processes}.json", block, sorted(missing))
        arrays = {name: np.load(array_path(entry, name), mmap_mode="r+") for name in missing}
        self.network.eval()
        indices, told = list(range(progress.done, block.stop)), 0
        batches = evaluation_batches(evaluation, indices, device=accelerator.device, workers=self.workers)
        for number, batch in enumerate(batches, start=1):
            rows = slice(progress.done, progress.done + len(batch["index"]))
            for name, values in self._batch_arrays(batch, content).items():
                if name in arrays:
                    arrays[name][rows] = values
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
            before = read_done(entry) or NOTHING_DONE
            sums = {**before.sums, **{name: checksum(array_path(entry, name)) for name in arrays}}
            write_facts(entry / "done.json", Done(seconds=before.seconds + progress.seconds, sums=sums))

    def _batch_arrays(self, batch: Batch, content: Content) -> dict[str, Array]:
        """Name -> (B, ...), features in half precision.

        Raises:
            DivergedError: a feature isn't finite.
        """
        images = to_device(batch, self.accelerator.device)["image"]
        with torch.inference_mode(), self.accelerator.autocast():
            features = content.features(self.network.features(images))
            arrays = {name: values.to(torch.float16).cpu().numpy() for name, values in features.items()}
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise DivergedError(
                    f"{self.network.backbone.name} gives {content.kind} ({name}) that aren't finite in half precision for the "
                    f"images {list(batch['index'])[:3]}, …",
                    "probe it with a recipe that keeps nothing, such as paper",
                )
        return {**arrays, **content.targets(batch)}


def _missing(entry: Path, specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """Arrays that the entry doesn't hold yet."""
    done = (read_done(entry) or NOTHING_DONE).sums
    return {name: spec for name, spec in specs.items() if name not in done}


def _is_at_work(entry: Path, missing: Mapping[str, Spec]) -> bool:
    """Whether the notes of progress are of an extraction of just these arrays."""
    notes = [read_note(path) for path in entry.glob("progress-*.json")]
    return bool(missing and notes) and all(note is not None and note.names == sorted(missing) for note in notes)


def _written(entry: Path, count: int) -> list[int]:
    """A few of `count` images that an interrupted extraction has written."""
    notes = [note for path in entry.glob("progress-*.json") if (note := read_note(path)) and note.done <= count]
    return [note.first + i for note in notes for i in spread_indices(note.done - note.first, _COMPARED)]


def _agree(now: Array, kept: Array) -> bool:
    """Whether arrays (B, ...) are the same image by image, numbers up to rounding."""
    if now.dtype.kind != "f":
        return bool(np.array_equal(now, kept))
    one, other = (part.astype(np.float64).reshape(len(part), -1) for part in (now, kept))
    return not (np.linalg.norm(one - other, axis=1) > 0.05 * np.linalg.norm(one, axis=1) + 1e-3).any()
