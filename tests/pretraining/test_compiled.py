"""Compiled pre-trainings, and those that keep no activations, learn the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from croco_bench.engine import compiling
from croco_bench.engine.training_log import lines

Tiny = Callable[..., Path]
SHORT = ("train.steps=3", "train.check_every=3", "train.ema=0.5")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are captured, with their backward passes, but not made into machine code."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def numbers(folder: Path) -> list[float]:
    return [line[key] for line in lines(folder) for key in ("loss", "held_out", "ratio") if key in line]


@pytest.mark.slow
def test_losses_and_scores_stay(tiny: Tiny, pairs_root: Path, tmp_path: Path) -> None:
    plain = tiny(pairs_root, tmp_path / "plain", *SHORT).parent
    again = tiny(pairs_root, tmp_path / "again", *SHORT, "train.checkpointing=true").parent
    compiled = tiny(pairs_root, tmp_path / "compiled", *SHORT, "train.compile=all").parent
    assert len(numbers(plain)) == 5
    assert numbers(again) == numbers(plain)
    assert numbers(compiled) == pytest.approx(numbers(plain), rel=1e-3)
