"""Settings of runs as text: what all share once, the others with each run, lists of equal entries by columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from croco_bench.report.markup import Markup, element, escape_content


def shared_settings(several: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Groups of settings that have the same value in all of two or more runs."""
    first, *others = several
    groups = {group: values for group, values in first.items() if isinstance(values, Mapping)} if others else {}
    found = {
        group: {
            key: value
            for key, value in values.items()
            if all(isinstance(one.get(group), Mapping) and _has(one[group], key, value) for one in others)
        }
        for group, values in groups.items()
    }
    return {group: values for group, values in found.items() if values}


def _has(values: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in values and values[key] == value


def without(settings: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that aren't among the shared ones."""
    rest = {
        group: {key: value for key, value in values.items() if key not in shared[group]} if group in shared else values
        for group, values in settings.items()
    }
    return {group: values for group, values in rest.items() if values != {} or not settings[group]}


def folded(title: str, settings: Mapping[str, Any]) -> Markup:
    """A line for each group of settings. No setting is left out, but fractions have six digits."""
    lines = (f'"{group}": {json.dumps(by_columns(values), ensure_ascii=False)}' for group, values in settings.items())
    text = escape_content(",\n".join(lines))
    return element("details", element("summary", title), element("pre", text, tabindex=0))


def by_columns(value: Any) -> Any:
    """Two or more entries with the same keys as one entry of lists, in which the keys stand once.

    `[{"rate": 1, "l1": 5}, {"rate": 2, "l1": 4}]` becomes `{"rate": [1, 2], "l1": [5, 4]}`; entries with names keep
    them under `each of`. Fractions have six digits.
    """
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        inner = {key: by_columns(one) for key, one in value.items()}
        columns = _columns([*value.values()])
        return inner if columns is None else {"each of": [*value], **columns}
    if isinstance(value, list | tuple):
        columns = _columns(value)
        return [by_columns(one) for one in value] if columns is None else columns
    return value


def _columns(entries: Sequence[Any]) -> dict[str, list[Any]] | None:
    """Lists by key, of two or more entries with the same two or more keys and single values."""
    if len(entries) < 2 or not all(isinstance(one, Mapping) and len(one) > 1 for one in entries):
        return None
    keys = [*entries[0]]
    if any([*one] != keys or any(isinstance(inner, Mapping) for inner in one.values()) for one in entries):
        return None
    return {key: [by_columns(one[key]) for one in entries] for key in keys}
