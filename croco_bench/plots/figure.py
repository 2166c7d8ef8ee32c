"""Paper, fonts and colours of all figures; files whose bytes depend on nothing but the figure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from croco_bench.errors import UsageError
from croco_bench.files import atomic_output

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from croco_bench.tables.columns import Column
    from croco_bench.tables.layout import Grid

Kind = Literal["bars", "dots", "cost", "curves", "efficiency", "layers"]
Cost = Literal["parameters", "flops", "speed", "train-speed", "memory", "time"]
SUFFIXES = (".pdf", ".svg", ".png")
# Okabe and Ito's palette, which people with any color vision can tell apart; markers tell a second time, and more backbones.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
GRAY = "#6E6E6E"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.6,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # fonts that editors can open
    "svg.hashsalt": "croco-bench",
}
# Without dates and versions, equal figures are equal files.
_METADATA: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}
# Inches.
PANEL_WIDTH = 2.9
# Characters of a note per inch.
_CHARACTERS = 17


@dataclass
class Palette:
    """A color and a marker for each backbone, the same in all panels; classical methods are gray."""

    names: Sequence[str]
    classical: Sequence[str] = ()
    _places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        learned = sorted(set(self.names) - set(self.classical))
        self._places = {name: place for place, name in enumerate(learned)}

    def color(self, name: str) -> str:
        """A color of the palette; after the last it starts again with other markers."""
        return GRAY if name not in self._places else _COLORS[self._places[name] % len(_COLORS)]

    def marker(self, name: str) -> str:
        """A marker that tells backbones of one color apart."""
        place = self._places.get(name, 0)
        return _MARKERS[(place + place // len(_COLORS)) % len(_MARKERS)]


@contextmanager
def style() -> Iterator[None]:
    """Settings of matplotlib within the block, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, value in _STYLE.items():
            matplotlib.rcParams[key] = value
        yield


def panels(count: int, *, height: float, columns: int = 3, width: float = PANEL_WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of `width` x `height` inches, up to `columns` side by side."""
    from matplotlib.figure import Figure

    across = min(count, columns)
    down = -(-count // across)
    figure = Figure(figsize=(width * across, height * down + 0.3), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def add_notes(figure: Figure, notes: Iterable[str]) -> None:
    """Small print below all panels."""
    width = int(figure.get_figwidth() * _CHARACTERS)
    lines = [line for note in notes for line in textwrap.wrap(note, width, subsequent_indent="   ")]
    if lines:
        figure.set_figheight(figure.get_figheight() + 0.13 * len(lines) + 0.05)
        figure.supxlabel("\n".join(lines), fontsize=6.5, color=GRAY, x=0.01, ha="left")


def heading(text: str, width: float = PANEL_WIDTH) -> str:
    """A title of a panel, in lines that fit it."""
    return "\n".join(textwrap.wrap(plain(text), int(width * 12)))


def title_of(column: Column, grid: Grid, grids: Sequence[Grid]) -> str:
    """The column's title, and that of its grid where the figure's heading doesn't say it."""
    return with_grid(column.title, grid, grids)


def with_grid(text: str, grid: Grid, grids: Sequence[Grid]) -> str:
    """The text, and the title of its grid where the figure's heading, that of the first grid, doesn't say it."""
    return text if grid.title.startswith(grids[0].title) else f"{text}, {grid.title}"


def told_apart(titles: Sequence[str]) -> tuple[str, dict[str, tuple[str, ...]]]:
    """What titles of grids have in common at their end, and what each has of its own; of one title, all is common."""
    parts = {title: title.split(", ") for title in titles}
    if len(parts) < 2:
        return "".join(parts), {}
    ends = zip(*(reversed(words) for words in parts.values()), strict=False)
    count = sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, ends))
    common = next(iter(parts.values()))[-count:] if count else []
    return ", ".join(common), {title: tuple(words[: len(words) - count]) for title, words in parts.items()}


def add_heading(figure: Figure, grids: Sequence[Grid]) -> None:
    """The title of the first grid above all panels; see `title_of`."""
    figure.suptitle(heading(grids[0].title, figure.get_figwidth()), x=0.01, ha="left")


def add_legend(figure: Figure, axes: Iterable[Axes], title: str = "") -> None:
    """Everything that is labelled in some panel, once, above all of them."""
    handles: dict[str, Artist] = {}
    for place in axes:
        found, labels = place.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    names, width = sorted(handles), figure.get_figwidth()
    wrapped = [textwrap.wrap(name, int((width - 0.6) * 13)) for name in names]
    longest = max(len(line) for label in wrapped for line in label)
    across = max(int(width / (0.5 + 0.065 * longest)), 1)
    lines = -(-len(names) // across) * max(map(len, wrapped)) + len(heading(title, width).splitlines())
    figure.set_figheight(figure.get_figheight() + 0.19 * lines)
    legend = figure.legend(
        [handles[name] for name in names],
        ["\n".join(label) for label in wrapped],
        title=heading(title, width) or None,
        alignment="left",
        loc="outside upper left",
        ncols=across,
        frameon=False,
    )
    legend.get_title().set_fontsize(10)


def within_bounds(values: Iterable[float], unit: str, limits: tuple[float, float]) -> tuple[float, float]:
    """Limits of an axis without places where no value can be: intervals may reach below 0 or above 100 %."""
    known = list(values)
    low, high = limits
    if min(known) >= 0:
        low = max(low, 0.0)
    return low, min(high, 100.0) if unit == "%" and max(known) <= 100 else high


def plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def check_path(path: Path) -> None:
    """Refuses a file of another kind.

    Raises:
        UsageError: the name doesn't end with .pdf, .svg or .png.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path} isn't a figure", f"end its name with {', '.join(SUFFIXES)}")


def save(figure: Figure, path: Path) -> None:
    """Writes the figure whole or not at all, in the format of the name's end.

    Raises:
        RecordError: the folder can't be written.
    """
    suffix = path.suffix.lower()
    with atomic_output(path) as temporary:
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
