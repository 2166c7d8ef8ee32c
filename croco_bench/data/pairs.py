"""Lists of image pairs for pre-training, in all published layouts. Images are read on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.listed_lines import Labels, ListedLines
from croco_bench.errors import DataError
from croco_bench.files import fingerprint_of, joined, parse_json


class Pair(Protocol):
    """Two views of one scene."""

    def image(self, number: int) -> NDArray[np.uint8]:
        """View 1 or 2 as (H, W, 3) RGB."""
        ...

    def name(self, number: int) -> str:
        """The name of view 1 or 2 in error messages."""
        ...


@dataclass(frozen=True)
class FilePair:
    """Two image files."""

    paths: tuple[Path, Path]

    def image(self, number: int) -> NDArray[np.uint8]:
        """See `Pair.image`; grey images are converted to RGB."""
        return read_rgb(self.paths[number - 1])

    def name(self, number: int) -> str:
        """See `Pair.name`."""
        return str(self.paths[number - 1])


# Beside a list: the scene of each of its pairs, one a line.
SCENES = "scenes.txt"
# A line of a list -> two paths.
Parse = Callable[[str], tuple[str, str]]


class PairList:
    """The pairs of one list file: a reader of `{"pair": Pair}`.

    The list stays in its file, from which lines are read by their places. Blank lines and lines that begin with `#` are
    skipped.

    Args:
        dataset: name of the dataset.
        listing: the list file.
        root: folder to which the listed paths are relative.
        parse: gets the two paths of a line; raises `ValueError` or `IndexError` for other lines.
        header: skip the first line.
        scenes: a file with the scene of each pair, one a line; need not exist. Without it folders stand for scenes.
        folders_are_scenes: whether this is so by the layout.

    Raises:
        DataError: the list can't be read, or has no pairs, or `scenes` has another number of lines.
    """

    split = "train"

    def __init__(
        self,
        dataset: str,
        listing: Path,
        root: Path,
        parse: Parse,
        *,
        header: bool = False,
        scenes: Path | None = None,
        folders_are_scenes: bool = False,
    ) -> None:
        self.dataset, self.listing, self.root = dataset, listing, root
        self.miniature = is_miniature(root)
        self._parse = parse
        self._lines = ListedLines(listing, header=header)
        self.available = len(self._lines)
        if not self.available:
            raise DataError(f"{listing} lists no pairs", "expected one a line")
        self._scenes = _read_scenes(scenes, self.available) if scenes and scenes.is_file() else None
        self._folders: Labels | None = None
        self._print: str | None = None
        self.knows_scenes = folders_are_scenes or self._scenes is not None

    def __len__(self) -> int:
        return self.available

    def names(self, index: int) -> tuple[str, str]:
        """The two paths as listed, relative to the root.

        Raises:
            DataError: the line doesn't hold a pair.
        """
        return self._names_in(self._lines[index])

    def _names_in(self, content: bytes) -> tuple[str, str]:
        line = content.decode("utf-8", "replace").strip()
        try:
            if "\0" in line:  # a binary file
                raise ValueError(line)
            return self._parse(line)
        except (ValueError, IndexError) as error:
            raise DataError(f"{self.listing}: the line {line[:80]!r} doesn't hold a pair of paths") from error

    def __getitem__(self, index: int) -> dict[str, Any]:
        first, second = self.names(index)
        return {"pair": FilePair((self.root / first, self.root / second))}

    @property
    def groups(self) -> Sequence[str]:
        """The scene of each pair; where the list doesn't say it, the folder of its first view."""
        if self._scenes is not None:
            return self._scenes
        if self._folders is None:
            self._folders = Labels(self._folders_of_first_views(), self.available)
        return self._folders

    def _folders_of_first_views(self) -> Iterator[str]:
        pattern, folders = _FIRST_FOLDER.get(self._parse), _Folders()
        for block, indices in self._lines.blocks():
            usual = pattern is not None and not block.translate(None, delete=_USUAL)
            found = pattern.findall(block) if pattern is not None and usual else []
            if len(found) == len(indices):
                yield from map(folders.__getitem__, found)
            else:  # some line is none of a pair, or has other characters, or the layout is another
                yield from (self.names(index)[0].rpartition("/")[0] for index in indices)

    def fingerprint(self) -> str:
        """Hash of the list file, and of the scenes where they are listed; both are read once."""
        if self._print is None:
            self._print = fingerprint_of(chain(self._lines.content(), joined("\n", self._scenes or ())))
        return self._print


def _read_scenes(path: Path, count: int) -> Labels:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            scenes = Labels(scene.strip() for line in stream for scene in line.splitlines())
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    if len(scenes) != count or "" in scenes:
        said = "an empty line" if "" in scenes else f"{len(scenes)} scenes"
        raise DataError(
            f"{path} has {said} for {count} pairs", "it should have one scene a line, in the order of the pairs"
        )
    return scenes


def open_pairs(where: Path) -> PairList:
    """The pairs listed in a folder or a file; the layout is recognised from file names.

    - A folder with `pairs.txt` (CroCo's Habitat release, or `croco-bench data make-pairs`): two paths per line, relative to
      the folder or to `root` in `pairs.json`.
    - A folder with `listing.txt` (CroCo v2's real crops): after the line `# pair_path`, one stem per line for the files
      `<stem>_1.jpg` and `<stem>_2.jpg`.
    - A `.csv` file (MIMIC): columns `path1,path2,…`, relative to the file's folder.
    - Any other file: two columns of paths, absolute or relative to the file's folder.

    Beside `pairs.txt` or `listing.txt`, `scenes.txt` may name the scene of each pair; `make-pairs` writes it.

    Raises:
        DataError: there is no such list.
    """
    if where.is_file():
        if where.suffix == ".csv":
            return PairList(where.stem, where, where.parent, _csv_columns(where), header=True)
        return PairList(where.stem, where, where.parent, _two_columns)
    if (where / "pairs.txt").is_file():
        root = _root_of_mined(where)
        # CroCo's release has a folder per scene; mined pairs may come from many folders of one scene.
        return PairList(
            where.name,
            where / "pairs.txt",
            root,
            _two_columns,
            scenes=where / SCENES,
            folders_are_scenes=root == where,
        )
    if (where / "listing.txt").is_file():
        return PairList(where.name, where / "listing.txt", where, _stem, scenes=where / SCENES)
    tables = sorted(where.glob("*.csv"))
    if len(tables) == 1:
        return open_pairs(tables[0])
    if not where.exists():
        raise DataError(f"there is no {where}", "give a folder or a list of pairs, or rooms to render them")
    raise DataError(
        f"{where} holds neither pairs.txt, listing.txt nor one .csv",
        "where it is CroCo's Habitat release, croco-bench data prepare habitat_release lists its pairs",
    )


def _root_of_mined(folder: Path) -> Path:
    """`root` in `pairs.json`, if there is one; else the folder."""
    facts = folder / "pairs.json"
    if not facts.is_file():
        return folder
    try:
        return folder / str(parse_json(facts.read_text(encoding="utf-8"))["root"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{facts} should say the root of the paths in pairs.txt", "mine the pairs again") from error


def _two_columns(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _stem(line: str) -> tuple[str, str]:
    return f"{line}_1.jpg", f"{line}_2.jpg"


# Whole lines of usual characters, of which the group is the folder of the first view, with its slash: many at once.
_FIRST_FOLDER: dict[Parse, re.Pattern[bytes]] = {
    _two_columns: re.compile(rb"^(?!#)[ \t\r]*+([!-~]*/)?[!-.0-~]*+[ \t\r]++[!-~]++[ \t\r]*+$", re.MULTILINE),
    _stem: re.compile(rb"^(?!#)[ \t\r]*+(?=[^ \t\r\n])([^\n]*/)?[^/\n]*+$", re.MULTILINE),
}
_USUAL = bytes(range(32, 127)) + b"\t\r\n"


class _Folders(dict[bytes, str]):
    """Names of folders, without the slash."""

    def __missing__(self, name: bytes) -> str:
        self[name] = found = name[:-1].decode("ascii")
        return found


def _csv_columns(path: Path) -> Parse:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        names = [name.strip() for name in stream.readline().split(",")]
    if not {"path1", "path2"} <= set(names):
        raise DataError(f"{path} should begin with the columns path1,path2", f"found {','.join(names)[:80]}")
    return partial(_cells, names.index("path1"), names.index("path2"))


def _cells(one: int, two: int, line: str) -> tuple[str, str]:
    cells = line.split(",")
    return cells[one].strip(), cells[two].strip()
