"""Numbers that somebody reported: TOML files, one per source. `results/README.md` says what they hold.

Built-in files lie in `results/published`. Another distribution brings its own through the entry-point group
`croco_bench.published`, whose entries name packages with .toml files; a user, through a folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError, field_validator

from croco_bench.errors import BenchError, RecordError
from croco_bench.files import parse_toml

# How a number was made, as far as it decides which others it may stand beside. `dedicated`: a network that was built and
# trained for this task alone. `server`: by a test server, on its hidden truth.
ProtocolClass = Literal[
    "finetuned",
    "frozen-linear",
    "frozen-dpt",
    "frozen-attentive",
    "frozen-encoder",
    "frozen",
    "zero-shot",
    "server",
    "dedicated",
]
# `read in source`: in the authors' own file. `transcribed`: in other texts that repeat it. `contradicted`: a text gives it
# that other texts contradict.
Status = Literal["read in source", "transcribed", "contradicted"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class OwnColumn(_Part):
    """A metric of a task that no installed distribution offers."""

    key: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"]
    digits: int = 1


class PrintedColumn(_Part):
    """A column of a table as the source prints it: its values are ours times `scale`, in `unit`."""

    key: str
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int


class PrintedTable(_Part):
    """A table of the source, to be printed whole. Its rows name it."""

    name: str
    title: str
    columns: tuple[PrintedColumn, ...]


class PublishedRow(_Part):
    """One model's numbers.

    Attributes:
        model: how the source calls it.
        nominal: the weights that it stands for, so that sources can be compared.
        checkpoint: name of these weights among `croco-bench models`, where they are known there.
        values: `<task>/<metric>` -> number, in our unit.
        own_class: of the protocol, where it isn't the source's.
        split: what was scored, where it isn't what the task scores.
        images: how many images, or pairs, were scored, where that decides what the number may be compared with.
        status: where it isn't the source's.
        table: the printed table that the row belongs to.
        note: what else a reader must know.
    """

    model: str
    nominal: str
    checkpoint: str = ""
    values: dict[str, float] = Field(min_length=1)
    own_class: ProtocolClass | None = Field(default=None, alias="class")
    split: str = ""
    images: int | None = None
    status: Status | None = None
    table: str = ""
    note: str = ""

    @field_validator("values")
    @classmethod
    def _keyed(cls, values: dict[str, float]) -> dict[str, float]:
        for key in values:
            if "/" not in key:
                raise ValueError(f"{key!r} should be <task>/<metric>")
        return values


class Source(_Part):
    """A paper, or a repository's page, and how its numbers were made.

    Attributes:
        name: of the file, without its ending; `--like` takes it.
        where: what was read.
        protocol: how the numbers were made, in words.
        own_class: the class of the protocol, but for the tasks in `classes`.
        status: how the numbers came here.
        column: metrics of tasks that aren't installed.
        table: tables that can be printed whole.
    """

    name: str
    title: str
    authors: str
    year: int
    venue: str
    url: str
    where: str
    protocol: str
    own_class: ProtocolClass = Field(alias="class")
    classes: dict[str, ProtocolClass] = Field(default_factory=dict)
    status: Status
    column: tuple[OwnColumn, ...] = ()
    table: tuple[PrintedTable, ...] = ()
    row: tuple[PublishedRow, ...]

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        TypeAdapter(HttpUrl).validate_python(url)
        return url

    def class_of(self, row: PublishedRow, key: str) -> ProtocolClass:
        """The protocol class of one number."""
        return row.own_class or self.classes.get(key.partition("/")[0], self.own_class)

    def status_of(self, row: PublishedRow) -> Status:
        """How the row's numbers came here."""
        return row.status or self.status

    @property
    def short(self) -> str:
        """`He 2022`."""
        return f"{self.authors.removesuffix(' et al.')} {self.year}"


def sources(folders: Sequence[Path] = ()) -> tuple[Source, ...]:
    """All sources, oldest first: built-in ones, those of other distributions, and those in `folders`.

    Raises:
        RecordError: a folder is missing, or a file isn't as it should be; the message names row and field.
    """
    own = [source for folder in folders for source in _read_folder(_existing(folder))]
    found = [*_installed(), *own]
    names = [source.name for source in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecordError(f"there are two files of published numbers called {twice[0]}.toml", "rename one")
    return tuple(sorted(found, key=lambda source: (source.year, source.title)))


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}", "--published-dir takes a folder of .toml files")
    return folder


@cache
def _installed() -> tuple[Source, ...]:
    found = list(_read_folder(files("croco_bench") / "published"))
    for point in entry_points(group="croco_bench.published"):
        try:
            folder = files(point.load())
        except Exception as error:  # whatever another distribution's code raises
            raise BenchError(
                f"published numbers of {point.dist.name if point.dist else point.value} can't be imported: {error}",
                "repair or uninstall that distribution",
            ) from error
        found += _read_folder(folder)
    return tuple(found)


def _read_folder(folder: Traversable) -> Iterator[Source]:
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.name.endswith(".toml"):
            yield _read(item)


def _read(item: Traversable) -> Source:
    try:
        tables = parse_toml(item.read_text(encoding="utf-8"))
        source = Source.model_validate({**tables, "name": item.name.removesuffix(".toml")})
    except ValidationError as error:  # a kind of ValueError, too
        raise RecordError(f"published numbers {item.name}: {_first(error, tables)}") from error
    except (OSError, ValueError) as error:
        raise RecordError(f"published numbers {item} aren't TOML: {error}") from error
    known = {table.name for table in source.table}
    for row in source.row:
        if row.table and row.table not in known:
            raise RecordError(
                f"published numbers {item.name}: {row.model} is of {row.table!r}, which isn't a [[table]]"
            )
    return source


def _first(error: ValidationError, tables: dict[str, object]) -> str:
    """The first complaint, with the row and the field that it is about."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if len(first["loc"]) > 1 and isinstance(index := first["loc"][1], int):
        rows = tables[where[0]]
        entry = rows[index] if isinstance(rows, list) else {}
        name = entry.get("model") or entry.get("name") or entry.get("key") or "without a name"
        where = [f"{where[0]} {index + 1} ({name})", ".".join(where[2:]) or "whole"]
    message = first["msg"].removeprefix("Value error, ")
    return f"{', '.join(where)}: {message[0].lower()}{message[1:]}"


def disagreements(listed: Iterable[Source], threshold: float = 1.0) -> list[str]:
    """A sentence for each number that sources give differently for the same weights and class, by more than `threshold`."""
    seen: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for source in listed:
        for row in source.row:
            name = source.short + (", contradicted" if source.status_of(row) == "contradicted" else "")
            for key, value in row.values.items():
                if not row.split:
                    by_source = seen.setdefault((row.nominal, key, source.class_of(row, key)), {})
                    by_source.setdefault(name, []).append(value)
    sentences = []
    for (nominal, key, _), by_source in sorted(seen.items()):
        values = [value for several in by_source.values() for value in several]
        if len(by_source) > 1 and max(values) - min(values) > threshold:
            said = ", ".join(
                f"{' and '.join(f'{v:g}' for v in several)} ({name})" for name, several in by_source.items()
            )
            sentences.append(f"{nominal}, {key}: sources disagree, {said}; their protocols differ")
    return sentences
