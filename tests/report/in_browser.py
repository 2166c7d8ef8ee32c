"""The page of all results in a browser: `nox -s browser`. Needs playwright and Chromium or Chrome, and fails without."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from croco_bench import report, tables

Open = Callable[..., Page]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROWS = "#table-2 tbody.measured tr[data-label]:visible"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser: that of CHROMIUM, one on the PATH, or the one that playwright has downloaded."""
    path = os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(chromium: Any, full: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of `full` in a window of some size; afterwards, it has neither complained nor asked for anything."""
    path = tmp_path / "table.html"
    path.write_text(tables.make([full.root], format=report.page), encoding="utf-8")
    troubles: list[str] = []
    pages = []

    def opened(width: int = 1280, height: int = 860, fragment: str = "", **options: Any) -> Page:
        page = chromium.new_page(viewport={"width": width, "height": height}, **options)
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: troubles.extend(foreign(request.url)))
        page.goto(path.as_uri() + fragment)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert troubles == []


def foreign(url: str) -> list[str]:
    """The address, unless it lies in the page or on the disk."""
    return [] if url.startswith(("file:", "data:")) else [url]


def labels(page: Page) -> list[str | None]:
    return [row.get_attribute("data-label") for row in page.locator(ROWS).all()]


def head(page: Page, words: str) -> Any:
    return page.locator("#table-2 thead th", has_text=words)


def test_a_head_sorts_best_first_then_the_other_way_and_no_value_stays_last(visit: Open, full: Any) -> None:
    page = visit()
    button = head(page, "nyuv2-depth").locator("button")
    button.click()
    assert labels(page) == ["a", full.odd, "b", "dis"]
    expect(head(page, "nyuv2-depth")).to_have_attribute("aria-sort", "descending")
    button.click()
    assert labels(page) == ["dis", "b", full.odd, "a"]
    head(page, "ade20k-seg-too").locator("button").click()
    assert labels(page)[:2] == ["b", "a"]
    head(page, "backbone").locator("button").click()
    assert labels(page) == ["a", "b", "dis", full.odd]
    expect(page.locator("#table-2 th[aria-sort]")).to_have_count(1)


def test_the_cost_of_runs_is_sorted_too(visit: Open) -> None:
    group = visit().locator("details.group[data-task=nyuv2-depth][data-recipe=paper]").first
    cost = group.locator(".cost")
    for place in (group, cost):
        place.evaluate("node => { node.open = true; }")
    seeds = cost.locator("tbody td:nth-child(2)")
    for descending in (False, True):
        cost.locator("button", has_text="seed").click()
        found = [int(text) for text in seeds.all_inner_texts()]
        assert len(set(found)) > 1 and found == sorted(found, reverse=descending)
    cost.locator("button", has_text="backbone").click()
    expect(cost.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    names = cost.locator("tbody th").all_inner_texts()
    assert names == sorted(names)


def test_filters_by_backbone_task_recipe_and_source(visit: Open) -> None:
    page = visit()
    page.fill("#filter-backbone", "dis, b")
    expect(page.locator("#filter-count")).to_contain_text("rows")
    assert "dis" in labels(page) and "a" not in labels(page)
    page.click("#filter-reset")
    page.locator(".menu", has_text="Tasks").locator("summary").click()
    page.locator("[data-check=task][data-to=false]").click()
    expect(page.locator("#table-2")).to_be_hidden()
    page.get_by_label("ade20k-seg-too").check()
    assert sorted(labels(page), key=str) == ["a", "b"]  # the others have no number there
    expect(head(page, "nyuv2-depth")).to_be_hidden()
    page.click("#filter-reset")
    page.locator(".menu", has_text="Recipes").locator("summary").click()
    page.get_by_label("mini", exact=True).uncheck()
    expect(page.locator("#table-1")).to_be_hidden()
    expect(page.locator("details.group:visible")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".menu[open]")).to_have_count(0)
    expect(page.locator("#table-2 tbody.published tr[data-label]:visible").first).to_be_visible()
    page.locator("#filter-published").uncheck()
    expect(page.locator("tbody.published tr:visible")).to_have_count(0)


def test_a_number_opens_its_run(visit: Open) -> None:
    page = visit()
    page.locator("#table-2 tr[data-label=b] td a").last.click()
    run = page.locator("#run-paper-nyuv2-depth-b-seed0")
    expect(run).to_have_attribute("open", "")
    expect(run.locator("> summary")).to_be_focused()
    expect(run.locator(".sheet img")).to_be_in_viewport()
    assert run.locator(".sheet img").evaluate("image => image.complete && image.naturalWidth > 0")
    expect(run.locator(".curves svg")).to_have_count(2)
    again = visit(fragment="#run-paper-nyuv2-depth-a-seed1")
    expect(again.locator("#run-paper-nyuv2-depth-a-seed1")).to_have_attribute("open", "")


def test_two_backbones_are_compared_on_the_same_images(visit: Open, full: Any) -> None:
    page = visit()
    result = page.locator("#compare-result")
    expect(result.locator("tbody tr")).to_have_count(2)
    expect(result).to_contain_text("a is better")
    row = result.locator("tr", has_text="nyuv2-depth")
    before = row.locator("td").nth(2).inner_text()
    assert before.startswith("+")
    crops = result.locator(".crop img")
    expect(crops).to_have_count(6)
    assert [crops.nth(place).get_attribute("alt") for place in (0, 1, 4, 5)] == ["#0  δ1 80.0 %"] * 2 + [
        "#39  δ1 80.0 %"
    ] * 2
    left, right = (result.locator(".crop").nth(place).bounding_box() for place in (0, 1))
    assert left and right and left["y"] == right["y"] and left["x"] < right["x"]
    expect(result.locator(".curves")).to_have_count(2)
    page.click("#compare-swap")
    value, low, high = before.replace("+", "-").replace(",", "").replace("[", "").replace("]", "").split()
    assert row.locator("td").nth(2).inner_text() == f"{value} [{high}, {low}]"
    expect(row).to_contain_text("a is better")
    page.select_option("#compare-second", full.odd)
    expect(result).to_contain_text(full.odd)
    page.select_option("#compare-second", "b")
    expect(result).to_contain_text("Choose two different backbones")


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(visit: Open) -> None:
    page = visit()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    button = head(page, "nyuv2-depth").locator("button")
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("node => node === document.activeElement"):
            break
    expect(button).to_be_focused()
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(head(page, "nyuv2-depth")).to_have_attribute("aria-sort", "descending")
    page.locator("details.group > summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("details.group").first).to_have_attribute("open", "")


def test_a_phone_shows_numbers_on_its_first_screen_and_names_stay(visit: Open) -> None:
    page = visit(width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("#table-1 td a").first).to_be_in_viewport(ratio=1)
    box = page.locator("#table-2 .wide")
    box.scroll_into_view_if_needed()
    name = page.locator("#table-2 tr[data-label=a] th")
    before = name.bounding_box()
    box.evaluate("node => { node.scrollLeft = 200; }")
    assert name.bounding_box() == before
    page.locator("details.group").last.evaluate(
        "node => node.querySelectorAll('details').forEach(d => { d.open = true; })"
    )
    page.locator("details.group").last.evaluate("node => { node.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_without_scripts_numbers_and_runs_are_there_and_controls_are_not(visit: Open) -> None:
    page = visit(java_script_enabled=False)
    expect(page.locator("#table-2 td a").first).to_be_visible()
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.locator("#compare")).to_be_hidden()
    expect(page.locator("details.group").first).to_be_visible()


def test_print_leaves_controls_out_and_fits_the_paper(visit: Open) -> None:
    page = visit()
    page.emulate_media(media="print")
    for part in (".filters", "#compare", "nav"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("#table-2 td a").first).to_be_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_paper(visit: Open, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    for part in ("body", ".spread", "#table-2 tbody.published .name", ".notes", ".measure"):
        text, paper = page.locator(part).first.evaluate(
            "node => [getComputedStyle(node).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert contrast(text, paper) >= 4.5, (part, text, paper)


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colors `rgb(r, g, b)`, after WCAG 2.2."""
    low, high = sorted(luminance([int(part) for part in color[4:-1].split(",")]) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(color: list[int]) -> float:
    shares = [value / 255 for value in color]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
