"""The miniatures of Middlebury and CREStereo, and their checks."""

import re
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.datasets.matching import crestereo, middlebury
from croco_bench.data.formats.disparity import read_pfm_disparity
from croco_bench.data.formats.images import read_gray
from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.data.miniatures.matching.middlebury import TEST_SCENES, TRAINING_SCENES
from croco_bench.errors import UsageError


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


def test_middleburys_miniature_reads_back_with_its_masks(tiny_data: Path) -> None:
    reader = middlebury.open_evaluation(tiny_data / "middlebury", "train")
    for index in range(len(reader)):
        sample = reader[index]
        assert sample["valid"].all() and (sample["disparity_px"] > 0).all()
        assert 0 < sample["occluded"].mean() < 0.4
    assert "disparity_px" not in middlebury.open_evaluation(tiny_data / "middlebury", "test")[0]
