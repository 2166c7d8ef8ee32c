"""Result files: where they lie, written whole or not at all, checked when read. No torch here."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape as glob_escape
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from croco_bench.errors import BusyError, RecordError, UsageError
from croco_bench.files import atomic, exclusive_lock, remove, sweep
from croco_bench.records.schema import SCHEMA_VERSION, Result

_MAX_NAME = 200
_ENDED = "ended"
_LAYOUT = "*/*/*/seed*.json"  # recipe, task, model
_OTHER_LAYOUTS = ("seed*.json", "*/seed*.json", "*/*/seed*.json", "*/*/*/*/seed*.json")


def check_name(name: str, what: str) -> None:
    """Refuses a name that couldn't be the name of one folder, so that nothing is written outside the results folder.

    Raises:
        UsageError: it is empty, only dots, too long, or has a slash or a control character.
    """
    if not name.strip(". "):
        reason = "is empty" if not name else "has nothing but dots and spaces"
    elif any(letter in name for letter in "/\\"):
        reason = "has a slash"
    elif not name.isprintable():
        reason = "has a control character"
    elif len(name.encode()) > _MAX_NAME:
        reason = f"is longer than {_MAX_NAME} bytes"
    else:
        return
    raise UsageError(f"{name!r} can't be a {what}: it {reason}", "letters, digits, dots and hyphens make a good one")


@dataclass(frozen=True)
class ResultPaths:
    """The place of one result: `<results>/<recipe>/<task>/<model>/seed<N>.json`, `.npz` beside it, and a work folder.

    A run that is to replace a finished result works in `seed<N>.new`, so that nothing is lost until it has ended, too.

    Raises:
        UsageError: recipe, task or model can't be the name of a folder.
    """

    results: Path
    recipe: str
    task: str
    model: str
    seed: int
    replacing: bool = False

    def __post_init__(self) -> None:
        check_name(self.recipe, "name of a recipe")
        check_name(self.task, "name of a task")
        check_name(self.model, "model's name (--name)")

    @classmethod
    def of(cls, path: Path) -> ResultPaths:
        """The slot of a result file's path.

        Raises:
            RecordError: the file's name or place isn't that of a result.
        """
        seed = re.fullmatch(r"seed(-?[0-9]{1,20})", path.stem)
        if seed is None or len(path.parents) < 4:
            raise RecordError(f"{path} isn't RECIPE/TASK/MODEL/seedN.json", "rename it or move it away")
        recipe, task, model = path.parts[-4:-1]
        return cls(path.parents[3], recipe, task, model, int(seed[1]))

    @property
    def folder(self) -> Path:
        """Checkpoints, log, pictures and fine-tuned weights of the run."""
        return self._home.with_suffix(".new") if self.replacing else self._home

    @property
    def _home(self) -> Path:
        return self.results.joinpath(self.recipe, self.task, self.model, f"seed{self.seed}")

    @property
    def json(self) -> Path:
        """The result."""
        return self._home.with_suffix(".json")

    @property
    def rows(self) -> Path:
        """Per-image values: one float64 array per metric key, `index`, and `group`, the scene of each image."""
        return self._home.with_suffix(".npz")

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.folder / "sheet.png"

    @property
    def breakdown(self) -> Path:
        """Finer numbers behind the metrics, per class, say; only some tasks have them."""
        return self.folder / "breakdown.csv"

    def lock(self) -> AbstractContextManager[None]:
        """Keeps a second run out; freed by the system when a process dies.

        Raises:
            RecordError: another run is at work here, or the folder is a link.
        """
        if self._home.is_symlink():
            raise RecordError(
                f"{self._home} is a link to a folder", "remove the link, or give another --results folder"
            )
        busy = BusyError(f"another run is at work in {self.folder}", "wait for it, or give --name, --seed or --results")
        return exclusive_lock(self._home / "lock", busy=busy, unwritable="give another --results folder")

    def begin(self, *, fresh: bool) -> None:
        """Removes leftovers of killed runs; with `fresh` also an unfinished run, so that the next one starts over."""
        sweep(self._home.parent, self.json.name, self.rows.name)
        new = replace(self, replacing=True)
        if (new.folder / _ENDED).exists():
            new._take_over()
        if fresh and self.json.exists():
            _empty(new.folder)
            new.folder.mkdir(exist_ok=True)
        elif fresh:
            _empty(self._home)
            new.remove_folder()
        for folder in (self._home, new.folder):
            sweep(folder, "*")

    def at_work(self) -> ResultPaths:
        """These paths, with the work folder of the run that is now to be done or gone on with."""
        new = replace(self, replacing=True)
        return new if new.folder.is_dir() else self

    def end(self) -> None:
        """After the result is written: the new work folder's content takes the place of the old one's."""
        if not self.replacing:
            return
        for item in self._home.iterdir():
            if item.name != "lock" and not (self.folder / item.name).exists():
                remove(item)
        (self.folder / _ENDED).touch()
        self._take_over()

    def _take_over(self) -> None:
        """Moves what is in the new work folder; a killed process may have begun."""
        for item in self.folder.iterdir():
            if item.name != _ENDED:
                remove(self._home / item.name)
                item.rename(self._home / item.name)
        self.remove_folder()

    def remove_folder(self) -> None:
        """Removes the work folder."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)


def _empty(folder: Path) -> None:
    """Removes what is in a folder, but the lock."""
    for item in folder.iterdir() if folder.is_dir() else ():
        if item.name != "lock":
            remove(item)


class ResultFile(NamedTuple):
    """One result, and where it lies."""

    paths: ResultPaths
    result: Result


def write(slot: ResultPaths, result: Result, rows: Mapping[str, Any]) -> None:
    """Writes rows and the result, each atomically: a result is never there without its rows.

    Raises:
        RecordError: the folder can't be written; the result is kept in a temporary file that the message names.
    """
    import numpy as np

    text = result.model_dump_json(indent=2) + "\n"
    try:
        # Nested, so that both take their places at the same moment: rows of another run would stand beside a result.
        with atomic(slot.json) as temporary, atomic(slot.rows) as beside:
            temporary.write_text(text, encoding="utf-8")
            with beside.open("wb") as stream:
                np.savez_compressed(stream, **dict(rows))
    except RecordError as error:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".json", prefix="croco-bench-", delete=False, encoding="utf-8"
        ) as rescue:
            rescue.write(text)
        raise RecordError(f"{error}", f"the finished result was kept in {rescue.name}") from error


def read(path: Path) -> Result:
    """One result file.

    Raises:
        RecordError: it is missing, damaged, or of another schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise RecordError(
            f"{path} isn't a result of schema {SCHEMA_VERSION} ({where}: {first['msg'].lower()})",
            "make it again or move it away",
        ) from error


@contextmanager
def reading_rows(path: Path) -> Iterator[None]:
    """Says in a sentence why a file of values per image can't be read.

    Raises:
        RecordError: instead of any error inside.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise RecordError(
            f"there are no per-image values {path}", "keep the .npz files beside the .json files, or run again"
        ) from error
    except Exception as error:  # NumPy and zipfile raise all kinds of errors for damaged files
        raise RecordError(f"{path} can't be read: {error}", "make the result again") from error


def require_free_name(slot: ResultPaths, weights: str) -> None:
    """Refuses a model name under which results of other weights lie in the same folder; the slot's own file doesn't count.

    Args:
        slot: where the new result is to lie.
        weights: the SHA-256 of the new weights, or their source where there is no file.

    Raises:
        RecordError: the name stands for other weights already.
    """
    for path in sorted(slot.results.glob(f"*/*/{glob_escape(slot.model)}/seed*.json")):
        if path == slot.json:
            continue
        try:
            other = read(path).model
        except RecordError:
            continue  # the table tells of damaged files
        if other.identity != weights:
            raise RecordError(
                f"{path} is of other weights that are called {slot.model} too ({other.identity[:12]}, not {weights[:12]})",
                "give this checkpoint another name with --name, in a sweep with --ckpt NAME=CKPT",
            )


def read_all(folders: Iterable[Path], recipe: str | None = None) -> tuple[list[ResultFile], list[str]]:
    """All results below some folders, in the order of their paths, and a sentence for each file that can't be read."""
    found: list[ResultFile] = []
    complaints: list[str] = []
    for folder in folders:
        if folder.is_file():
            raise RecordError(
                f"{folder} is a file, not a folder of results",
                f"croco-bench show {folder} prints one result; --results takes the folder that holds "
                "RECIPE/TASK/MODEL/seedN.json",
            )
        if not folder.is_dir():
            raise RecordError(
                f"there is no results folder {folder}", "name one with --results, or make results with croco-bench run"
            )
        for path in sorted(folder.glob(_LAYOUT)):
            if not fnmatchcase(path.parts[-4], recipe or "*"):
                continue
            try:
                found.append(ResultFile(ResultPaths.of(path), read(path)))
            except (RecordError, ValueError) as error:
                complaints.append(str(error))
    return found, complaints


def reasons_for_nothing(folders: Iterable[Path], recipe: str | None = None) -> list[str]:
    """Why `read_all` finds no result in folders that hold some: of other recipes, or a folder too high or too low."""
    reasons = []
    for folder in folders:
        if recipes := sorted({path.parts[-4] for path in folder.glob(_LAYOUT)}):
            reasons.append(f"all results in {folder} are of {', '.join(recipes)}, none of {recipe}")
        elif odd := next(iter(sorted(path for glob in _OTHER_LAYOUTS for path in folder.glob(glob))), None):
            reasons.append(f"{odd} should be RECIPE/TASK/MODEL/seedN.json below {folder}: name the folder that fits")
    return reasons
