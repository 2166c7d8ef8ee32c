"""The short form of `python -m tests.fuzz`: the same few damaged inputs of each reader each time."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.errors import DataError
from tests.fuzz import archives, checkpoints, datasets, files, lists, sharing, states
from tests.fuzz.__main__ import ran, table
from tests.fuzz.child import outcome_of
from tests.fuzz.target import Target, described
from tests.fuzz.targets import targets


def faults_of(family: list[Target], folder: Path, inputs: int) -> list[str]:
    """What went wrong, in words."""
    found = []
    for number, target in enumerate(family):
        outcomes = ran(target.open(folder / str(number) / target.name.split()[-1]), inputs, 1)
        assert any(not outcome.is_fault for _, outcome in outcomes)
        found += [f"{target.name}: {outcome}: {input}" for input, outcome in outcomes if outcome.is_fault]
    return found


def test_each_miniature_is_read() -> None:
    assert datasets.READERS.keys() == MINIATURES.keys()


@pytest.mark.slow
def test_the_sound_files_of_every_target_are_read_and_give_equal_values(tiny_data: Path, tmp_path: Path) -> None:
    for number, target in enumerate(targets(tiny_data)):
        session = target.open(tmp_path / str(number) / target.name.split()[-1])
        assert described(target.read(session.folder)) == session.expected, target.name


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("family", "inputs"),
    [
        (lists.lists, 4),
        (files.images, 2),
        (files.arrays, 4),
        (archives.downloads, 6),
        (checkpoints.checkpoints, 2),
        (states.saved, 10),
        (sharing.sharing, 10),
    ],
    ids=["lists", "images", "arrays", "downloads", "checkpoints", "states", "sharing"],
)
def test_damaged_files_end_in_a_sentence(family: Callable[[], list[Target]], inputs: int, tmp_path: Path) -> None:
    assert faults_of(family(), tmp_path, inputs) == []


def grow() -> str:
    content = bytearray(2**30 + 2**27)
    for at in range(0, len(content), 4096):
        content[at] = 1
    return "grown"


def spin() -> str:
    while True:
        pass


def crash() -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


def refuse() -> str:
    raise DataError("no", "get it again")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("probe", "kind"),
    [
        (lambda: "x", "right"),
        (lambda: "y", "wrong"),
        (refuse, "sentence"),
        (lambda: str(1 // 0), "traceback"),
        (crash, "signal"),
        (grow, "memory"),
    ],
)
def test_each_kind_of_end_is_told(probe: object, kind: str) -> None:
    assert callable(probe)
    found = outcome_of(probe, "x", knowable=True)
    assert (found.kind, found.is_fault) == (kind, kind not in ("right", "sentence"))


@pytest.mark.slow
@pytest.mark.processes
def test_work_without_end_is_ended() -> None:
    began = time.process_time()
    assert outcome_of(spin).kind == "hang"
    assert time.process_time() - began < 1


def test_the_table_adds_up() -> None:
    text = table({"a": Counter(sentence=2, hang=1), "b": Counter(right=3)})
    assert text.splitlines()[-1].startswith("| **sum** | 6 | 2 | 3 |")
