"""Per-image values read from files: metrics that are no means, scenes, and files that don't belong together."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import registry
from croco_bench.errors import RecordError
from croco_bench.metrics.flow import FlowMeter
from croco_bench.metrics.meter import Rows, stack
from croco_bench.records.store import ResultFile, ResultPaths, read_all, write
from croco_bench.tables.comparison.scores import SeedScores, load_column
from croco_bench.types import Array

MINI = Path(__file__).parents[3] / "results" / "mini"
# Scenes of test splits that have fewer than twelve: objects, classes, and rooms.
SCENES = {"correspondence-navi": 9, "correspondence-spair71k": 3, "nyuv2-normals": 10}
FILMS = [f"film{index // 4}" for index in range(12)]


def flow_rows(seed: int, error_px: float) -> Rows:
    """Rows of 12 pairs whose flow is wrong by `error_px` on average, in images of different sizes."""
    rng, meter = np.random.default_rng(seed), FlowMeter()
    rows = []
    for pair in range(12):
        size = (4 + pair, 5)
        truth = np.random.default_rng(pair).normal(0, 8, (*size, 2))
        sample = {"flow_px": truth, "valid": np.ones(size, dtype=np.bool_)}
        rows.append(meter.measure(truth + rng.normal(0, error_px, truth.shape), sample))
    return stack(rows)


def saved(tmp_path: Path, result: Any, rows: dict[str, Array]) -> ResultFile:
    paths = ResultPaths(tmp_path, result.recipe.name, result.task.name, result.model.name, result.seed)
    write(paths, result, rows)
    return ResultFile(paths, result)


def flow_result(result_of: Any, model: str, seed: int, value: float) -> Any:
    metrics = {"clean/epe": {"value": value, "ci95": None, "unit": "px", "higher_is_better": False}}
    return result_of(
        task={"name": "sintel-flow", "version": 1}, model__name=model, seed=seed, metrics=metrics, dataset__images=12
    )


def test_pooled_errors_are_reduced_as_their_meter_does(tmp_path: Path, result_of: Any) -> None:
    members: dict[str, list[ResultFile]] = defaultdict(list)
    expected = defaultdict(list)
    for model, error_px in (("a", 1.0), ("b", 2.0)):
        for seed in range(2):
            rows = flow_rows(seed + int(10 * error_px), error_px)
            value = FlowMeter().reduce(rows)["epe"]
            named = {"index": np.arange(12.0), "group": np.array(FILMS)} | {f"clean/{k}": v for k, v in rows.items()}
            members[model].append(saved(tmp_path, flow_result(result_of, model, seed, value), named))
            expected[model].append(value)
    column = load_column(members, "clean/epe")
    for model, scores in column.items():
        assert scores.value == pytest.approx(np.mean(expected[model]))
        assert scores.parts.shape == (2, 3)
        assert scores.scenes == 3 and scores.learned


def values_of(tmp_path: Path, result_of: Any, model: str, values: Array, **extra: Any) -> ResultFile:
    result = result_of(model__name=model, metrics__delta1__value=float(values.mean()), dataset__images=len(values))
    return saved(tmp_path, result, {"index": np.arange(float(len(values))), "delta1": values, **extra})


def test_scenes_are_read_from_whichever_file_names_them(tmp_path: Path, result_of: Any) -> None:
    rng = np.random.default_rng(0)
    old = values_of(tmp_path, result_of, "old", rng.uniform(size=12))
    new = values_of(tmp_path, result_of, "new", rng.uniform(size=12), group=np.array(FILMS))
    column = load_column({"old": [old], "new": [new]}, "delta1")
    assert [scores.parts.shape for scores in column.values()] == [(1, 3), (1, 3)]
    alone = load_column({"old": [old]}, "delta1")["old"]
    assert alone.parts.shape == (1, 12) and alone.scenes is None


def test_files_of_different_runs_are_noticed(tmp_path: Path, result_of: Any) -> None:
    file = values_of(tmp_path, result_of, "a", np.array([1.0, 2.0, 3.0]))
    np.savez(file.paths.rows, index=np.arange(3.0), delta1=np.array([1.0, 2.0, 4.0]))
    with pytest.raises(RecordError, match=r"gives delta1=2\.33333 where seed0\.json has 2; the two files"):
        load_column({"a": [file]}, "delta1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there are no per-image values"),
        (b"PK no archive", "can't be read"),
        (b"", "can't be read"),
    ],
)
def test_missing_and_damaged_files_are_one_sentence(
    content: bytes | None, words: str, tmp_path: Path, result_of: Any
) -> None:
    file = values_of(tmp_path, result_of, "a", np.array([1.0, 2.0, 3.0]))
    file.paths.rows.unlink()
    if content is not None:
        file.paths.rows.write_bytes(content)
    with pytest.raises(RecordError, match=words) as caught:
        load_column({"a": [file]}, "delta1")
    assert "\n" not in str(caught.value)


def test_other_numbers_of_images_are_refused(tmp_path: Path, result_of: Any) -> None:
    one = values_of(tmp_path, result_of, "a", np.ones(3))
    two = values_of(tmp_path, result_of, "b", np.ones(4))
    with pytest.raises(RecordError, match="3 and 4 images"):
        load_column({"a": [one], "b": [two]}, "delta1")


def test_images_without_a_value_leave_the_mean(tmp_path: Path, result_of: Any) -> None:
    scores = SeedScores.of_values("a", np.array([[1.0, np.nan, 3.0, 8.0]]))
    assert scores.value == pytest.approx(4)


@pytest.mark.slow
def test_every_committed_result_gives_its_recorded_headline_again() -> None:
    """Reductions of tasks agree with what their meters computed when the results were made."""
    found, complaints = read_all([MINI.parent], "mini")
    assert not complaints
    by_task: dict[str, dict[str, list[ResultFile]]] = defaultdict(lambda: defaultdict(list))
    for file in found:
        by_task[file.result.task.name][file.result.model.name].append(file)
    assert len(by_task) >= 13
    for task, members in by_task.items():
        for metric in registry.tasks()[task].card.headline:
            having = {
                model: files
                for model, files in members.items()
                if metric.name in files[0].result.metrics or not files[0].result.failed  # as SIFT's poses
            }
            for model, scores in load_column(having, metric.name).items():
                recorded = [file.result.metrics[metric.name].value for file in members[model]]
                assert scores.value == pytest.approx(np.mean(recorded), rel=1e-9)
                assert scores.scenes is not None and scores.scenes >= SCENES.get(task, 12)
