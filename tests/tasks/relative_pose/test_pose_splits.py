"""Relative pose on rendered rooms: splits, further test sets, panels, wrong settings."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.config.load import options_of
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.miniatures.seven_scenes import SevenScenesMini, write_sevenscenes
from croco_bench.data.splitting import limit
from croco_bench.errors import BenchError, UsageError
from croco_bench.tasks.relative_pose import RelativePose, RelativePoseOptions

SIZE = (24, 32)
# Pictures don't depend on the data.
NO_DATA: Any = None


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> RelativePose:
    return RelativePose(options_of(RelativePoseOptions, {"neighbours": 3, **options}, "[task]"), image_size)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "7scenes"
    root.mkdir()
    with ThreadPoolExecutor(1) as pool:
        write_sevenscenes(root, SevenScenesMini(2, 3, 10, 48, 64), 0, pool, lambda _: None)
    return root


def test_splits_hold_out_sequences_and_limit_what_is_read(rooms: Path) -> None:
    task = task_of(select_pairs=7)
    splits = task.open(rooms, seed=0)
    assert len(splits.test) == 20 and 0 < len(splits.select) <= 7 and len(splits.train) > 10
    assert splits.test[0]["image1"].shape == (3, 48, 64, 3)

    def sequences(reader: Any) -> set[str]:
        return {name.rpartition("/")[0] for index in range(len(reader)) for name in reader[index]["id"].split()}

    queries = {splits.select[index]["id"].split()[1].rpartition("/")[0] for index in range(len(splits.select))}
    assert not queries & sequences(splits.train)
    assert not (queries | sequences(splits.train)) & sequences(splits.test)
    assert splits.select.fingerprint() == task.open(rooms, seed=0).select.fingerprint()


def test_further_test_sets_are_scored_pair_by_pair(rooms: Path, tmp_path: Path) -> None:
    whole = open_seven_scenes(rooms)
    names, poses = whole.views.names, whole.views.cam2world
    listing = tmp_path / "indoor.txt"
    motion = np.linalg.inv(poses[3]) @ poses[0]
    K = " ".join(f"{value:.17g}" for value in whole.views.K[0].ravel())
    line = f"{rooms / names[0]} {rooms / names[3]} 0 0 {K} {K} {' '.join(f'{value:.17g}' for value in motion.ravel())}"
    listing.write_text(f"{line}\n{line}\n{line}\n")
    task = task_of(also=(str(listing),))
    splits = task.open(rooms, seed=0)
    first, second = task.evaluations(splits)
    assert (first.prefix, second.prefix, len(second.reader)) == ("", "indoor", 3)
    sample = second.prepare(second.reader[0])
    assert sample["image1"].shape == (3, *SIZE)
    np.testing.assert_allclose(sample["relative"], np.linalg.inv(motion), atol=1e-9)
    assert len(task.evaluations(replace(splits, test=limit(splits.test, 2, 0)))[1].reader) == 2
    with pytest.raises(UsageError, match="names indoor twice"):
        task_of(also=(str(listing), str(listing))).open(rooms, seed=0)
    with pytest.raises(BenchError, match="scannet1500") as caught:
        task_of(also=("scannet1500",)).open(rooms, seed=0)
    assert "\n" not in str(caught.value)


def test_lengths_are_scored_only_where_they_are_metres(tiny_data: Path) -> None:
    task = task_of(also=("scannet1500", "megadepth1500"))
    splits = task.open_test(tiny_data / "7scenes")
    names = [{metric.name for metric in one.meter.metrics} for one in task.evaluations(splits)]
    for name in ("pair_translation_m", "recall_10deg_25cm"):
        assert [name in found for found in names] == [True, True, False]
    assert all("auc20" in found for found in names)
    of_megadepth = task.evaluations(splits)[2]
    sample = of_megadepth.prepare(of_megadepth.reader[0])
    assert sample["image1"].shape == sample["image2"].shape == (3, *SIZE) and not sample["metres"]
    identity = task.classical_methods()["identity"].adapt(of_megadepth)
    assert "recall_10deg_25cm" not in {metric.name for metric in identity.meter.metrics}


def test_panels_are_pictures(rooms: Path) -> None:
    task = task_of()
    splits = task.open(rooms, seed=0)
    evaluation = task.evaluations(splits)[0]
    sample = evaluation.prepare(splits.test[0])
    failed = np.full((3, 4, 4), np.nan)
    for prediction in (sample["relative"], np.tile(np.eye(4), (3, 1, 1)), failed, 1e3 * sample["relative"]):
        panels = task.panels(NO_DATA, sample, prediction)
        assert len(panels) == 3
        assert all(panel.shape == (*SIZE, 3) and panel.dtype == np.uint8 for panel in panels.values())
    pair = task.selection(splits.select).prepare(splits.select[0])
    for prediction in (pair["relative"], np.eye(4), np.full((4, 4), np.nan)):
        panels = task.panels(NO_DATA, pair, prediction)
        assert len(panels) == 2 and all(panel.shape == (*SIZE, 3) for panel in panels.values())


def test_wrong_settings_are_one_sentence(rooms: Path) -> None:
    with pytest.raises(UsageError, match=r"translation_weight: .* greater than 0 \(given 0\.0\)"):
        task_of(translation_weight=0.0)
    for options, words in (
        ({"select_fraction": 1.5}, r"select_fraction=1\.5"),
        ({"select_pairs": 0}, "select_pairs=0"),
        ({"neighbours": 0}, "0 neighbours"),
        ({"neighbours": 99}, r"task\.neighbours=N"),
        ({"lists": "nowhere"}, "no folder .*nowhere"),
        ({"distance_m": (5.0, 6.0)}, "no two training frames"),
    ):
        with pytest.raises(BenchError, match=words) as caught:
            task_of(**options).open(rooms, seed=0)
        assert "\n" not in str(caught.value)
