"""What the cache folder holds, and its removal: downloads, kept features, lists of archives, compiled networks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from croco_bench.errors import RecordError
from croco_bench.files import cache_folder, exclusive_lock, remove

Kind = Literal["vectors", "tokens", "archives", "compiled", "downloads"]
# Beside kept features: what they are of.
ABOUT = "begun"


@dataclass(frozen=True)
class CacheEntry:
    """One folder or file of the cache.

    Attributes:
        kind: kept vectors or tokens of a frozen backbone, the list of an archive's files, compiled networks, or a downloaded
            checkpoint.
        path: of the folder or file.
        about: what it is of.
        size: in bytes.
        age_days: since it was last written.
    """

    kind: Kind
    path: Path
    about: str
    size: int
    age_days: float


def entries() -> list[CacheEntry]:
    """Everything in the cache, largest first; empty where there is none.

    Raises:
        RecordError: a folder can't be read.
    """
    try:
        return sorted((_entry(kind, path) for kind, path in _paths()), key=lambda entry: -entry.size)
    except OSError as error:
        where = error.filename or cache_folder()
        raise RecordError(f"can't read {where} ({error.strerror or error})", "check its permissions") from error


def _entry(kind: Kind, path: Path) -> CacheEntry:
    facts = []
    for file in [path] if path.is_file() else path.rglob("*"):
        with suppress(FileNotFoundError):  # a run at work may have renamed it
            if file.is_file():
                facts.append(file.stat())
    age = (time.time() - max((fact.st_mtime for fact in facts), default=0.0)) / 86400
    return CacheEntry(kind, path, _about(kind, path), sum(fact.st_size for fact in facts), max(age, 0.0))


def _paths() -> Iterator[tuple[Kind, Path]]:
    root = cache_folder()
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.name in get_args(Kind) and path.is_dir():
            kind: Kind = path.name  # type: ignore[assignment]  # one of them
            yield from ((kind, entry) for entry in sorted(path.iterdir()) if not entry.name.startswith("."))
        elif path.is_dir() and not path.name.startswith("."):
            yield "downloads", path


def _about(kind: Kind, path: Path) -> str:
    if kind in ("vectors", "tokens"):
        about = path / ABOUT
        text = about.read_text(encoding="utf-8", errors="replace").strip() if about.is_file() else ""
        return text or f"{kind} of an unnamed run"
    if kind == "compiled":
        return "compiled networks of one version of torch"
    if kind == "archives":
        return "list of the images in an archive"
    names = [file.name for file in path.iterdir() if file.name != "lock" and file.suffix != ".version"]
    return ", ".join(sorted(names)) or "nothing yet"


def clear(kinds: tuple[Kind, ...], older_than_days: float = 0.0) -> tuple[list[CacheEntry], list[CacheEntry]]:
    """Removes entries of these kinds that were last written at least so many days ago.

    Returns:
        Those removed, and those that another process is using, which stay.

    Raises:
        RecordError: an entry can't be removed.
    """
    removed, used = list[CacheEntry](), list[CacheEntry]()
    for entry in entries():
        if entry.kind in kinds and entry.age_days >= older_than_days:
            (removed if _remove(entry) else used).append(entry)
    return removed, used


def _remove(entry: CacheEntry) -> bool:
    """Whether the entry could be removed: False if another process holds its lock."""
    path = entry.path
    lock = path / "lock" if entry.kind == "downloads" else path.with_name(f".{path.name}.lock")
    busy = RecordError(f"{path} is in use")
    try:
        with exclusive_lock(lock, busy=busy):
            remove(path)
    except RecordError:
        return False
    except OSError as error:
        raise RecordError(f"can't remove {path} ({error.strerror or error})", "check its permissions") from error
    lock.unlink(missing_ok=True)
    return True
