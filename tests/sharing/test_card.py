"""Cards of backbones."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from croco_bench.errors import RecordError, UsageError
from croco_bench.records.store import ResultPaths, write
from croco_bench.sharing.card import card


def test_a_card_says_what_the_backbone_is_and_how_to_repeat_its_numbers(results: Path) -> None:
    text = card("croco-v1", [results])
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["library_name"] == "croco-bench" and facts["datasets"] == ["nyuv2"]
    assert "# croco-v1" in body and "| SHA-256 | " + "ab" * 32 in body
    assert "80.5 ± 0.7 (n=2)" in body and "one \\<thing> & another" in body
    assert body.count("croco-bench run nyuv2-depth --ckpt CroCo.pth --recipe paper --seed ") == 2
    assert card("croco-v1", [results]) == text


@pytest.mark.parametrize(
    ("selected", "only"), [({"step": 3, "metric": "delta1", "split": "select"}, False), (None, True)]
)
def test_commands_of_runs_that_only_scored_say_so(
    selected: dict[str, Any] | None, only: bool, tmp_path: Path, result_of: Any
) -> None:
    result = result_of(model__name="a", selected=selected)
    write(ResultPaths(tmp_path, "paper", "nyuv2-depth", "a", 0), result, {"index": np.arange(1), "delta1": np.ones(1)})
    assert ("--eval-only" in card("a", [tmp_path])) == only


def test_commands_have_what_the_runs_changed(tmp_path: Path, result_of: Any) -> None:
    changed = ["one image is missing", "changed from the recipe: head.hooks=[0, 1]"]
    result = result_of(
        model__name="a", model__source="my nets/a.pth", protocol__deviations=changed, settings__limit=20, seed=3
    )
    write(ResultPaths(tmp_path, "paper", "nyuv2-depth", "a", 3), result, {"index": np.arange(1), "delta1": np.ones(1)})
    words = shlex.split(next(line for line in card("a", [tmp_path]).splitlines() if "croco-bench run" in line))
    assert words == [
        *("croco-bench", "run", "nyuv2-depth", "--ckpt", "my nets/a.pth", "--recipe", "paper", "--seed", "3"),
        *("--name", "a", "--limit", "20", "--set", "head.hooks=[0, 1]"),
    ]


def test_unknown_backbones_and_two_that_share_a_name_are_refused(results: Path, tmp_path: Path, result_of: Any) -> None:
    with pytest.raises(UsageError, match="no backbone is called 'croco-v3'"):
        card("croco-v3", [results])
    with pytest.raises(RecordError, match="no results"):
        card("croco-v1", [results], "mini")
    slot = ResultPaths(tmp_path / "other", "paper", "nyuv2-depth", "croco-v1", 2)
    write(slot, result_of(model__sha256="cd" * 32, seed=2), {"index": np.arange(1), "delta1": np.ones(1)})
    with pytest.raises(RecordError, match="different weights are called croco-v1"):
        card("croco-v1", [results, tmp_path / "other"])


def test_texts_of_results_can_not_end_a_block_or_the_front_matter(tmp_path: Path, result_of: Any) -> None:
    slot = ResultPaths(tmp_path, "paper", "nyuv2-depth", "a", 0)
    source = "x\n```\n---\n# Owned"
    write(slot, result_of(model__name="a", model__source=source), {"index": np.arange(1), "delta1": np.ones(1)})
    text = card("a", [tmp_path])
    assert "\n# Owned" not in text and text.count("```") == 2 and text.count("\n---\n") == 1
