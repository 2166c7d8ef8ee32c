"""Miniatures: small datasets of rendered rooms in official layouts, made in parallel, there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from croco_bench import __version__
from croco_bench.data.folders import MARKER, is_miniature
from croco_bench.data.miniatures.ade20k import ADE20KMini, write_ade20k
from croco_bench.data.miniatures.crestereo import CREStereoMini, write_crestereo
from croco_bench.data.miniatures.flyingchairs import FlyingChairsMini, write_flyingchairs
from croco_bench.data.miniatures.habitat import HabitatMini, write_habitat
from croco_bench.data.miniatures.imagenet import ImageNetMini, write_imagenet
from croco_bench.data.miniatures.middlebury import MiddleburyMini, write_middlebury
from croco_bench.data.miniatures.multimae import write_multimae
from croco_bench.data.miniatures.nyuv2 import NYUv2Mini, write_nyuv2
from croco_bench.data.miniatures.sevenscenes import SevenScenesMini, write_sevenscenes
from croco_bench.data.miniatures.sintel import SintelMini, write_sintel
from croco_bench.data.miniatures.taskonomy import TaskonomyMini, write_taskonomy
from croco_bench.data.process_pool import process_pool
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.progress import Bar, log

# Rises when rooms of one seed look different, so that old miniatures are told from new.
ROOMS_VERSION = 1


@dataclass(frozen=True)
class Miniature:
    """One dataset's writer: default and tiny settings, and how many items settings ask for.

    `usual`: written unless others are asked for. `version` rises when equal settings give another content.
    """

    default: Any
    tiny: Any
    write: Callable[[Path, Any, int, Executor, Callable[[int], None]], None]
    count: Callable[[Any], int]
    usual: bool = True
    version: int = ROOMS_VERSION


MINIATURES: dict[str, Miniature] = {
    "nyuv2": Miniature(NYUv2Mini(), NYUv2Mini(12, 6, 3, 48, 64), write_nyuv2, lambda spec: spec.train + spec.test),
    "ade20k": Miniature(ADE20KMini(), ADE20KMini(10, 4, 40, 56), write_ade20k, lambda spec: spec.train + spec.val),
    "taskonomy": Miniature(
        TaskonomyMini(),
        TaskonomyMini(12, 4, 6, 2, 40),
        write_taskonomy,
        lambda spec: spec.train + spec.val + spec.test,
    ),
    "imagenet": Miniature(
        ImageNetMini(),
        ImageNetMini(3, 8, 4, 40),
        write_imagenet,
        lambda spec: spec.classes * (spec.train + spec.val),
    ),
    "habitat_release": Miniature(HabitatMini(), HabitatMini(6, 2, 40), write_habitat, lambda spec: spec.pairs),
    "7scenes": Miniature(
        SevenScenesMini(),
        SevenScenesMini(1, 2, 10, 48, 64),
        write_sevenscenes,
        lambda spec: spec.scenes * spec.sequences * spec.frames,
        version=3,
    ),
    "sintel": Miniature(
        SintelMini(),
        SintelMini(4, 3, 1, 40, 56),
        write_sintel,
        lambda spec: (spec.scenes + spec.test_scenes) * spec.frames,
    ),
    "flyingchairs": Miniature(
        FlyingChairsMini(),
        FlyingChairsMini(12, 4, 3, 40, 56),
        write_flyingchairs,
        lambda spec: spec.train + spec.val,
    ),
    "middlebury": Miniature(
        MiddleburyMini(),
        MiddleburyMini(4, 1, 40, 56),
        write_middlebury,
        lambda spec: spec.scenes + spec.test_scenes,
    ),
    "crestereo": Miniature(CREStereoMini(), CREStereoMini(8, 40, 56), write_crestereo, lambda spec: spec.pairs),
    "multimae": Miniature(HabitatMini(), HabitatMini(6, 2, 40), write_multimae, lambda spec: spec.pairs, usual=False),
}


def make_mini(
    root: str | Path,
    *,
    datasets: Iterable[str] | None = None,
    changes: Iterable[str] = (),
    tiny: bool = False,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Writes miniatures below `root`, which becomes a data root.

    A finished miniature with the same settings is kept. The result doesn't depend on the number of workers.

    Args:
        root: the folder; each dataset gets its own in it.
        datasets: which; default: all but `multimae`, the images of `habitat_release` once more with depth and classes.
        changes: `DATASET.KEY=VALUE` strings, such as `nyuv2.train=50`.
        tiny: a few images each, for tests.
        seed: of everything that is drawn.
        workers: processes; default: as many as processors.
        overwrite: replace a miniature with other settings.

    Raises:
        UsageError: unknown dataset or setting.
        DataError: real data, or another miniature, lies where this one should go; or it can't be written.
    """
    root = Path(root)
    specs = _specs(datasets, changes, tiny)
    for name, spec in specs.items():
        with _explain_errors(root / name), _only_one(root):
            _make_one(root, name, spec, seed, workers or os.cpu_count() or 1, overwrite)


def _specs(datasets: Iterable[str] | None, changes: Iterable[str], tiny: bool) -> dict[str, Any]:
    names = list(datasets or (name for name, miniature in MINIATURES.items() if miniature.usual))
    for name in names:
        if name not in MINIATURES:
            raise unknown("miniature", name, MINIATURES)
    specs = {name: MINIATURES[name].tiny if tiny else MINIATURES[name].default for name in names}
    for change in changes:
        place, _, text = change.partition("=")
        name, _, key = place.partition(".")
        if name not in specs:
            raise unknown("miniature", name, specs)
        keys = [field.name for field in fields(specs[name])]
        if key not in keys:
            raise unknown(f"setting of {name}", key, keys)
        if not text.isdecimal() or not int(text):
            raise UsageError(f"--set {change}: expected a whole number above 0")
        specs[name] = replace(specs[name], **{key: int(text)})
    return specs


def _make_one(root: Path, name: str, spec: Any, seed: int, workers: int, overwrite: bool) -> None:
    target, miniature = root / name, MINIATURES[name]
    marker = {"generator": "rooms", "version": miniature.version, "seed": seed, "settings": asdict(spec)}
    if not _is_free(target, marker, overwrite):
        return
    _remove_leftovers(root, name)
    partial = root / f".{name}.partial-{os.getpid()}"
    partial.mkdir(parents=True)
    with process_pool(workers) as pool, Bar(name, miniature.count(spec)) as bar:
        miniature.write(partial, spec, seed, pool, bar.advance)
    (partial / MARKER).write_text(json.dumps({**marker, "croco_bench": __version__}, indent=2) + "\n", encoding="utf-8")
    # Moved away whole before it is deleted: whoever is killed meanwhile leaves no half of it under its name.
    old = root / f".{name}.partial-{os.getpid()}-old"
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    log(f"wrote {target}")


def _is_free(target: Path, marker: dict[str, Any], overwrite: bool) -> bool:
    """Whether to write; False where the very same miniature is there already."""
    if not target.exists():
        return True
    if not is_miniature(target):
        raise DataError(f"{target} exists and isn't a miniature", "real data is never touched: choose another DIR")
    if _facts(target / MARKER, marker) == marker:
        log(f"{target} is there already")
        return False
    if not overwrite:
        raise DataError(
            f"{target} is a miniature with other settings", "give --overwrite to replace it, or another DIR"
        )
    return True


def _facts(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """What a marker says about `keys`; nothing when it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return {key: found.get(key) for key in keys} if isinstance(found, dict) else {}


def _remove_leftovers(root: Path, name: str) -> None:
    """What killed runs left behind; the lock says that none is alive."""
    for folder in root.glob(f".{name}.partial-*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".make-mini.lock", timeout=0):
            yield
    except Timeout as error:
        raise DataError(
            f"another process is writing miniatures into {root}", "wait for it, or choose another DIR"
        ) from error


@contextmanager
def _explain_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that rendered {target} was killed, perhaps for want of memory", "use fewer --workers"
        ) from error
    except OSError as error:
        # HDF5 wraps the system's words in several lines of its own.
        wrapped = re.search("error message = '([^']+)'", str(error))
        reason = wrapped[1] if wrapped else " ".join((error.strerror or str(error)).split())
        raise DataError(f"{target} can't be written ({reason})", "free space or choose another DIR") from error
