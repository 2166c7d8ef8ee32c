"""Where frozen tokens are read, tables and comparisons say that networks differ in their kind of positions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import load_backbone, tables
from croco_bench.records.store import ResultPaths, write
from croco_bench.tables.comparison.compare import compare
from croco_bench.tables.show import show

FROZEN = {"train": {"frozen": True}, "head": {"name": "dense-linear"}, "limit": None}
NOTE = "positions are absolute in mae; rotary in croco:"


@pytest.fixture
def save(tmp_path: Path, result_of: Any) -> Any:
    """Writes a result of `croco` and one of `mae` under these settings, with 20 images each."""

    def both(settings: dict[str, Any], kinds: tuple[Any, Any] = ("rotary", "absolute")) -> Path:
        for name, kind in zip(("croco", "mae"), kinds, strict=True):
            values = np.random.default_rng(len(name)).uniform(80, 90, 20)
            identity = {"model__name": name, "model__sha256": name, "model__positions": kind}
            result = result_of(**identity, settings=settings, metrics__delta1__value=float(values.mean()))
            rows = {"delta1": values, "index": np.arange(20), "group": np.arange(20)}
            write(ResultPaths(tmp_path, "paper", "nyuv2-depth", name, 0), result, rows)
        return tmp_path

    return both


def notes_of(folder: Path) -> tuple[str, list[str]]:
    text = " ".join(tables.make([folder], format="markdown", published="none").split())
    return text, [note for row in compare(("croco", "mae"), [folder]).rows for note in row.notes]


@pytest.mark.parametrize("settings", [FROZEN, {"task": {}, "train": {"image_size": [64, 64]}}])
def test_frozen_networks_with_other_positions(settings: dict[str, Any], save: Any) -> None:
    """Also under tasks that train nothing, whose settings say nothing of frozen weights."""
    table, notes = notes_of(save(settings))
    assert NOTE in table
    assert [note.partition(":")[0] + ":" for note in notes if "positions" in note] == [NOTE]


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (FROZEN, ("absolute", "absolute")),
        (FROZEN, (None, "absolute")),
        ({**FROZEN, "train": {"frozen": False}}, ("rotary", "absolute")),
        ({**FROZEN, "head": {"name": "attentive"}}, ("rotary", "absolute")),
    ],
)
def test_nothing_is_said_without_need(settings: dict[str, Any], kinds: tuple[Any, Any], save: Any) -> None:
    table, notes = notes_of(save(settings, kinds))
    assert "positions" not in table and not [note for note in notes if "positions" in note]


def test_a_result_says_its_kind(save: Any) -> None:
    folder = save(FROZEN, (None, "absolute")) / "paper" / "nyuv2-depth"
    assert "absolute positions" in show(folder / "mae" / "seed0.json")
    assert "positions" not in show(folder / "croco" / "seed0.json")


@pytest.mark.parametrize(
    ("ckpt", "kind"),
    [
        ("mini-croco", "rotary"),
        ("mini-mae", "absolute"),
        ("random:vit_tiny_patch16_224", "absolute"),
        ("random:vit_small_patch16_dinov3", "rotary"),
        ("random:eva02_tiny_patch14_224", "absolute"),
        ("random:resnet18", None),
    ],
)
def test_networks_know_their_kind(ckpt: str, kind: str | None) -> None:
    """EVA-02 has both: its table is what tokens show."""
    size = 56 if "patch14" in ckpt else 64
    assert load_backbone(ckpt, image_size=size).position_kind == kind
