"""Draws house.svg: the folders of the package and which imports which. `python docs/draw_house.py` writes it anew.

Arrows that follow from others are left out (a imports b, b imports c: a may import c), and so are the modules of the root
that all may import.
"""

from __future__ import annotations

import runpy
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT, BOX, ROW = 1250, 660, (190, 56), 100
# Folder -> row, middle of its box in pixels from the left, what it does.
BOXES = {
    "cli": (0, 600, "the commands"),
    "plots": (0, 880, "figures of results"),
    "sharing": (0, 1100, "bundles, cards"),
    "pretraining": (1, 130, "objectives and their loop"),
    "sweeps": (1, 360, "many runs, side by side"),
    "workflows": (1, 600, "demo, smoke"),
    "report": (1, 930, "the page of all results"),
    "runs": (2, 480, "set up, run, report"),
    "tables": (2, 930, "grid, formats, published"),
    "tasks": (3, 110, "what is predicted and scored"),
    "backbones": (3, 330, "formats, networks, zoo"),
    "probing": (3, 640, "kept vectors, k-NN"),
    "records": (3, 860, "schema and files of results"),
    "data": (4, 220, "readers, checks, miniatures"),
    "heads": (4, 490, "features to predictions"),
    "engine": (4, 700, "network, train, evaluate"),
    "config": (4, 910, "recipes, settings"),
    "testing": (4, 1140, "contract tests to inherit"),
    "contracts": (5, 400, "types and interfaces"),
    "metrics": (5, 1140, "definitions, meters"),
}
BY_NAME = (("runs", "tasks"), ("runs", "heads"))
ROOT_MODULES = {path.stem for path in (HERE.parent / "croco_bench").glob("[!_]*.py")}
STYLE = """
rect { fill: #f7f4ec; fill-opacity: 0.85; stroke: #5b5347; rx: 6px } .met { fill: #e4efe6 } .base { fill: #ebebeb }
text { font: 15px sans-serif; text-anchor: middle; fill: #222 } .what { font-size: 12px; fill: #666 }
path { stroke: #5b5347; stroke-width: 1.4; fill: none; marker-end: url(#tip) } .name { stroke-dasharray: 5 4; stroke: #2f7d4a }
"""


def imports() -> dict[str, set[str]]:
    """Top folder -> the top folders that it imports, as the test of the house finds them."""
    found: dict[str, set[str]] = {name: set() for name in BOXES}
    for arrow in runpy.run_path(str(HERE.parent / "tests/project/test_house.py"))["arrows"]():
        here, there = (name.partition(".")[0] for name in arrow)
        if here != there and not {here, there} & (ROOT_MODULES | {"public"}):
            found[here].add(there)
    return found


def reduced(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that don't follow from others."""

    def below(name: str) -> set[str]:
        return found[name].union(*(below(inner) for inner in found[name]))

    return [
        (here, there)
        for here in found
        for there in sorted(found[here])
        if not any(there in below(other) for other in found[here] - {there})
    ]


def corner(name: str) -> tuple[int, int]:
    """Left and top of a box."""
    row, middle, _ = BOXES[name]
    return middle - BOX[0] // 2, 20 + ROW * row


def line(here: str, there: str, kind: str) -> str:
    """From the lower edge of one box to the upper edge of another, or between their sides in one row."""
    (left, top), (x, y) = corner(here), corner(there)
    if y == top:
        side = 1 if x > left else -1
        start, end = left + (BOX[0] if side > 0 else 0), x + (0 if side > 0 else BOX[0])
        return f'<path class="{kind}" d="M{start} {top + 28} L{end - 3 * side} {y + 28}"/>'
    shift = max(-60, min(60, (x - left) // 4))
    start, end = left + BOX[0] // 2 + shift, x + BOX[0] // 2 - shift
    low, high, half = top + BOX[1], y - 3, (top + BOX[1] + y - 3) // 2
    return f'<path class="{kind}" d="M{start} {low} C{start} {half} {end} {half} {end} {high}"/>'


def box(name: str) -> str:
    """A folder: its name and what it does."""
    left, top = corner(name)
    middle, kind = left + BOX[0] // 2, "met" if name in ("tasks", "heads") else "box"
    return (
        f'<rect class="{kind}" x="{left}" y="{top}" width="{BOX[0]}" height="{BOX[1]}"/>'
        f'<text x="{middle}" y="{top + 24}">{name}</text>'
        f'<text class="what" x="{middle}" y="{top + 43}">{BOXES[name][2]}</text>'
    )


def draw() -> str:
    """The picture."""
    parts = [line(here, there, "use") for here, there in reduced(imports())]
    parts += [line(here, there, "name") for here, there in BY_NAME]
    parts += [box(name) for name in BOXES]
    parts.append(f'<rect class="base" x="15" y="{HEIGHT - 40}" width="{WIDTH - 30}" height="30"/>')
    everywhere = " · ".join(sorted(ROOT_MODULES))
    parts.append(f'<text class="what" x="{WIDTH // 2}" y="{HEIGHT - 21}">imported everywhere: {everywhere}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    defs = f'<defs>{tip}<path d="M0 0L8 4L0 8z" style="fill: #5b5347; stroke: none; marker-end: none"/></marker></defs>'
    title = "<title>The folders of croco_bench: arrows point at what is imported</title>"
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill: white; fill-opacity: 1; stroke: none"/>'
    return "\n".join([head, title, f"<style>{STYLE}</style>", defs, paper, *parts, "</svg>", ""])


if __name__ == "__main__":
    (HERE / "house.svg").write_text(draw(), encoding="utf-8")
