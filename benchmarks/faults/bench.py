"""What all parts share: inputs, undisturbed ends, random numbers, the time that is left, and the faults found."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.commands import COMMANDS
from benchmarks.faults.ends import differences, end_of
from benchmarks.faults.processes import Ended, Place


@dataclass
class Table:
    """Counts by row and column, printed as Markdown with a last row of sums."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, row: str, column: str, by: int = 1) -> None:
        """Adds to one cell."""
        assert column in self.columns, column
        cells = self.rows.setdefault(row, dict.fromkeys(self.columns, 0))
        cells[column] += by

    def markdown(self) -> str:
        """The table."""
        sums = {column: sum(cells[column] for cells in self.rows.values()) for column in self.columns}
        lines = [f"### {self.title}", "", "| | " + " | ".join(self.columns) + " |"]
        lines.append("| --- |" + " ---: |" * len(self.columns))
        for name, cells in [*self.rows.items(), ("**sum**", sums)]:
            lines.append(f"| {name} | " + " | ".join(str(cells[column]) for column in self.columns) + " |")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Reference:
    """The undisturbed end of a command, its duration, and the seconds before its first file."""

    end: Mapping[str, str]
    size: int
    seconds: float
    quiet_s: float


@dataclass
class Bench:
    """One session of crash tests.

    Attributes:
        folder: where all places are.
        data: folder of miniatures.
        server: address of the local server.
        rng: all random choices.
        until: `time.monotonic()` after which nothing new is begun.
        keep: keep places without a fault, too.
        warm: fork commands from this process.
    """

    folder: Path
    data: Path
    server: str
    rng: random.Random
    until: float
    keep: bool = False
    warm: bool = False
    faults: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    _references: dict[str, Reference] = field(default_factory=dict)
    _places: int = 0

    @property
    def has_time(self) -> bool:
        """Whether something new may be begun."""
        return time.monotonic() < self.until

    def table(self, title: str, *columns: str) -> Table:
        """A new table, printed at the end."""
        self.tables.append(Table(title, columns))
        return self.tables[-1]

    def place(self, name: str, environment: Mapping[str, str] | None = None) -> Place:
        """A new, empty place; `{folder}` in a variable is its folder."""
        self._places += 1
        folder = self.folder / re.sub(r"[^\w.-]+", "-", f"{self._places:03d} {name}", flags=re.ASCII)
        environment = {key: value.format(folder=folder) for key, value in (environment or {}).items()}
        return Place(folder, environment, self.warm)

    def line(self, name: str, *more: str) -> list[str]:
        """The command line of an entry of `COMMANDS`."""
        return COMMANDS[name].line(self.data, self.server, *more)

    def reference(self, name: str) -> Reference:
        """The undisturbed end of a command; made once."""
        if name not in self._references:
            place, began = self.place(f"{name}-undisturbed"), time.monotonic()
            child = place.start(self.line(name))
            while child.poll() is None and not place.has_begun():
                time.sleep(0.01)
            quiet_s, ended = time.monotonic() - began, child.end()
            if ended.code:
                raise SystemExit(f"{name} fails undisturbed:\n{ended.out}\n{ended.err}")
            files = [path for path in place.end.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            self._references[name] = Reference(end_of(place.end), size, ended.seconds, quiet_s)
            self.done_with(place)
        return self._references[name]

    def fault(self, place: Place, what: str, ended: Ended | None = None) -> None:
        """Notes a fault and says it at once; its place is kept."""
        text = f"{place.folder.name}: {what}"
        if ended is not None:
            text += f" (exit code {ended.code})\n" + ended.err.strip()[-2000:]
        self.faults.append(text)
        print(f"FAULT {text}", flush=True)

    def compare(self, place: Place, name: str) -> bool:
        """Whether a place holds the undisturbed end of a command; a fault where it doesn't."""
        different = differences(self.reference(name).end, end_of(place.end))
        if different:
            self.fault(place, f"{name} ends otherwise: {'; '.join(different[:8])}")
        return not different

    def done_with(self, place: Place) -> None:
        """Removes a place in which no fault was found."""
        if not self.keep and not any(text.startswith(f"{place.folder.name}:") for text in self.faults):
            shutil.rmtree(place.folder, ignore_errors=True)
