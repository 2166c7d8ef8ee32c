"""Retrieval lists of 7-Scenes made with a backbone.

The global descriptor of an image is the mean of its patch tokens after the last block, divided by its L2 norm. A query's
list names the database images with the largest cosine similarity.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import torch

from croco_bench.backbones.load import load_backbone
from croco_bench.contracts import Backbone
from croco_bench.data.datasets.seven_scenes import SevenScenes, open_seven_scenes
from croco_bench.data.posed.reader import PosedViews
from croco_bench.data.posed.retrieval_lists import PREPARED, TOP, write_list, write_maker
from croco_bench.engine import devices
from croco_bench.errors import BenchError, DataError
from croco_bench.files import atomic, exclusive_lock
from croco_bench.progress import Bar, log
from croco_bench.types import Array

_THREADS = 8


def list_seven_scenes(root: Path, ckpt: str, device: str, *, side: int = 224, batch_size: int = 64) -> str:
    """Writes `retrieval-<model>/<scene>_top10.txt` for every scene below `root`.

    The lists appear together, once all are made. An interrupted call with the same arguments goes on with the next
    sequence.

    Args:
        root: 7-Scenes.
        ckpt: what `load_backbone` takes.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        side: every image is resized to `side` x `side` pixels, without cropping.
        batch_size: images per forward pass; descriptors don't depend on it.

    Returns:
        One sentence with the folder and the number of lists.

    Raises:
        DataError: the lists exist already, frames are missing, another process is writing them, or the disk is full.
        BenchError: a descriptor isn't finite.
    """
    backbone = load_backbone(ckpt, image_size=side)
    folder, partial = root / f"{PREPARED}{backbone.name}", root / f".{PREPARED}{backbone.name}.partial"
    if folder.exists():
        raise DataError(f"{folder} is there already", "delete it to make the lists again")
    dataset = open_seven_scenes(root)
    busy = DataError(f"another process is writing {partial}", "wait for it")
    with _explain_errors(partial), exclusive_lock(partial.with_suffix(".lock"), busy=busy):
        _begin(partial, dataset, backbone, side)
        backbone.to(devices.start(device, "fp32", 0).device)
        descriptors = _describe(partial, dataset.views, backbone, side, batch_size)
        for scene in dataset.scenes:
            _write_list(partial, dataset, scene, descriptors)
        source = backbone.origin.source
        write_maker(partial, f"{backbone.name} ({source}): cosine of its mean last tokens at {side}x{side}")
        shutil.rmtree(partial / "vectors")
        (partial / "settings.json").unlink()
        partial.rename(folder)
    return f"{folder} with lists of {len(dataset.scenes)} scenes"


def _begin(partial: Path, dataset: SevenScenes, backbone: Backbone, side: int) -> None:
    """Makes an empty folder for descriptors, or keeps that of an interrupted call with the same settings."""
    names = hashlib.sha256("\n".join(dataset.views.names).encode()).hexdigest()
    settings = {"weights": backbone.origin.sha256 or backbone.origin.source, "side": side, "frames": names}
    path = partial / "settings.json"
    if path.is_file():
        if path.read_text(encoding="utf-8") == json.dumps(settings):
            log(f"going on in {partial}")
            return
        shutil.rmtree(partial)
    (partial / "vectors").mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(settings), encoding="utf-8")


@contextmanager
def _explain_errors(partial: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or partial} can't be written ({error.strerror or error})") from error


def _describe(partial: Path, views: PosedViews, backbone: Backbone, side: int, batch_size: int) -> Array:
    """Descriptors (N, C) float32 of all views. Each sequence has a file, so that an interrupted call can go on."""
    parts = []
    sequences = groupby(range(len(views)), key=lambda i: views.names[i].rpartition("/")[0])
    with Bar("describe", len(views)) as bar, ThreadPoolExecutor(_THREADS) as pool:
        for sequence, members in sequences:
            indices, path = list(members), partial / "vectors" / f"{sequence.replace('/', '_')}.npy"
            if not path.is_file():
                images = pool.map(lambda i: _square(views, i, side), indices)
                with atomic(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, _describe_sequence(images, len(indices), backbone, batch_size))
            parts.append(np.load(path))
            bar.advance(len(indices))
    return np.concatenate(parts)


def _describe_sequence(images: Iterator[Array], count: int, backbone: Backbone, batch_size: int) -> Array:
    """Descriptors (count, C) of the next `count` images."""
    sizes = (min(batch_size, count - first) for first in range(0, count, batch_size))
    return np.concatenate([global_descriptors([next(images) for _ in range(size)], backbone) for size in sizes])


def _square(views: PosedViews, i: int, side: int) -> Array:
    """View `i`, resized to (3, side, side), in [0, 1]."""
    resized = cv2.resize(views.image(i), (side, side), interpolation=cv2.INTER_AREA)
    unit: Array = resized.transpose(2, 0, 1).astype(np.float32) / 255
    return unit


def global_descriptors(images: list[Array], backbone: Backbone) -> Array:
    """Mean last tokens of images (3, H, W) in [0, 1], L2-normalized: (B, C) float32.

    Raises:
        BenchError: a descriptor isn't finite.
    """
    device = next(backbone.parameters()).device
    batch = torch.from_numpy(np.stack(images)).to(device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        pooled = backbone.encode((batch - mean) / std)[-1].mean(dim=1)
        descriptors: Array = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
    if not np.isfinite(descriptors).all():
        raise BenchError(f"{backbone.name} gives features that aren't finite", "take another checkpoint")
    return descriptors


def _write_list(partial: Path, dataset: SevenScenes, scene: str, descriptors: Array) -> None:
    database, queries = (dataset.rows(scene, test=test) for test in (False, True))
    listed = {}
    for query in queries:
        similarity = descriptors[database] @ descriptors[query]
        nearest = database[np.argsort(-similarity, kind="stable")[:TOP]]
        listed[dataset.name(query)] = [dataset.name(i) for i in nearest]
    write_list(partial, scene, listed)
