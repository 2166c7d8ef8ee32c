"""Numbers that somebody reported: read from TOML files, one per source."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from croco_bench.errors import RecordError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PublishedRow(_Part):
    """One model's numbers. `nominal` names the weights that it stands for, so that sources can be compared.

    Keys of `values` are `<task>/<metric>`.
    """

    model: str
    nominal: str
    values: dict[str, float]

    @field_validator("values")
    @classmethod
    def _keyed(cls, values: dict[str, float]) -> dict[str, float]:
        for key in values:
            if "/" not in key:
                raise ValueError(f"{key!r} should be <task>/<metric>")
        return values


class Source(_Part):
    """A paper, or a repository's page, and how its numbers were made."""

    title: str
    authors: str
    year: int
    venue: str
    url: str
    where: str
    protocol: str
    row: tuple[PublishedRow, ...]


@cache
def sources() -> tuple[Source, ...]:
    """All sources, oldest first.

    Raises:
        RecordError: a file isn't as it should be.
    """
    found = []
    for item in sorted((files("croco_bench") / "published").iterdir(), key=lambda entry: entry.name):
        if not item.name.endswith(".toml"):
            continue
        try:
            found.append(Source.model_validate(tomllib.loads(item.read_text(encoding="utf-8"))))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise RecordError(f"published/{item.name} can't be read: {str(error).splitlines()[0]}") from error
    return tuple(sorted(found, key=lambda source: (source.year, source.title)))


def disagreements(threshold: float = 1.0) -> list[str]:
    """A sentence for each number that different sources give differently for the same weights, by more than `threshold`."""
    seen: dict[tuple[str, str], dict[str, list[float]]] = {}
    for source in sources():
        for row in source.row:
            for key, value in row.values.items():
                by_source = seen.setdefault((row.nominal, key), {})
                by_source.setdefault(f"{source.authors.removesuffix(' et al.')} {source.year}", []).append(value)
    sentences = []
    for (nominal, key), by_source in sorted(seen.items()):
        values = [value for several in by_source.values() for value in several]
        if len(by_source) > 1 and max(values) - min(values) > threshold:
            said = ", ".join(
                f"{' and '.join(f'{v:g}' for v in several)} ({name})" for name, several in by_source.items()
            )
            sentences.append(f"{nominal}, {key}: sources disagree, {said}; their protocols differ")
    return sentences
