"""Reads the catalogue of datasets: one TOML file each, called like the dataset's folder below the data root."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from croco_bench.data.checks.run_check import Finding
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import parse_toml
from croco_bench.registry import announced


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset.

    Attributes:
        name: its folder below the data root, and the name of its TOML file.
        title: a few words on what it holds.
        size: number of images or pairs, bytes on disk.
        license: terms of use.
        link: where to get it.
        layout: the files in its folder.
        module: the module of its reader. It offers `check(root) -> list[Finding]`; where a release leaves something to its
            users, also `prepare(root) -> str`, which makes that and returns what it made, in a few words.
        check_function: the name of `check` in a module of several datasets.
        downloads: addresses of files that are offered without a form, one a line; archives unpack into the dataset's folder.
    """

    name: str
    title: str
    size: str
    license: str
    link: str
    layout: str
    module: str
    check_function: str = "check"
    downloads: str = ""

    def addresses(self) -> list[str]:
        """The addresses in `downloads`."""
        return self.downloads.split()

    def check(self, root: Path) -> list[Finding]:
        """Looks at the files under `root`, this dataset's own folder."""
        function: Callable[[Path], list[Finding]] = getattr(self._import(), self.check_function)
        return function(root)

    def preparer(self) -> Callable[[Path], str]:
        """The module's `prepare`.

        Raises:
            UsageError: this dataset needs no preparation.
        """
        prepare: Callable[[Path], str] | None = getattr(self._import(), "prepare", None)
        if prepare is None:
            raise UsageError(
                f"{self.name} needs no preparation: it is read as it is published",
                "croco-bench data prepare --help says what can be prepared",
            )
        return prepare

    def _import(self) -> Any:
        return importlib.import_module(self.module)


class Catalogue(Mapping[str, DatasetInfo]):
    """The datasets described in a folder of TOML files, sorted by name. A file is read when its dataset is asked for.

    Another distribution announces such an object (or a dict) by the entry point `croco_bench.datasets`.

    Args:
        folder: of the files.
        others: gives descriptions of further datasets, when they are first needed.
    """

    def __init__(self, folder: Path, others: Callable[[], Mapping[str, DatasetInfo]] = dict) -> None:
        self._folder, self._others = folder, others

    def __getitem__(self, name: str) -> DatasetInfo:
        path = self._paths().get(name)
        return self._others()[name] if path is None else _read(path)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self._paths(), *self._others()]))

    def __len__(self) -> int:
        return len(self._paths()) + len(self._others())

    def _paths(self) -> dict[str, Path]:
        return {path.stem: path for path in self._folder.glob("*.toml")}


def _read(path: Path) -> DatasetInfo:
    """Reads one file; every key is required but `check_function` and `downloads`, and no other is known.

    Raises:
        DataError: it is no TOML, or has a wrong key or value.
    """
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read ({error})", "it should be a TOML file of texts") from error
    known = [field.name for field in fields(DatasetInfo)[1:]]
    for key, value in content.items():
        if key not in known:
            raise DataError(f"{path}: {key} is no key of a dataset", f"known: {', '.join(known)}")
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{path}: {key} should be a text that isn't empty", f"found {value!r}")
    missing = [key for key in known if key not in content and key not in ("check_function", "downloads")]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}", "add what is missing")
    return DatasetInfo(name=path.stem, **content)


@cache
def _announced() -> Mapping[str, DatasetInfo]:
    """Datasets of other distributions."""
    own = Catalogue(Path(__file__).parent)
    return {name: info for name, _, info in announced("dataset", group="croco_bench.datasets", taken=own)}


CATALOGUE: Mapping[str, DatasetInfo] = Catalogue(Path(__file__).parent, _announced)


def dataset_info(name: str) -> DatasetInfo:
    """The dataset called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in CATALOGUE:
        raise unknown("dataset", name, CATALOGUE)
    return CATALOGUE[name]
