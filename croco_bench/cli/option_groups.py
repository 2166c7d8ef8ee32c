"""Commands with many options: each group of options is a dataclass, and a part of its own in `--help`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from typer.core import TyperCommand


def option_group(title: str) -> Callable[[type], type]:
    """Gives a dataclass of options the title of its part in `--help`. Its fields are annotated as parameters of a command."""

    def named(kind: type) -> type:
        kind.title = title  # type: ignore[attr-defined]
        return kind

    return named


def from_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for every field of the dataclasses that `command` takes; other parameters stay."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    own = [
        one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(command).parameters.values()
        if one.name not in groups
    ]
    names = {group: [field.name for field in fields(kind)] for group, kind in groups.items()}

    @functools.wraps(command)
    def call(**values: Any) -> None:
        made = {
            group: kind(**{name: values.pop(name) for name in names[group]})  # type: ignore[operator]
            for group, kind in groups.items()
        }
        command(**values, **made)

    options = [option for kind in groups.values() for option in _options(kind)]
    call.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in (*own, *options)}
    return call


def _options(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in fields(kind):
        own_type, info = get_args(hints[field.name])
        info = copy(info)
        info.rich_help_panel = kind.title
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        annotation = Annotated[own_type, info]  # type: ignore[valid-type]
        found.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return found


class GroupedCommand(TyperCommand):
    """A command whose help lists its options by group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments, then a section for each group, then options of no group."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            title = "Arguments" if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
            if (record := param.get_help_record(ctx)) is not None:
                (sections.setdefault(title, []) if title else others).append(record)
        for title, records in {**sections, "Other options": others}.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
