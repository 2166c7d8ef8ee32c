"""Retrieval lists made with a backbone: one vector per image, the mean of its last tokens, compared by cosine."""

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
from filelock import FileLock, Timeout

from croco_bench.backbones.load import load_backbone
from croco_bench.contracts import Backbone
from croco_bench.data.datasets.seven_scenes import SevenScenes, open_seven_scenes
from croco_bench.data.posed.reader import PosedViews
from croco_bench.data.posed.retrieval_lists import PREPARED, TOP, write_list, write_maker
from croco_bench.engine import devices
from croco_bench.errors import BenchError, DataError
from croco_bench.files import atomic
from croco_bench.progress import Bar, log
from croco_bench.types import Array

_THREADS = 8


def list_seven_scenes(root: Path, ckpt: str, device: str, *, side: int = 224, batch_size: int = 64) -> str:
    """Writes `retrieval-<model>/<scene>_top10.txt` below `root`; says how many lists.

    An interrupted call goes on with the next sequence. The lists appear together, when all are made.

    Args:
        root: 7-Scenes.
        ckpt: what `load_backbone` takes.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        side: every image is resized to a square of so many pixels: all of it is seen.
        batch_size: images at once; no number depends on it.

    Raises:
        DataError: the lists are there already, or frames are missing.
    """
    backbone = load_backbone(ckpt, image_size=side)
    folder, partial = root / f"{PREPARED}{backbone.name}", root / f".{PREPARED}{backbone.name}.partial"
    if folder.exists():
        raise DataError(f"{folder} is there already", "delete it to make the lists again")
    whole = open_seven_scenes(root)
    with _only_one(partial):
        _begin(partial, whole, backbone, side)
        vectors = _describe(
            partial, whole.views, backbone.to(devices.start(device, "fp32", 0).device), side, batch_size
        )
        for scene in whole.scenes:
            _list(partial, whole, scene, vectors)
        origin = backbone.origin
        write_maker(partial, f"{backbone.name} ({origin.source}): cosine of its mean last tokens at {side}x{side}")
        shutil.rmtree(partial / "vectors")
        (partial / "settings.json").unlink()
        partial.rename(folder)
    return f"{folder} with lists of {len(whole.scenes)} scenes"


def _begin(partial: Path, whole: SevenScenes, backbone: Backbone, side: int) -> None:
    """An empty folder for vectors, or the one that an interrupted call with the same settings left."""
    names = hashlib.sha256("\n".join(whole.views.names).encode()).hexdigest()
    settings = {"weights": backbone.origin.sha256 or backbone.origin.source, "side": side, "frames": names}
    noted = partial / "settings.json"
    if noted.is_file():
        if noted.read_text(encoding="utf-8") == json.dumps(settings):
            log(f"going on in {partial}")
            return
        shutil.rmtree(partial)
    (partial / "vectors").mkdir(parents=True, exist_ok=True)
    with atomic(noted) as temporary:
        temporary.write_text(json.dumps(settings), encoding="utf-8")


@contextmanager
def _only_one(partial: Path) -> Iterator[None]:
    lock = FileLock(partial.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise DataError(f"another process is writing {partial}", "wait for it") from error
    except OSError as error:
        raise DataError(f"{error.filename or partial} can't be written ({error.strerror or error})") from error


def _describe(partial: Path, views: PosedViews, backbone: Backbone, side: int, batch_size: int) -> Array:
    """Unit vectors (n, C) float32 of all views, a file per sequence."""
    parts = []
    with Bar("describe", len(views)) as bar, ThreadPoolExecutor(_THREADS) as pool:
        for sequence, several in groupby(range(len(views)), key=lambda row: views.names[row].rpartition("/")[0]):
            rows, path = list(several), partial / "vectors" / f"{sequence.replace('/', '_')}.npy"
            if not path.is_file():
                images = pool.map(lambda row: _square(views, row, side), rows)
                made = np.concatenate(
                    [
                        _vectors([next(images) for _ in rows[first : first + batch_size]], backbone)
                        for first in range(0, len(rows), batch_size)
                    ]
                )
                with atomic(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, made)
            parts.append(np.load(path))
            bar.advance(len(rows))
    return np.concatenate(parts)


def _square(views: PosedViews, row: int, side: int) -> Array:
    """The whole image, (3, side, side) in [0, 1]."""
    resized = cv2.resize(views.image(row), (side, side), interpolation=cv2.INTER_AREA)
    unit: Array = resized.transpose(2, 0, 1).astype(np.float32) / 255
    return unit


def _vectors(images: list[Array], backbone: Backbone) -> Array:
    device = next(backbone.parameters()).device
    batch = torch.from_numpy(np.stack(images)).to(device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        pooled = backbone.encode((batch - mean) / std)[-1].mean(dim=1)
        vectors: Array = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
    if not np.isfinite(vectors).all():
        raise BenchError(f"{backbone.name} gives features that aren't finite", "take another checkpoint")
    return vectors


def _list(partial: Path, whole: SevenScenes, scene: str, vectors: Array) -> None:
    database, queries = (whole.rows(scene, test=test) for test in (False, True))
    listed = {}
    for query in queries:
        alike = vectors[database] @ vectors[query]
        best = database[np.argsort(-alike, kind="stable")[:TOP]]
        listed[whole.name(query)] = [whole.name(row) for row in best]
    write_list(partial, scene, listed)
