"""Order and augmentation of training batches, and the errors of readers in workers."""

import numpy as np
import pytest

from croco_bench.config.recipe import Train
from croco_bench.config.tables import MOST_WORKERS
from croco_bench.engine.dataloading import MicroBatches, Plan, usable_workers
from croco_bench.errors import UsageError

PLAN = Plan.of(Train(image_size=(8, 8), batch_size=4, epochs=3, accumulate=1), 11, 1)


def keys(plan: Plan, *, start: int = 0, process: int = 0, processes: int = 1) -> list[list[tuple[int, int]]]:
    return list(MicroBatches(plan, 11, seed=5, start=start, process=process, processes=processes))


def test_epochs_become_steps_and_the_last_batch_is_dropped() -> None:
    assert (PLAN.steps, PLAN.unit, PLAN.steps_per_epoch) == (6, 2, 2)


def test_an_epoch_repeats_no_image_and_epochs_differ() -> None:
    batches = [[index for index, _ in batch] for batch in keys(PLAN)]
    for epoch in range(3):
        seen = [index for batch in batches[2 * epoch : 2 * epoch + 2] for index in batch]
        assert len(set(seen)) == 8
        assert set(seen) <= set(range(11))
    assert batches[:2] != batches[2:4]
    seeds = [seed for batch in keys(PLAN) for _, seed in batch]
    assert len(set(seeds)) == len(seeds)


def test_a_restart_repeats_the_rest() -> None:
    assert keys(PLAN, start=3) == keys(PLAN)[3:]


def test_processes_and_accumulation_cut_one_global_batch() -> None:
    whole = keys(PLAN)
    two = Plan.of(Train(image_size=(8, 8), batch_size=4, epochs=3), 11, 2)
    parts = zip(keys(two, processes=2), keys(two, process=1, processes=2), strict=True)
    assert [a + b for a, b in parts] == whole
    halves = keys(Plan.of(Train(image_size=(8, 8), batch_size=4, epochs=3, accumulate=2), 11, 1))
    assert [a + b for a, b in zip(halves[::2], halves[1::2], strict=True)] == whole


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="doesn't divide"):
        Plan.of(Train(image_size=(8, 8), batch_size=4, epochs=1), 11, 3)
    with pytest.raises(UsageError, match="fewer than one batch"):
        Plan.of(Train(image_size=(8, 8), batch_size=16, epochs=1), 11, 1)


def test_workers_share_the_processors_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(32)))
    monkeypatch.delenv("CROCO_BENCH_CORES", raising=False)
    assert [usable_workers(wanted) for wanted in (0, 8, MOST_WORKERS)] == [0, 8, 31]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [usable_workers(wanted) for wanted in (0, 8, MOST_WORKERS)] == [0, 7, 7]


def test_seeds_are_fixed_for_all_time() -> None:
    """A change here would change every result."""
    from croco_bench.seeding import derive

    assert derive(0, "augment", 3, 7) == derive(0, "augment", 3, 7)
    assert derive(0, "augment", 37) != derive(0, "augment", 3, 7)
    assert derive(0) == 3456079177858693020
    assert 0 <= derive(1, "x") < 2**63
    assert isinstance(np.random.default_rng(derive(1)), np.random.Generator)
