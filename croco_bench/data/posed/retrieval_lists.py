"""Retrieval lists: for each query image of a scene, the most similar database images, best first, in published formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from croco_bench.data.posed.pickles import RefusedError, load_plain
from croco_bench.errors import DataError, UsageError
from croco_bench.files import atomic, parse_json
from croco_bench.numpy_objects import Objects
from croco_bench.types import Array

HLOC, RELOC3R, PREPARED = "7scenes_densevlad_retrieval_top_10", "_db-q_pair_info", "retrieval-"
DESCRIPTION = "retrieval.json"
# Database images per query in the lists written here.
TOP = 10
_EXPECTED = (
    f"{HLOC}/<scene>_top10.txt (hloc: DenseVLAD), {RELOC3R}/<scene>_q-retrieval_db-step=1_topk=10.npy (Reloc3r: NetVLAD), "
    f"or {PREPARED}<name>/, which croco-bench data prepare 7scenes writes"
)
# Query image -> database images, best first.
RetrievalList = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class RetrievalLists:
    """A folder with one list per scene; `maker` names the retrieval method."""

    folder: Path
    maker: str

    def of(self, scene: str) -> RetrievalList:
        """The list of a scene, with names such as `seq-01/frame-000000.color.png`.

        Raises:
            DataError: there is no list, more than one, or a damaged one.
        """
        paths = [path for path in sorted(self.folder.glob(f"{scene}[._]*")) if path.suffix in (".txt", ".npy")]
        if len(paths) != 1:
            what = " and ".join(path.name for path in paths) or "none"
            raise DataError(
                f"{self.folder} should hold one retrieval list of {scene}, {scene}_*.txt or {scene}_*.npy, but holds {what}"
            )
        (path,) = paths
        pairs = _read_text(path) if path.suffix == ".txt" else _read_objects(path)
        retrieved: dict[str, dict[str, None]] = {}
        for query, database in pairs:
            retrieved.setdefault(_frame(query, scene, path), {})[_frame(database, scene, path)] = None
        return {query: tuple(names) for query, names in retrieved.items()}


def find_lists(root: Path, given: str = "auto") -> RetrievalLists:
    """The retrieval lists of a dataset.

    Args:
        root: folder of the dataset.
        given: folder of the lists, relative to `root` or absolute. `auto` prefers hloc's lists, then Reloc3r's, then
            lists written by `croco-bench data prepare 7scenes`.

    Raises:
        DataError: there are no lists.
        UsageError: `auto` finds several prepared lists.
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
    if not (folder / DESCRIPTION).is_file():
        return RetrievalLists(folder, makers.get(folder.name, f"the lists in {folder.name}"))
    try:
        return RetrievalLists(folder, str(parse_json((folder / DESCRIPTION).read_text(encoding="utf-8"))["maker"]))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(
            f"{folder / DESCRIPTION} should say who made the lists beside it", "prepare them again"
        ) from error


def write_list(folder: Path, scene: str, retrieved: Mapping[str, Iterable[str]]) -> None:
    """Writes a scene's list in hloc's format, atomically."""
    lines = [f"{query} {name}\n" for query, names in retrieved.items() for name in names]
    with atomic(list_path(folder, scene)) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def list_path(folder: Path, scene: str) -> Path:
    """The file that `write_list` writes."""
    return folder / f"{scene}_top{TOP}.txt"


def write_maker(folder: Path, maker: str) -> None:
    """Writes the name of the retrieval method of the lists in `folder`."""
    with atomic(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps({"maker": maker}) + "\n", encoding="utf-8")


def retrieved_rows(
    retrieved: RetrievalList, queries: list[str], database: dict[str, int], count: int, scene: str
) -> Array:
    """Rows (queries, count) of the `count` best database images of each query.

    Args:
        retrieved: the list of the scene.
        queries: names of all test images.
        database: name of each training image -> its row.
        count: database images per query.
        scene: name of the scene, for messages.

    Raises:
        DataError: a query has fewer than `count` images, or the list names an image that isn't on disk.
    """
    tested = set(queries)
    unknown = next((name for name in retrieved if name not in tested), None)
    if unknown:
        raise DataError(f"the retrieval list of {scene} has {unknown} as a query, which is no test frame on disk")
    rows = np.empty((len(queries), count), dtype=np.int32)
    for i, query in enumerate(queries):
        names = retrieved.get(query, ())
        if len(names) < count:
            lacking = sum(len(retrieved.get(name, ())) < count for name in queries)
            raise DataError(
                f"the retrieval list of {scene} has {len(names)} images for {query}, but {count} are wanted ({lacking} of "
                f"{len(queries)} test frames lack some)",
                "lower it with --set task.neighbours=N, or take another list",
            )
        for column, name in enumerate(names[:count]):
            if name not in database:
                what = "is itself a test frame" if name in tested else "is no training frame on disk"
                raise DataError(f"the retrieval list of {scene} gives {name} for {query}, which {what}")
            rows[i, column] = database[name]
    return rows


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
    """Pairs (query, database image) from a pickled numpy array of dicts with `query_path` and `db_path`.

    Only arrays of plain objects are unpickled; any other content is refused.
    """
    try:
        with path.open("rb") as stream:
            content = _load_objects(stream)
        return [(_text(entry, "query_path"), _text(entry, "db_path")) for entry in content]
    except RefusedError as error:
        raise DataError(
            f"{path} wants to run code on loading ({error}), which is refused", "get another list"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} should hold an array of dicts with query_path and db_path, as Reloc3r saves it, but holds something "
            "else",
            "it is truncated, or another file",
        ) from error


def _load_objects(stream: IO[bytes]) -> list[Any]:
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, kind = read_header(stream)
    if not kind.hasobject:
        raise ValueError("an array of numbers")
    content = load_plain(stream)
    if not isinstance(content, Objects):
        raise ValueError("no array")
    return content.items


def _text(entry: Any, key: str) -> str:
    found = entry[key]
    if not isinstance(found, str):
        raise ValueError(f"{key} is no text")
    return found


def _frame(path: str, scene: str, listing: Path) -> str:
    """`<sequence>/<file name>` of a path; an error if the folder above isn't the scene's."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if len(parts) < 2 or (len(parts) > 2 and parts[-3] != scene):
        raise DataError(
            f"{listing} names {path[:80]!r}, which is no image of {scene}, such as seq-01/frame-000000.color.png"
        )
    return "/".join(parts[-2:])
