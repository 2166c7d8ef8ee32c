"""Makes miniatures: small datasets of rendered rooms in official layouts, in parallel, complete or not at all."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from croco_bench import __version__
from croco_bench.data import miniatures
from croco_bench.data.folders import MARKER, is_miniature
from croco_bench.data.miniatures.miniature import Miniature
from croco_bench.data.process_pool import IN_A_SCRIPT, process_pool
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import exclusive_lock, parse_json
from croco_bench.progress import Bar, log
from croco_bench.registry import announced


def _find() -> dict[str, Miniature]:
    """The constant `MINIATURE` of every module below this folder that has one, and what others announce, sorted by dataset."""
    names = [module.name for module in pkgutil.walk_packages(miniatures.__path__, f"{miniatures.__name__}.")]
    modules = [importlib.import_module(name) for name in names if name != __name__]
    found = {module.MINIATURE.name: module.MINIATURE for module in modules if hasattr(module, "MINIATURE")}
    others = {name: one for name, _, one in announced("miniature", group="croco_bench.miniatures", taken=found)}
    return dict(sorted({**found, **others}.items()))


MINIATURES = _find()


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

    Finished miniatures with the same settings are kept. The result doesn't depend on the number of workers.

    Args:
        root: the folder; each dataset has its own folder in it.
        datasets: datasets to write; default: all but `multimae`, which has the images of `habitat_release` again, with depth
            and classes.
        changes: settings as `DATASET.KEY=VALUE`, such as `nyuv2.train=50`.
        tiny: write a few images each, for tests.
        seed: seed of all rooms.
        workers: number of processes; default: the number of processors.
        overwrite: replace miniatures with other settings.

    Raises:
        UsageError: a dataset or setting is unknown.
        DataError: a dataset's folder holds real data or another miniature, or can't be written.
    """
    root = Path(root)
    specs = _specs(datasets, changes, tiny)
    for name, spec in specs.items():
        busy = DataError(f"another process is writing miniatures into {root}", "wait for it, or choose another DIR")
        with _explain_errors(root / name), exclusive_lock(root / ".make-mini.lock", busy=busy):
            _clear_leftovers(root)
            _make_one(root, name, spec, seed, workers or os.cpu_count() or 1, overwrite)


def _specs(datasets: Iterable[str] | None, changes: Iterable[str], tiny: bool) -> dict[str, Any]:
    """The settings of every dataset to write."""
    names = list(datasets or (name for name, miniature in MINIATURES.items() if miniature.by_default))
    for name in names:
        if name not in MINIATURES:
            raise unknown("miniature", name, MINIATURES)
    specs = {name: MINIATURES[name].tiny if tiny else MINIATURES[name].default for name in names}
    for change in changes:
        target, _, text = change.partition("=")
        name, _, key = target.partition(".")
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
    partial = root / f".{name}.partial-{os.getpid()}"
    partial.mkdir(parents=True)
    try:
        with process_pool(workers) as pool, Bar(name, miniature.count(spec)) as bar:
            miniature.write(partial, spec, seed, pool, bar.advance)
        text = json.dumps({**marker, "croco_bench": __version__}, indent=2) + "\n"
        (partial / MARKER).write_text(text, encoding="utf-8")
    except BaseException:
        _remove(partial)  # it would keep a full disk full
        raise
    # The old folder is renamed before it is deleted, so that a killed process leaves no incomplete one under its name;
    # where it is killed between the two renames, the next call does the second one.
    old = root / f".{name}.partial-{os.getpid()}-old"
    if target.exists():
        target.rename(old)
    partial.rename(target)
    _remove(old)
    log(f"wrote {target}")


def _is_free(target: Path, marker: dict[str, Any], overwrite: bool) -> bool:
    """Whether to write; False if the folder holds a miniature with the same settings."""
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
    """The values of `keys` in a marker file; none if it is damaged."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return {key: content.get(key) for key in keys} if isinstance(content, dict) else {}


def _clear_leftovers(root: Path) -> None:
    """Removes folders of killed processes; with the lock held, none of them is alive.

    A finished miniature without its name gets it: its process was killed after the old one had lost the name.
    """
    for name in MINIATURES:
        for folder in sorted(root.glob(f".{name}.partial-*"), key=lambda path: path.name.endswith("-old")):
            if is_miniature(folder) and not (root / name).exists():
                folder.rename(root / name)
            else:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Deletes a miniature, first the marker of a finished one, so that what is half deleted is never taken for one."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _explain_errors(target: Path) -> Iterator[None]:
    """Turns a killed worker and a failed write into a `DataError`."""
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that rendered {target} was killed, perhaps for want of memory",
            f"use fewer --workers{IN_A_SCRIPT}",
        ) from error
    except OSError as error:
        # HDF5 puts the system's message into several lines of its own.
        wrapped = re.search("error message = '([^']+)'", str(error))
        reason = wrapped[1] if wrapped else " ".join((error.strerror or str(error)).split())
        raise DataError(f"{target} can't be written ({reason})", "free space or choose another DIR") from error
