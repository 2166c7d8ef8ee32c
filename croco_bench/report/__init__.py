"""Grids as one self-contained page: sortable columns, and each run's pictures, metrics and settings below."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from html import escape

from croco_bench.records.changes import recipe_label
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.render import MISSING, footnotes, number

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --mark: #2563eb; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; vertical-align: bottom; text-align: right; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--line); cursor: pointer; user-select: none; }
thead th[aria-sort=ascending]::after { content: " ▲"; font-size: .7em; }
thead th[aria-sort=descending]::after { content: " ▼"; font-size: .7em; }
tbody.published td { color: var(--quiet); }
.best { font-weight: 700; } .second { text-decoration: underline; } .tied { font-style: italic; }
.spread, .notes, .facts { color: var(--quiet); font-size: .87em; }
a { color: var(--mark); } img { max-width: 100%; height: auto; margin: .5rem 0; }
details { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; margin: .6rem 0; }
summary { cursor: pointer; } pre { overflow-x: auto; font-size: .85em; }
"""
_SCRIPT = """
document.querySelectorAll("thead th").forEach(head => head.addEventListener("click", () => {
  const table = head.closest("table"), index = [...head.parentNode.children].indexOf(head);
  const down = head.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => { const cell = row.children[index]; return index ? parseFloat(cell.dataset.value) : cell.textContent; };
  table.querySelectorAll("tbody").forEach(body => [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (index && isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
    const order = index ? x - y : x.localeCompare(y);
    return (down && index) || (!down && !index) ? -order : order;
  }).forEach(row => body.appendChild(row)));
}));
const open_target = () => { const run = location.hash && document.querySelector(location.hash); if (run) run.open = true; };
addEventListener("hashchange", open_target); open_target();
"""


def page(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    """The whole page. Needs no network: style, script and pictures are inside."""
    body = [_section(grid, index) for index, grid in enumerate(grids)]
    body += [f'<p class="notes">left out: {escape(complaint)}</p>' for complaint in complaints]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>croco-bench</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>croco-bench</h1>\n"
        "<p>Backbones of 3D-vision pre-training, fine-tuned and evaluated under one protocol. "
        "Notes say what marks mean; "
        "a column's title sorts it.</p>\n" + "\n".join(body) + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(grid: Grid, index: int) -> str:
    heads = "".join(
        f'<th scope="col">{escape(column.above)}<br>{escape(column.measure)}</th>' for column in grid.columns
    )
    bodies = "".join(
        f'<tbody class="{kind}">{"".join(_row(row, grid, index) for row in rows)}</tbody>'
        for kind, rows in (("measured", grid.measured), ("published", grid.published))
        if rows
    )
    notes = "".join(f"<li>{_linked(note)}</li>" for note in footnotes(grid))
    runs = "".join(_run(slot, result, index) for row in grid.measured for slot, result in row.runs)
    return (
        f"<h2>{escape(grid.title)}</h2>\n"
        f'<div class="wide"><table><thead><tr><th scope="col">backbone</th>{heads}</tr></thead>{bodies}</table></div>\n'
        f'<ul class="notes">{notes}</ul>\n' + (f"<h2>Runs: {escape(grid.title)}</h2>\n{runs}" if runs else "")
    )


def _row(row: Row, grid: Grid, index: int) -> str:
    name = escape(row.label)
    if row.source is not None:
        url = escape(grid.sources[row.source - 1].url, quote=True)
        name = f'{name} <a href="{url}">[{row.source}]</a>'
    elif row.runs:
        name = f'<a href="#{_anchor(row.runs[0][0], index)}">{name}</a>'
    cells = "".join(_cell(row.cells.get(column.key), column) for column in grid.columns)
    return f"<tr><td>{name}</td>{cells}</tr>\n"


def _cell(cell: Cell | None, column: Column) -> str:
    text = escape(number(cell, column))
    value, plus, spread = text.partition(" ± ")
    if plus:
        text = f'{value} <span class="spread">± {spread}</span>'
    style = f' class="{cell.mark}"' if cell and cell.mark else ""
    return f'<td data-value="{cell.value if cell else ""}"{style}>{text}</td>'


def _anchor(slot: ResultPaths, index: int) -> str:
    return escape(f"run-{index}-{slot.task}-{slot.model}-{slot.seed}", quote=True)


def _run(slot: ResultPaths, result: Result, index: int) -> str:
    picture = ""
    if slot.sheet.is_file():
        content = base64.b64encode(slot.sheet.read_bytes()).decode()
        alt = escape(f"Predictions of {slot.model} on {slot.task}", quote=True)
        picture = f'<img alt="{alt}" loading="lazy" src="data:image/png;base64,{content}">'
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{metric.value:.4g}</td>"
        f"<td>{f'{metric.ci95[0]:.4g} – {metric.ci95[1]:.4g}' if metric.ci95 else ''}</td><td>{escape(metric.unit)}</td></tr>"
        for name, metric in result.metrics.items()
    )
    deviations = "".join(f"<li>{escape(text)}</li>" for text in result.protocol.deviations)
    settings = escape(json.dumps(result.settings, indent=2, ensure_ascii=False))
    facts = escape(
        f"recipe {recipe_label(result)}; {result.model.source}; "
        f"{result.dataset.images} of {result.dataset.images_available} images; "
        f"{result.timing.train_s:.0f} s training on {result.environment.device}"
    )
    return (
        f'<details id="{_anchor(slot, index)}"><summary><b>{escape(slot.model)}</b> on {escape(slot.task)}, seed {slot.seed} '
        f'<span class="facts">{facts}</span></summary>{picture}'
        f'<div class="wide"><table><thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>unit</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>{_breakdown(slot)}"
        f"<p>Follows: {escape(result.protocol.citation)}</p><ul>{deviations}</ul>"
        f"<details><summary>settings</summary><pre>{settings}</pre></details></details>\n"
    )


def _breakdown(slot: ResultPaths) -> str:
    """The finer numbers of a run, folded up; nothing where there are none."""
    if not slot.breakdown.is_file():
        return ""
    head, *lines = csv.reader(slot.breakdown.read_text(encoding="utf-8").splitlines())
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_finer, line))}</tr>" for line in lines)
    return (
        f'<details><summary>breakdown</summary><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _finer(text: str) -> str:
    """A cell of words or of a number."""
    try:
        return f'<td data-value="{text}">{float(text):.4g}</td>'
    except ValueError:
        return f'<td data-value="">{escape(text) or MISSING}</td>'


def _linked(note: str) -> str:
    """Escaped, with addresses made into links."""
    words = []
    for word in note.split(" "):
        bare = word.rstrip(".;,")
        if bare.startswith("https://"):
            link = f'<a href="{escape(bare, quote=True)}">{escape(bare)}</a>'
            words.append(link + escape(word[len(bare) :]))
        else:
            words.append(escape(word))
    return " ".join(words)
