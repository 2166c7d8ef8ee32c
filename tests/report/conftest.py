"""Results to make a page of: pictures, logs, odd names, published numbers."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from croco_bench import report, tables
from croco_bench.engine.figures import draw_sheet
from croco_bench.records.schema import MetricValue
from croco_bench.records.store import ResultPaths, write


class Shelf:
    """Writes results whose per-image values agree with their metrics."""

    odd = "f_&_\"<b>'"
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)> javascript:alert(3) \u202egnp"

    def __init__(self, root: Path, result_of: Any) -> None:
        self.root, self._result_of = root, result_of

    def put(self, model: str, mean: float, *, seed: int = 0, images: int = 40, **changes: Any) -> ResultPaths:
        """A result of `nyuv2-depth` with delta1 around `mean` on each image."""
        task = changes.setdefault("task__name", "nyuv2-depth")
        # Images are easy or hard for every backbone; seeds and backbones add little.
        shared = np.random.default_rng(0).normal(0.0, 5.0, images)
        own = np.random.default_rng([len(model), ord(model[0]), seed]).normal(0.0, 0.3, images)
        values = mean + shared - shared.mean() + own
        metric = MetricValue(value=float(values.mean()), ci95=(mean - 2, mean + 2), unit="%", higher_is_better=True)
        result = self._result_of(
            model__name=model,
            seed=seed,
            dataset__images=images,
            dataset__images_available=images,
            metrics={"delta1": metric, "last/delta1": metric},
            **changes,
        )
        paths = ResultPaths(self.root, result.recipe.name, task, model, seed)
        write(paths, result, {"index": np.arange(images), "delta1": values})
        return paths

    def picture(self, paths: ResultPaths) -> None:
        """A contact sheet of three images."""
        rng = np.random.default_rng(0)
        panels = {name: rng.random((16, 16, 3)) for name in ("image", "prediction")}
        paths.folder.mkdir(parents=True, exist_ok=True)
        draw_sheet(paths.sheet, [(f"#{index}  δ1 80.0 %", panels) for index in (0, 20, 39)], paths.model)

    def log(self, paths: ResultPaths, steps: int = 100) -> None:
        """A log with the loss of each step and a selection every tenth."""
        lines = [{"step": step, "loss": 1.0 / (step + 1)} for step in range(steps)]
        lines += [{"step": step, "select/delta1": 50.0 + step / 10} for step in range(9, steps, 10)]
        paths.folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in sorted(lines, key=lambda line: line["step"]))
        (paths.folder / "log.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def shelf(tmp_path: Path, result_of: Any) -> Shelf:
    """An empty folder of results."""
    return Shelf(tmp_path / "results", result_of)


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """`a` and `b` with two seeds, pictures and logs, on two tasks; one with an odd name; a classical one; another recipe."""
    for seed in (0, 1):
        for model, mean in (("a", 85.0), ("b", 60.0)):
            paths = shelf.put(model, mean + seed, seed=seed)
            shelf.picture(paths)
            shelf.log(paths)
    shelf.put("a", 40.0, task__name="ade20k-seg-too")
    shelf.put("b", 50.0, task__name="ade20k-seg-too")
    shelf.put(shelf.odd, 70.0, protocol__deviations=(shelf.hostile,), settings={"text": shelf.hostile, "limit": None})
    shelf.put("dis", 20.0, model__family="classical")
    shelf.put("a", 30.0, recipe__name="mini", dataset__miniature=True)
    return shelf


@pytest.fixture
def page(full: Shelf) -> str:
    """The page of `full`."""
    return tables.make([full.root], format=report.page)


class Page(HTMLParser):
    """Elements of a page, after a check that each is closed where it should be."""

    void: ClassVar = frozenset({"br", "col", "img", "input", "link", "meta"})
    # What ends an element whose end HTML implies, beside the end of its parent.
    ended_by: ClassVar = {
        "td": {"td", "th", "tr"},
        "th": {"td", "th", "tr", "tbody"},
        "tr": {"tr", "tbody"},
        "thead": {"tbody"},
        "tbody": {"tbody"},
        "dt": {"dt", "dd"},
        "dd": {"dt", "dd"},
        "li": {"li"},
    }

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps an element."""
        assert len({name for name, _ in attrs}) == len(attrs)
        while self.open and tag in self.ended_by.get(self.open[-1], ()):
            self.open.pop()
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Refuses an end that has no start, or one after something that isn't closed."""
        while self.open[-1] in self.ended_by and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps a text under the name of the element that it is in."""
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def values(self, attribute: str) -> Iterator[str]:
        """Of an attribute, of all elements that have it."""
        return (attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes)

    def named(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a name that have certain attributes."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


@pytest.fixture
def parse() -> type[Page]:
    """Parses the text of a page."""
    return Page
