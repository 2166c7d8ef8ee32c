"""Lists the files of a dataset; missing ones are an error of one sentence. `link` says where to get the dataset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from croco_bench.data.formats.arrays import unreadable
from croco_bench.errors import AbsentError, DataError, UsageError, unknown

# Endings of files that a message names at most.
_KINDS_NAMED = 3
_LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found")


def is_litter(name: str) -> bool:
    """Whether an operating system left this file or folder: hidden ones such as .DS_Store and ._x.png, Thumbs.db, …"""
    return name.startswith(".") or name.lower() in _LITTER


def size_of(file: os.DirEntry[str]) -> int:
    """Bytes of a listed file.

    Raises:
        DataError: it is a link to nothing, or can't be read.
    """
    try:
        return file.stat().st_size
    except OSError as error:
        raise unreadable(Path(file.path), error) from error


def kinds_of(folder: Path) -> str:
    """What a folder holds instead of the files that are wanted, as " (but 12 .webp, 1 .txt)"; empty for an empty one."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_litter(entry.name) and entry.is_file()]
    return f" (but {kinds_in(names)})" if names else ""


def kinds_in(names: Iterable[str]) -> str:
    """How many files have which ending: "12 .webp, 1 .txt"."""
    counts = Counter(Path(name).suffix or "without an ending" for name in names).most_common(_KINDS_NAMED)
    return ", ".join(f"{count} {ending}" for ending, count in counts)


def base_of(root: Path, archives: Sequence[str], inside: str, link: str) -> Path:
    """The folder that holds `inside`: `root`, or the folder in it that one of the archives unpacks to.

    Raises:
        AbsentError: none does.
    """
    for base in (root, *(root / name for name in archives)):
        if (base / inside).is_dir():
            return base
    raise AbsentError(f"{root} holds no {inside}, directly or in {' or '.join(archives)}", f"unpack {link} there")


def subfolders(folder: Path, link: str) -> list[str]:
    """Sorted names of the folders in a folder.

    Raises:
        DataError: it can't be read, or has none.
    """
    names = sorted(entry.name for entry in _entries(folder, link) if entry.is_dir())
    if not names:
        raise DataError(f"{folder} holds no folder{kinds_of(folder)}", f"unpack {link} there")
    return names


def file_names(folder: Path, prefix: str, suffix: str, link: str) -> list[str]:
    """Sorted names of the files with this prefix and suffix.

    Raises:
        DataError: the folder can't be read, or has none.
    """
    names = (entry.name for entry in _entries(folder, link))
    matching = sorted(name for name in names if name.startswith(prefix) and name.endswith(suffix))
    if not matching:
        raise AbsentError(f"{folder} holds no {prefix}*{suffix}{kinds_of(folder)}", f"unpack {link} there")
    return matching


def numbered(folder: Path, prefix: str, suffix: str, link: str) -> list[int]:
    """Sorted numbers of the files called prefix, digits, suffix.

    Raises:
        DataError: the folder can't be read, or has none.
    """
    names = file_names(folder, prefix, suffix, link)
    middles = (name[len(prefix) : len(name) - len(suffix)] for name in names)
    numbers = sorted(int(middle) for middle in middles if middle.isdecimal())
    if not numbers:
        raise DataError(f"{folder} holds no file {prefix}<number>{suffix}", f"unpack {link} there")
    return numbers


def frames_with_successor(folder: Path, prefix: str, suffix: str, link: str) -> list[int]:
    """Numbers of the frames that have a successor: all but the last; a gap is an error.

    Raises:
        DataError: there are fewer than two, or one between the first and the last is missing.
    """
    numbers = numbered(folder, prefix, suffix, link)
    if len(numbers) < 2:
        raise DataError(f"{folder} holds a single frame, {prefix}{numbers[0]}{suffix}", f"unpack the rest of {link}")
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if missing:
        raise DataError(f"{folder} lacks frame {missing[0]}{_of_all(missing, 'frames')}", f"unpack the rest of {link}")
    return numbers[:-1]


def require(folder: Path, wanted: Iterable[str], present: Collection[str], link: str) -> None:
    """Refuses missing files: wanted names that aren't present in `folder`.

    Raises:
        DataError: something is missing.
    """
    missing = [name for name in wanted if name not in present]
    if missing:
        raise DataError(f"there is no {folder / missing[0]}{_of_all(missing, 'files')}", f"unpack the rest of {link}")


def require_exactly(folder: Path, wanted: Iterable[str], present: Collection[str], link: str) -> None:
    """Refuses missing files, and files that aren't wanted: the frame that they belong to is missing.

    Raises:
        DataError: the names present in `folder` aren't exactly the wanted ones.
    """
    names = set(wanted)
    require(folder, sorted(names), present, link)
    beyond = sorted(set(present) - names)
    if beyond:
        raise DataError(
            f"{folder / beyond[0]} belongs to no pair of frames that is there",
            f"unpack the rest of {link}, or move it away",
        )


def check_choice(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuses unknown names, and an empty choice.

    Raises:
        UsageError: no name is given, or one that isn't known.
    """
    for name in given:
        if name not in known:
            raise unknown(kind, name, known)
    if not given:
        raise UsageError(f"no {kind} is chosen", f"give some of {', '.join(known)}")


def _of_all(missing: Sequence[object], what: str) -> str:
    return f" ({len(missing)} {what} are missing)" if len(missing) > 1 else ""


def _entries(folder: Path, link: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_litter(entry.name)]
    except OSError as error:
        kind = AbsentError if isinstance(error, FileNotFoundError) else DataError
        said = unreadable(folder, error, f"unpack {link} there")
        raise kind(said.what, said.advice) from error
