"""Rectified pairs of rooms, and the layouts that they are written in."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench.data.datasets.matching import crestereo, middlebury
from croco_bench.data.formats.disparity import read_pfm_disparity
from croco_bench.data.formats.images import read_gray
from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.data.miniatures.middlebury import TEST_SCENES, TRAINING_SCENES
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import flow_between
from croco_bench.data.rooms.stereo import StereoPair, make_stereo
from croco_bench.errors import UsageError

SIZE = (48, 64)


@pytest.fixture(scope="module")
def pairs() -> list[StereoPair]:
    return [make_stereo(make_scene(seed), SIZE, np.random.default_rng(seed)) for seed in range(6)]


def test_disparity_is_the_flow_and_that_along_rows_only(pairs: list[StereoPair]) -> None:
    for pair in pairs:
        flow = flow_between(pair.left, pair.right)
        np.testing.assert_allclose(-flow[..., 0], pair.disparity_px, rtol=1e-4, atol=1e-4)
        assert np.abs(flow[..., 1]).max() < 1e-4
        assert (pair.disparity_px > 0).all() and pair.disparity_px.dtype == np.float32


def test_hidden_is_what_another_disparity_covers_or_the_edge_cuts_off(pairs: list[StereoPair]) -> None:
    """Of pixels that come to lie in one column, all but the nearest are hidden; checked away from edges of things."""
    for pair in pairs:
        columns = np.arange(SIZE[1]) - pair.disparity_px
        outside = columns < -0.5
        assert pair.occluded[outside].all()
        depth = pair.right.depth_m
        at = np.rint(columns).astype(int).clip(0, SIZE[1] - 1)
        rows = np.arange(SIZE[0])[:, None]
        around = np.stack([depth[rows, (at + shift).clip(0, SIZE[1] - 1)] for shift in (-1, 0, 1)])
        nearer = around.max(axis=0) < 0.97 * pair.left.depth_m
        same = np.abs(around / pair.left.depth_m - 1).max(axis=0) < 0.01
        assert pair.occluded[nearer & ~outside].all() and not pair.occluded[same & (columns > 0.5)].any()
    assert 0.02 < np.mean([pair.occluded.mean() for pair in pairs]) < 0.4


def test_what_both_views_see_looks_alike(pairs: list[StereoPair]) -> None:
    for pair in pairs:
        left, right = (
            cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) for view in (pair.left, pair.right)
        )
        x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
        fetched = cv2.remap(right, (x - pair.disparity_px).astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        assert np.median(np.abs(fetched - left)[~pair.occluded]) < 2


def test_pairs_are_a_function_of_the_seed(pairs: list[StereoPair]) -> None:
    again = make_stereo(make_scene(2), SIZE, np.random.default_rng(2))
    assert np.array_equal(again.left.rgb, pairs[2].left.rgb) and again.baseline_m == pairs[2].baseline_m


def test_middleburys_miniature_is_read_and_passes_the_check(tiny_data: Path) -> None:
    root = tiny_data / "middlebury"
    findings = middlebury.check(root)
    assert all(finding.ok for finding in findings) and "miniature" in findings[0].what
    train, test = (middlebury.open_evaluation(root, split) for split in ("train", "test"))
    assert set(train.groups) == set(TRAINING_SCENES[:4]) and set(test.groups) == set(TEST_SCENES[:1])
    assert train.miniature and test[0].keys() == {"image1", "image2", "id"}
    for index in range(len(train)):
        sample = train[index]
        assert sample["valid"].all() and sample["occluded"].any() and not sample["occluded"].all()


def test_middleburys_calibration_gives_depths(tiny_data: Path) -> None:
    for scene in TRAINING_SCENES[:4]:
        folder = tiny_data / "middlebury" / "MiddEval3" / "trainingF" / scene
        facts = dict(line.split("=") for line in (folder / "calib.txt").read_text().splitlines())
        focal = float(re.findall(r"[\d.]+", facts["cam0"])[0])
        disparity, valid = read_pfm_disparity(folder / "disp0GT.pfm")
        depth_mm = float(facts["baseline"]) * focal / (disparity + float(facts["doffs"]))
        assert valid.all() and depth_mm.min() > 200 and depth_mm.max() < 15_000
        assert disparity.max() < float(facts["ndisp"]) and disparity.shape == (
            int(facts["height"]),
            int(facts["width"]),
        )
        assert set(np.unique(read_gray(folder / "mask0nocc.png", np.uint8))) == {128, 255}


def test_crestereos_miniature_is_read_and_passes_the_check(tiny_data: Path) -> None:
    findings = crestereo.check(tiny_data / "crestereo")
    assert all(finding.ok for finding in findings) and "miniature" in findings[0].what
    reader = crestereo.open_split(tiny_data / "crestereo")
    assert (
        len(reader) == MINIATURES["crestereo"].tiny.pairs and len({group.split("/")[0] for group in reader.groups}) == 4
    )
    sample = reader[0]
    assert sample["valid"].all() and np.allclose(sample["disparity_px"] * 32 % 1, 0)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("middlebury", {"scenes": 2}, r"scenes must be 3 \(to train, select and report by\) to 15, not 2"),
        ("middlebury", {"test_scenes": 16}, "test_scenes must be 1 to 15, not 16"),
        ("middlebury", {"height": 1}, "height and width must be at least 2 pixels"),
        ("crestereo", {"width": 1}, "height and width must be at least 2 pixels"),
    ],
)
def test_impossible_miniatures_are_refused(name: str, changes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        type(MINIATURES[name].default)(**changes)
