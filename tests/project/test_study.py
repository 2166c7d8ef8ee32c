"""The pages of the study show what their commands print from the committed results."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.methods import QUESTIONS, ablations, methods
from benchmarks.study import claims, limits, power, together, verdicts
from croco_bench import tables
from croco_bench.records.selection import Selection
from croco_bench.tables.comparison.compare import compare
from croco_bench.tables.comparison.render import to_markdown

ROOT = Path(__file__).parents[2]
PAGES = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("study*.md")))


def attention(folders: Sequence[Path]) -> str:
    """How well encoder tokens and cross-attention match, as the command on the page prints it."""
    keys = tuple(f"{read}/{key}" for read in ("encoder", "attention") for key in ("recall10", "recall10_?0-?0px"))
    chosen = Selection(tasks=("correspondence",), metrics=keys)
    return tables.make(folders, recipe="mini", format="markdown", published="none", selection=chosen).strip()


def short(folders: Sequence[Path]) -> str:
    """Pre-trainings that differ from CroCo's in one thing, as the script prints them."""
    return ablations(folders[0] / "pretrainings")


def lengths(folders: Sequence[Path]) -> str:
    """CroCo and MAE on their way through pre-training, as the command on the page prints them."""
    inside = [folder / "lengths" for folder in folders]
    return tables.make(inside, format="markdown", published="none").strip()


def equal_at_the_end(folders: Sequence[Path]) -> str:
    """CroCo at its end and MAE after as many images, as the command on the page prints it."""
    inside = [folder / "lengths" for folder in folders]
    return to_markdown(compare(("croco-1024", "mae-998"), inside, recipe="dpt-frozen-mini")).strip()


def causes(folders: Sequence[Path]) -> str:
    """CroCos with less of view 1 hidden or with absolute positions, and a MAE, as the command on the page prints them."""
    inside = [folder / "causes" for folder in folders]
    return tables.make(inside, format="markdown", published="none").strip()


def several(folders: Sequence[Path]) -> str:
    """Several pre-trainings of each method, as the script prints them."""
    return methods(folders[0] / "pretrainings", QUESTIONS["methods"])


def sizes(folders: Sequence[Path]) -> str:
    """CroCos of three sizes, as the script prints them."""
    return methods(folders[0] / "pretrainings", QUESTIONS["sizes"])


TABLES = {
    "verdicts": verdicts,
    "power": power,
    "limits": limits,
    "claims": claims,
    "attention": attention,
    "ablations": short,
    "lengths": lengths,
    "equal-long": equal_at_the_end,
    "causes": causes,
    "methods": several,
    "sizes": sizes,
}


@pytest.mark.slow
@pytest.mark.parametrize(("mark", "table"), TABLES.items())
def test_the_tables_are_those_that_the_script_prints(mark: str, table: Callable[[Sequence[Path]], str]) -> None:
    shown = PAGES.partition(f"<!-- {mark}: begin -->\n")[2].partition(f"<!-- {mark}: end -->")[0]
    assert shown.strip() == table([ROOT / "results"])
    assert shown.count("\n| ") > 3
    assert PAGES.count(f"<!-- {mark}: begin -->") == 1


def test_a_claim_holds_against_all_rivals_or_fails_against_one() -> None:
    assert together(["holds", "holds"]) == "holds"
    assert together(["holds", "undecided"]) == "undecided"
    assert together(["holds", "does not hold", "undecided"]) == "does not hold"


@pytest.mark.slow
def test_rows_are_confounded_where_positions_alone_make_a_difference() -> None:
    """Only between networks of both kinds, and never where all weights are trained."""
    sections = dict(
        zip(("geometry", "semantics", "pairs", "decoder"), claims([ROOT / "results"]).split("### ")[1:], strict=True)
    )
    confounded = {
        name: [line for line in text.splitlines() if line.endswith("| confounded |")] for name, text in sections.items()
    }
    assert any("nyuv2-normals" in line for line in confounded["geometry"])
    assert not confounded["decoder"]
    trained = [line for lines in confounded.values() for line in lines if line.startswith("| mini |")]
    assert all("correspondence" in line for line in trained)
