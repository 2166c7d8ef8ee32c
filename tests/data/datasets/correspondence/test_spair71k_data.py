"""SPair-71k as it unpacks: splits, what is missing, and annotations that are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.correspondence.spair71k import SPairReader, read_annotation
from croco_bench.data.rooms.objects import SHAPES
from croco_bench.errors import DataError


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the miniature in the archive's folder, without the sign of a miniature."""
    shutil.copytree(tiny_data / "spair71k", tmp_path / "SPair-71k")
    (tmp_path / "SPair-71k/MINIATURE.json").unlink()
    return tmp_path


def test_keypoints_are_those_of_the_annotation(root: Path) -> None:
    reader = SPairReader(root, "test")
    sample = reader[1]
    content = json.loads((root / "SPair-71k/PairAnnotation/test" / f"{sample['id']}.json").read_text())
    assert sample["keypoints1"].tolist() == content["src_kps"] and sample["keypoints2"].tolist() == content["trg_kps"]
    assert sample["box2"].tolist() == content["trg_bndbox"] and sample["scene"] == content["category"]
    assert content["src_imname"].removesuffix(".jpg") in sample["id"] and set(reader.groups) == set(SHAPES)
    assert reader.available == 12_234 and not reader.miniature


def test_the_check_compares_with_the_release(root: Path) -> None:
    findings = dataset_info("spair71k").check(root)
    counts = [finding for finding in findings if "pairs of 7 classes" in finding.what]
    assert len(counts) == 3 and not any(finding.ok or finding.stops for finding in counts)
    assert counts[-1].advice == "the release has 12234 of 18"
    assert all(finding.ok for finding in findings if finding not in counts)
    next((root / "SPair-71k/JPEGImages/sofa").glob("test_*")).unlink()
    (missing,) = [finding for finding in dataset_info("spair71k").check(root) if finding.stops and not finding.ok]
    assert missing.what.startswith("test: 1 files are missing, such as")


def changed(**values: Any) -> dict[str, Any]:
    plain = {"src_kps": [[1, 2]], "trg_kps": [[3, 4]], "trg_bndbox": [0, 0, 9, 8], "viewpoint_variation": 1}
    return {**plain, **values}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(src_kps=[[1, 2], [3, 4]]), "1 to 30 finite keypoints in both images, but has 2 and 1"),
        (changed(src_kps=[], trg_kps=[]), "has 0 and 0"),
        (changed(trg_kps=[[float("nan"), 1]]), "finite keypoints"),
        (changed(trg_kps=[[1, 2, 3]]), "is no annotation of a pair"),
        (changed(trg_bndbox=[5, 5, 5, 9]), "can't be"),
        (changed(viewpoint_variation=7), "viewpoint_variation 7 can't be"),
        ({"src_kps": [[1, 2]]}, "KeyError: 'trg_kps'"),
        ([], "is no annotation of a pair"),
    ],
)
def test_annotations_that_are_none(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=words) as caught:
        read_annotation(path)
    assert str(path) in caught.value.what and caught.value.advice


@pytest.mark.parametrize("content", ["", "000001-a-b\n", "000001-../../a-b:cat\n", "\x00"])
def test_lists_that_are_none(content: str, root: Path) -> None:
    (root / "SPair-71k/Layout/large/test.txt").write_text(content)
    with pytest.raises(DataError, match=r"test\.txt"):
        SPairReader(root, "test")


def test_the_miniatures_keypoints_are_on_the_object(tiny_data: Path) -> None:
    """Within its box, but for rounding."""
    reader = SPairReader(tiny_data / "spair71k", "test")
    for index in range(len(reader)):
        sample = reader[index]
        low, high = sample["box2"][:2], sample["box2"][2:]
        assert ((sample["keypoints2"] >= low - 2) & (sample["keypoints2"] <= high + 2)).all()
        assert np.isfinite(sample["keypoints1"]).all()


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no PairAnnotation, directly or in SPair-71k"):
        SPairReader(tmp_path, "test")
