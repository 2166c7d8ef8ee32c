"""The page of all results as a browser gets it: whole, inert, and complete without a script."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from croco_bench import report, tables
from croco_bench.records.store import ResultPaths, read_all
from croco_bench.tables.shape import Shape

ROOT = Path(__file__).parents[2]


def test_html_is_whole_self_contained_and_escaped(parse: Any, full: Any, page: str) -> None:
    addresses = list(parse(page).values("src"))
    assert len(addresses) == 4 and all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert "<b>'" not in page and "f_&amp;_&quot;&lt;b&gt;&#x27;" in page


def test_the_same_results_give_the_same_page(full: Any, page: str) -> None:
    assert tables.make([full.root], format=report.page) == page


def test_ids_are_unique_and_links_lead_somewhere(parse: Any, page: str) -> None:
    found = parse(page)
    ids = list(found.values("id"))
    assert len(ids) == len(set(ids))
    targets = [target for target in found.values("href") if target.startswith("#")]
    assert targets and {target[1:] for target in targets} <= set(ids)
    named = [name for attribute in ("aria-labelledby", "data-runs", "data-table") for name in found.values(attribute)]
    assert {name for names in named for name in names.split()} <= set(ids)
    others = [target for target in found.values("href") if not target.startswith("#")]
    assert others and all(target.startswith("https://") for target in others)


def test_what_results_say_is_inert(full: Any, parse: Any, page: str) -> None:
    found = parse(page)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"iframe", "object", "embed", "link", "base", "form"}
    assert len(found.named("script")) == len(found.named("style")) == 1
    names = {name for _, attributes in found.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    assert any("javascript:alert(3)" in text for texts in found.texts.values() for text in texts)
    assert not [target for target in found.values("href") if "javascript" in target.lower()]
    assert "\u202e" not in page and full.hostile not in page


def test_the_policy_names_the_style_and_the_script_that_are_there(parse: Any, page: str) -> None:
    found = parse(page)
    policy = found.named("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind in ("style", "script"):
        text = "".join(found.texts[kind])
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_numbers_have_their_intervals_and_lead_to_their_runs(parse: Any, full: Any, page: str) -> None:
    found = parse(page)
    cells = [cell for cell in found.named("td") if cell.get("data-runs")]
    assert len(cells) == 7
    first = next(cell for cell in cells if " " in str(cell["data-runs"]))
    assert first["data-runs"] == "run-paper-nyuv2-depth-a-seed0 run-paper-nyuv2-depth-a-seed1"
    assert re.fullmatch(r"95 % interval \d\d\.\d to \d\d\.\d", first["title"] or "")
    assert len(found.named("svg", **{"class": "dot"})) >= len(cells)
    assert len(found.named("circle")) > len(found.named("svg", **{"class": "dot"}))  # chosen steps have one, too


def test_published_rows_stand_apart_below_and_sources_are_told(parse: Any, page: str) -> None:
    bodies = [str(body["class"]) for body in parse(page).named("tbody") if body.get("class")]
    assert bodies == ["measured", "measured", "published"]
    assert "Published by others" in page and "2210.10716" in page and "79.6" in page


def test_methods_without_learning_come_after_backbones(full: Any, parse: Any, page: str) -> None:
    rows = [str(row["data-backbone"]) for row in parse(page).named("tr", **{"data-kind": "learned"})]
    assert rows == ["a", "a", "b", full.odd]
    assert page.index('data-backbone="dis"') > page.index('data-backbone="f_')


def test_rows_that_were_sorted_by_a_column_stay_so(parse: Any, full: Any) -> None:
    text = tables.make([full.root], format=report.page, shape=Shape(sort="nyuv2-depth"), published="none")
    labels = [row["data-label"] for _, row in parse(text).elements if row.get("data-kind")]
    assert labels == ["a", "a", full.odd, "b", "dis"]


def test_differences_from_published_numbers_are_no_published_numbers(parse: Any, full: Any) -> None:
    text = tables.make_against([full.root], format=report.page)
    assert [body["class"] for body in parse(text).named("tbody")] == ["differences"]
    assert 'class="zero"' in text


def test_heads_are_buttons_and_regions_are_reached_by_keyboard(parse: Any, page: str) -> None:
    found = parse(page)
    tables_found = found.named("table", **{"class": "sortable"})
    heads = [head for head in found.named("th", scope="col") if head.get("data-better")]
    assert tables_found and heads and len(found.named("button", type="button")) >= len(heads) + len(tables_found)
    assert all(box.get("tabindex") == "0" for box in found.named("div", **{"class": "wide"}))
    assert {"main", "nav", "header"} <= {tag for tag, _ in found.elements}
    assert all(image.get("alt") for image in found.named("img"))


def test_differences_between_backbones_are_an_attribute_that_nothing_runs(full: Any, parse: Any, page: str) -> None:
    payloads = [json.loads(text) for text in parse(page).values("data-differences")]
    (only,) = payloads  # a table with one row compares nothing
    assert only["rows"] == ["a", "b", "dis", full.odd]
    column = next(column for column in only["columns"] if column["title"].startswith("nyuv2-depth"))
    low, value, high, p, decided, *places = column["pairs"]["0,1"]
    assert all(words.startswith("+2") for words in (low, value, high)) and p.startswith("= 0.00") and decided == 1
    assert -1 <= places[0] < places[1] < places[2] <= 1
    assert len(column["pairs"]) == 6  # each in one order


def test_runs_tell_settings_deviations_cost_and_curves(parse: Any, full: Any, page: str) -> None:
    found = parse(page)
    runs = found.named("details", **{"class": "run"})
    assert len(runs) == 9
    words = " ".join(text for texts in found.texts.values() for text in texts)
    for said in ("Follows ", "one <thing> & another", "images/s", "100 MB", "selected step 100", "105,711,745"):
        assert said in words, said
    assert len(found.named("div", **{"class": "curves"})) == 4
    assert len(found.named("polyline")) == 8


def test_pages_of_published_numbers_and_of_nothing_have_no_comparison(parse: Any, tmp_path: Path) -> None:
    tmp_path.joinpath("none").mkdir()
    for text in (tables.make_published(format=report.page), tables.make([tmp_path / "none"], format=report.page)):
        found = parse(text)
        assert "79.6" in text
        assert not [name for name in found.values("id") if name.startswith(("compare", "run"))]


def test_a_column_that_cannot_be_compared_says_why(parse: Any, shelf: Any) -> None:
    shelf.put("a", 80.0)
    shelf.put("b", 70.0).rows.unlink()
    payload = json.loads(next(parse(tables.make([shelf.root], format=report.page)).values("data-differences")))
    assert payload["columns"][0]["pairs"] == {} and "no per-image values" in payload["columns"][0]["why"]


def test_facts_of_all_runs_of_a_task_are_said_once_and_others_with_each_run(shelf: Any, parse: Any) -> None:
    shelf.put("a", 80.0, dataset__split="test")
    shelf.put("b", 70.0, model__source="weights-of-b")
    page = tables.make([shelf.root], format=report.page)
    texts = parse(page).texts["dd"]
    assert len([text for text in texts if " test, 40 of 40 images" in text]) == 1
    assert [text for text in texts if text.startswith("weights-of-b")] and len([t for t in texts if "UTC" in t]) == 1


def test_what_was_left_out_is_told(full: Any) -> None:
    bad = ResultPaths(full.root, "paper", "nyuv2-depth", "b", 3).json
    bad.write_text("{")
    assert "seed3.json" in tables.make([full.root], format=report.page)


@pytest.mark.slow
def test_a_run_of_this_repository_s_results_takes_little_of_the_page(parse: Any) -> None:
    page, files = tables.make([ROOT / "results"], format=report.page), read_all([ROOT / "results"])[0]
    assert len(page.encode()) < 3_400 * len(files)
    ids = list(parse(page).values("id"))
    assert len(ids) == len(set(ids)) > 100


def test_pictures_beside_the_page_are_whole_and_linked(parse: Any, full: Any, tmp_path: Path) -> None:
    def with_pictures(grids: Any, complaints: Any) -> str:
        return report.page(grids, complaints, pictures=tmp_path / "out" / "t-pictures")

    targets = [t for t in parse(tables.make([full.root], format=with_pictures)).values("href") if t.endswith(".png")]
    sheet = ResultPaths(full.root, "paper", "nyuv2-depth", "a", 1).sheet
    assert len(targets) == 4 and "t-pictures/run-paper-nyuv2-depth-a-seed1.png" in targets
    assert (tmp_path / "out/t-pictures/run-paper-nyuv2-depth-a-seed1.png").read_bytes() == sheet.read_bytes()
