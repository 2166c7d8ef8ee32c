"""The log of one training: one JSON line per logged step, and optionally a tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from croco_bench.files import atomic, parse_json
from croco_bench.trackers import open_tracker


class RunLog:
    """Appends to `folder/log.jsonl`; first drops lines of steps that a restart repeats.

    `tracker` is that of the recipe, and `settings` are the recipe's tables, which it shows.
    """

    def __init__(
        self, folder: Path, *, start: int, tracker: str, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.path = folder / "log.jsonl"
        kept = [line for line in lines(folder) if line["step"] < start]
        with atomic(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._stream = self.path.open("a", encoding="utf-8")
        self._tracker = open_tracker(tracker, folder, start, settings)

    def add(self, step: int, **values: float) -> None:
        """Writes one line."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        if self._tracker:
            self._tracker.add(step, values)

    def close(self) -> None:
        """Flushes and closes."""
        self._stream.close()
        if self._tracker:
            self._tracker.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's log."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    parsed = map(_parsed, path.read_bytes().splitlines())
    return [line for line in parsed if isinstance(line, dict) and isinstance(line.get("step"), int)]


def values_at_steps(folder: Path, name: str) -> dict[int, float]:
    """A logged value after each number of steps, in their order; nothing where there is no log that can be read."""
    try:
        logged = lines(folder)
    except (OSError, UnicodeDecodeError):
        return {}
    found = [(line["step"] + 1, line.get(name)) for line in logged]
    return {step: value for step, value in found if isinstance(value, int | float) and isfinite(value)}


def _parsed(line: bytes) -> Any:
    """The content of a line; None where it is incomplete (the process was killed while it wrote it) or damaged."""
    try:
        return parse_json(line)
    except ValueError:
        return None
