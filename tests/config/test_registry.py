"""Names announced by distributions: clashes, broken plug-ins, suggestions."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from croco_bench import registry
from croco_bench.errors import BenchError, UsageError
from croco_bench.registry import HeadCard, Registry


def announce(monkeypatch: pytest.MonkeyPatch, module: str, **cards: HeadCard) -> EntryPoint:
    """An entry point of a distribution that lives in memory."""
    made = ModuleType(module)
    made.CATALOGUE = cards  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, made)
    return EntryPoint(name="pack", value=f"{module}:CATALOGUE", group="croco_bench.heads")


def test_names_come_from_every_distribution_and_load_late(monkeypatch: pytest.MonkeyPatch) -> None:
    first = announce(monkeypatch, "pack_a", dpt=HeadCard("croco_bench.heads.dpt:DPT", "one"))
    second = announce(monkeypatch, "pack_b", ghost=HeadCard("nowhere_at_all:Head", "imported only when used"))
    heads = Registry[HeadCard]("head", [first, second])
    assert [entry.name for entry in heads] == ["dpt", "ghost"]
    assert heads["dpt"].load().__name__ == "DPT"
    with pytest.raises(UsageError, match="nowhere_at_all:Head can't be imported: ModuleNotFoundError"):
        heads["ghost"].load()


def test_a_clash_is_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [announce(monkeypatch, name, dpt=HeadCard("x:y", "")) for name in ("pack_a", "pack_b")]
    with pytest.raises(BenchError, match="'dpt' is announced by both"):
        Registry[HeadCard]("head", points)


def test_a_broken_distribution_is_reported_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint(name="pack", value="not_installed_anywhere:CATALOGUE", group="croco_bench.heads")
    whole = announce(monkeypatch, "pack_a", dpt=HeadCard("x:y", "one"))
    heads = Registry[HeadCard]("head", [broken, whole])
    assert [entry.name for entry in heads] == ["dpt"]
    told = capfd.readouterr().err
    assert "not_installed_anywhere:CATALOGUE" in told and "left out" in told and told.count("\n") == 1


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(UsageError, match="did you mean nyuv2-depth"):
        registry.tasks()["nyuv2depth"]
    with pytest.raises(UsageError, match="did you mean dpt"):
        registry.heads()["dtp"]


def test_built_in_tasks_arrive_by_entry_point() -> None:
    assert {entry.distribution for entry in registry.tasks()} == {"croco-bench"}
    assert all(entry.card.headline and entry.card.summary for entry in registry.tasks())


def test_a_group_stands_for_its_tasks_where_one_task_is_not_asked_for() -> None:
    assert registry.members("nyuv2-depth") == ["nyuv2-depth"]
    assert len(registry.members("taskonomy")) == 8
    with pytest.raises(UsageError, match=r"did you mean taskonomy"):
        registry.members("taskonomi")
    with pytest.raises(UsageError, match=r"group of 8 tasks; name one: taskonomy-curvature, .*taskonomy-reshading"):
        registry.tasks()["taskonomy"]


@pytest.mark.parametrize("names", [registry.tasks, registry.heads])
def test_a_copy_that_is_not_installed_says_so(names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: EntryPoints())
    with pytest.raises(
        BenchError, match=r"croco-bench isn't installed in this Python .*; install it: pip install -e /"
    ):
        names.__wrapped__()
