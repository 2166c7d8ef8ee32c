"""Lists that name, for each query image of a scene, the database images that look most alike: as others publish them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from croco_bench.errors import DataError, UsageError
from croco_bench.files import atomic
from croco_bench.types import Array

HLOC, RELOC3R, PREPARED = "7scenes_densevlad_retrieval_top_10", "_db-q_pair_info", "retrieval-"
FACTS = "retrieval.json"
# How many images a list names for each query.
TOP = 10
_EXPECTED = (
    f"{HLOC}/<scene>_top10.txt (hloc: DenseVLAD), {RELOC3R}/<scene>_q-retrieval_db-step=1_topk=10.npy (Reloc3r: NetVLAD), "
    f"or {PREPARED}<name>/, which croco-bench data prepare 7scenes writes"
)
Listed = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class RetrievalLists:
    """A folder with a list per scene, and who made them."""

    folder: Path
    maker: str

    def of(self, scene: str) -> Listed:
        """Query -> database images, best first; both as `seq-01/frame-000000.color.png`.

        Raises:
            DataError: there is no list, or more than one, or it is damaged.
        """
        found = [path for path in sorted(self.folder.glob(f"{scene}[._]*")) if path.suffix in (".txt", ".npy")]
        if len(found) != 1:
            what = " and ".join(path.name for path in found) or "none"
            raise DataError(
                f"{self.folder} should hold one retrieval list of {scene}, {scene}_*.txt or {scene}_*.npy, but holds {what}"
            )
        pairs = _read_text(found[0]) if found[0].suffix == ".txt" else _read_objects(found[0])
        listed: dict[str, dict[str, None]] = {}
        for query, database in pairs:
            listed.setdefault(_frame(query, scene, found[0]), {})[_frame(database, scene, found[0])] = None
        return {query: tuple(names) for query, names in listed.items()}


def find_lists(root: Path, given: str = "auto") -> RetrievalLists:
    """The lists below `root`: `given` names their folder, relative to it or absolute; `auto` takes what is there.

    Of several, `auto` prefers hloc's, then Reloc3r's, then those that were prepared here.

    Raises:
        DataError: there are none.
        UsageError: several were prepared here, and none is named.
    """
    if given != "auto":
        if not (root / given).is_dir():
            raise DataError(f"there is no folder {root / given} with retrieval lists", f"expected {_EXPECTED}")
        return _lists(root / given)
    prepared = sorted(path for path in root.glob(f"{PREPARED}*") if path.is_dir())
    for folder in (root / HLOC, root / RELOC3R):
        if folder.is_dir():
            return _lists(folder)
    if not prepared:
        raise DataError(
            f"{root} holds no retrieval lists, which say what to compare test images with", f"expected {_EXPECTED}"
        )
    if len(prepared) > 1:
        names = ", ".join(path.name for path in prepared)
        raise UsageError(f"{root} holds several retrieval lists: {names}", "name one with --set task.lists=NAME")
    return _lists(prepared[0])


def _lists(folder: Path) -> RetrievalLists:
    makers = {HLOC: "DenseVLAD, hloc's lists", RELOC3R: "NetVLAD, Reloc3r's lists"}
    if not (folder / FACTS).is_file():
        return RetrievalLists(folder, makers.get(folder.name, f"the lists in {folder.name}"))
    try:
        return RetrievalLists(folder, str(json.loads((folder / FACTS).read_text(encoding="utf-8"))["maker"]))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{folder / FACTS} should say who made the lists beside it", "prepare them again") from error


def write_list(folder: Path, scene: str, listed: Mapping[str, Iterable[str]]) -> None:
    """Writes a scene's list as hloc does, whole or not at all."""
    lines = [f"{query} {name}\n" for query, names in listed.items() for name in names]
    with atomic(list_path(folder, scene)) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def list_path(folder: Path, scene: str) -> Path:
    """Where `write_list` writes."""
    return folder / f"{scene}_top{TOP}.txt"


def write_maker(folder: Path, maker: str) -> None:
    """Writes who made the lists in `folder`, in a few words."""
    with atomic(folder / FACTS) as temporary:
        temporary.write_text(json.dumps({"maker": maker}) + "\n", encoding="utf-8")


def retrieved_rows(listed: Listed, queries: list[str], database: dict[str, int], count: int, scene: str) -> Array:
    """Rows (queries, count) of the database images listed first for each query, by `database`: name -> row.

    Raises:
        DataError: a query has no line, or fewer than `count`; a query or a database image is none.
    """
    tested = set(queries)
    strange = next((name for name in listed if name not in tested), None)
    if strange:
        raise DataError(f"the retrieval list of {scene} has {strange} as a query, which is no test frame on disk")
    chosen = np.empty((len(queries), count), dtype=np.int32)
    for row, query in enumerate(queries):
        names = listed.get(query, ())
        if len(names) < count:
            lacking = sum(len(listed.get(name, ())) < count for name in queries)
            raise DataError(
                f"the retrieval list of {scene} has {len(names)} images for {query}, but {count} are wanted ({lacking} of "
                f"{len(queries)} test frames lack some)",
                "lower it with --set task.neighbours=N, or take another list",
            )
        for column, name in enumerate(names[:count]):
            if name not in database:
                what = "is itself a test frame" if name in tested else "is no training frame on disk"
                raise DataError(f"the retrieval list of {scene} gives {name} for {query}, which {what}")
            chosen[row, column] = database[name]
    return chosen


def _read_text(path: Path) -> list[tuple[str, str]]:
    """Lines `query database`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as text ({error})") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words and not line.startswith("#"):
            if len(words) != 2:
                raise DataError(
                    f"{path}, line {number}: expected two paths, query and database, but found {line[:80]!r}"
                )
            pairs.append((words[0], words[1]))
    return pairs


def _read_objects(path: Path) -> list[tuple[str, str]]:
    """An array of dicts with `query_path` and `db_path`, as numpy pickles it; whatever else is in the file is refused."""
    try:
        with path.open("rb") as stream:
            content = _load_objects(stream)
        return [(str(entry["query_path"]), str(entry["db_path"])) for entry in content.ravel()]
    except _RefusedError as error:
        raise DataError(
            f"{path} wants to run code on loading ({error}), which is refused", "get another list"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} should hold an array of dicts with query_path and db_path, as Reloc3r saves it, but holds something "
            "else",
            "it is truncated, or another file",
        ) from error


class _RefusedError(Exception):
    """The pickle names something that is no part of an array."""


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays of plain objects. Nothing in a file is ever run."""

    _allowed = {  # noqa: RUF012 - a constant
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _RefusedError(f"{module}.{name}")
        return super().find_class(module, name)


def _load_objects(stream: IO[bytes]) -> Array:
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, kind = read_header(stream)
    if not kind.hasobject:
        raise ValueError("an array of numbers")
    content = _ArraysOnly(stream).load()
    if not isinstance(content, np.ndarray):
        raise ValueError("no array")
    return content


def _frame(path: str, scene: str, listing: Path) -> str:
    """Sequence and file name; whatever stands before must be the scene's folder."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if len(parts) < 2 or (len(parts) > 2 and parts[-3] != scene):
        raise DataError(
            f"{listing} names {path[:80]!r}, which is no image of {scene}, such as seq-01/frame-000000.color.png"
        )
    return "/".join(parts[-2:])
