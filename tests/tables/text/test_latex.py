"""Sheets in LaTeX: they compile with booktabs alone, fit the text of an article, and print what was given."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from croco_bench import tables
from croco_bench.records.store import ResultPaths, write
from croco_bench.tables.text.latex import latex_text, to_latex
from croco_bench.tables.text.markdown import markdown_text
from croco_bench.tables.text.sheet import Entry, Head, Line, Sheet

RESULTS = Path(__file__).parents[3] / "results"
ODD = 'a\\b{c}d~e^f#g$h%i&j_k<l>m|n"o--p\nq\tr é ł δ ≥ 目 — … × ’'


def compiled(text: str, folder: Path) -> str:
    """The log of pdflatex, where there is one with the package booktabs (optional: see the README)."""
    compiler, finder = shutil.which("pdflatex"), shutil.which("kpsewhich")
    if compiler is None or finder is None:
        return ""
    if subprocess.run([finder, "booktabs.sty"], capture_output=True, check=False).returncode:
        return ""
    document = folder / "table.tex"
    document.write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + text + "\n\\end{document}\n",
        encoding="utf-8",
    )
    # From a file: in nonstop mode LaTeX can't read a document from the terminal.
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", document.name]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert document.with_suffix(".pdf").is_file()
    return answer.stdout


def unescaped(text: str) -> list[str]:
    """Lines with a letter that LaTeX takes for a command: outside of formulas, of comments and of what a table needs."""
    body = [line for line in text.splitlines() if not line.startswith("%")]
    bare = [re.sub(r"\$[^$]*\$|\\\\|\\[%&#$_{}]", "", line) for line in body]
    return [line for line in bare if re.search(r"[_#$%<>|~^\"]", line)]


@pytest.mark.processes
def test_latex_compiles_its_escapes(tmp_path: Path, result_of: Any) -> None:
    for seed, model in enumerate(("a", "f_&_<b>", "g--h~^{}#%$")):
        result = result_of(model__name=model, metrics__delta1__value=80.0 + seed, protocol__citation=ODD)
        paths = ResultPaths(tmp_path, "paper", "nyuv2-depth", model, 0)
        write(paths, result, {"index": [0.0], "delta1": [80.0 + seed]})
    text = tables.make([tmp_path], format="latex")
    assert r"f\_\&\_$<$b$>$" in text and r"g-{}-h\textasciitilde{}\textasciicircum{}\{\}\#\%\$" in text
    assert unescaped(text) == []
    compiled(text, tmp_path)


@pytest.mark.processes
def test_every_text_of_a_sheet_is_escaped(tmp_path: Path) -> None:
    made = Sheet(ODD, ODD, (Head(ODD, ODD), Head(ODD, ODD)), ((Line(ODD, (Entry("1.5"), Entry())),),), (ODD, ODD))
    text = to_latex([made, made], [ODD])
    assert unescaped(text) == []
    assert all(
        line.startswith(("%", "\\")) or line.count("&") >= 1 or line == ""
        for line in text.splitlines()
        if "left out" in line
    )
    compiled(text, tmp_path)


def test_letters_that_latex_lacks_become_their_number() -> None:
    assert latex_text("目 é Ł δ Ω ≥ a−b") == r"(U+76EE) \'{e} \L{} $\delta$ $\Omega$ $\geq$ a$-$b"
    assert latex_text("one\ntwo\t three\x00") == "one two three(U+0000)"
    assert latex_text("a---b") == "a-{}-{}-b"


@pytest.mark.processes
def test_the_tables_of_the_results_fit_an_article(tmp_path: Path) -> None:
    text = tables.make([RESULTS], recipe="mini", format="latex", tests=False)
    assert "Overfull" not in compiled(text, tmp_path)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert "siunitx" not in text and text.count(r"\usepackage") == text.count(r"\usepackage{booktabs}") == 1
    body = text[: text.index(r"\begin{minipage}")]
    assert "n=" in body and "n=" not in body[body.index(r"\begin{tabular}") :]  # seeds stand in the caption, once
    assert re.search(r"\\multicolumn\{2\}\{c\}\{sintel-flow\} .*\\cmidrule\(lr\)\{\d-\d\}", body)


@pytest.mark.parametrize("columns", [1, 4, 9, 25])
@pytest.mark.processes
def test_many_columns_and_long_names_fit_too(columns: int, tmp_path: Path) -> None:
    heads = tuple(Head(f"a-task-number-{index // 2}", f"metric of {index} (deg) ↓") for index in range(columns))
    entries = tuple(Entry(f"{index}.253", spread="0.008", count=2, style="bold") for index in range(columns))
    names = ("short", "a long name of a backbone, train.steps=30, other weights 3f2a…, trained on 100 images")
    made = Sheet("a table", "backbone", heads, (tuple(Line(name, entries) for name in names),), ("note " * 60,))
    text = to_latex([made], [])
    assert "Overfull" not in compiled(text, tmp_path)
    assert all(text.count(rf"\textbf{{{index}.253}}") == 2 for index in range(columns))


def test_markdown_escapes_what_it_would_take_for_a_command() -> None:
    assert markdown_text("a|b*c`d\\e<f\ng") == r"a\|b\*c\`d\\e\<f g"
    assert markdown_text("vit_base _x_ f_&") == r"vit_base \_x\_ f\_&"
