"""Datasets of stereo, written here in their official layouts: what the left view shows at x, the right one shows at x - 3."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.matching import booster, crestereo, eth3d, kitti, middlebury, sceneflow, spring
from croco_bench.data.folders import MARKER
from croco_bench.data.formats.flow import write_flo5
from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import DataError, UsageError
from tests.data.datasets.matching.stereo_releases import (
    CASES,
    DISPARITY,
    MORE,
    D,
    H,
    W,
    save,
    write_booster,
    write_crestereo,
    write_evaluation,
)


@pytest.mark.parametrize("name", list(CASES))
def test_pairs_are_read_in_order_with_their_disparity(name: str, tmp_path: Path, reader_contract: Any) -> None:
    case = CASES[name]
    case.write(tmp_path)
    reader_contract(case.open, DISPARITY | MORE.get(name, {})).check(tmp_path, case.dataset)
    reader = case.open(tmp_path)
    assert reader.ids == case.ids and not reader.miniature
    for index, sample in enumerate(reader[index] for index in range(len(reader))):
        assert sample["id"] == case.ids[index]
        assert np.argwhere(~sample["valid"]).tolist() == [[0, 0], [0, 1]] and not sample["disparity_px"][0, :2].any()
        assert (sample["disparity_px"][5] == D).all()
        if name != "crestereo":  # whose images are JPEG
            np.testing.assert_array_equal(np.roll(sample["image2"], D, axis=1), sample["image1"])
            assert not np.array_equal(sample["image2"], sample["image1"])
    assert sample["disparity_px"][-1, -1] == case.mark
    before = reader.fingerprint()
    path = reader.base / str(reader.pairs[-1].truth)
    path.write_bytes(path.read_bytes() + b"\0")
    assert reader.fingerprint() != before


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_missing_or_of_another_size_is_one_sentence(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with pytest.raises(DataError, match=f"{tmp_path} holds no .*; (get|unpack) http"):
        case.open(tmp_path)
    case.write(tmp_path)
    pair, base = case.open(tmp_path).pairs[0], case.open(tmp_path).base
    for field in (pair.image1, pair.image2, pair.truth):
        path = base / str(field)
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError, match=r"there is no |holds no |belongs to no pair") as caught:
            case.open(tmp_path)
        assert "\n" not in str(caught.value) and "; " in str(caught.value)
        path.write_bytes(content)
    reader = case.open(tmp_path)
    save(base / pair.image2, np.zeros((H + 2, W, 3), np.uint8))
    with pytest.raises(DataError, match=f"{pair.image2} belongs to an image of 14x16, but .*{pair.image1} is 12x16 "):
        reader[0]
    (base / pair.image1).write_bytes(b"<html>")
    with pytest.raises(DataError, match="can't be decoded"):
        reader[0]


@pytest.mark.parametrize("name", list(CASES))
def test_check_is_content_with_a_miniature_and_counts_the_release(name: str, tmp_path: Path) -> None:
    CASES[name].write(tmp_path)
    if "kitti" in name or name == "spring":  # which are checked with their flow: nothing moves
        for path in [*tmp_path.glob("*/*/*_10.png")]:
            folder = "flow_occ" if path.parent.name.startswith("disp") else path.parent.name
            if folder == "flow_occ":
                save(path.parents[1] / folder / path.name, np.full((H, W, 3), (1, 2**15, 2**15), np.uint16))
            else:
                save(path.with_name(path.name.replace("_10", "_11")), read_rgb(path))
        for path in tmp_path.glob("train/*/frame_*/*.png"):
            for way in ("FW",) if path.stem.endswith("1") else ("BW",):
                name_of = path.stem.replace("frame", f"flow_{way}")
                (path.parents[1] / name_of[:-5]).mkdir(exist_ok=True)
                write_flo5(path.parents[1] / name_of[:-5] / f"{name_of}.flo5", np.zeros((2 * H, 2 * W, 2)))
    wrong = [finding for finding in dataset_info(CASES[name].dataset).check(tmp_path) if not finding.ok]
    assert wrong and all(finding.advice.startswith("expected ") for finding in wrong)
    (tmp_path / MARKER).write_text("{}")
    findings = dataset_info(CASES[name].dataset).check(tmp_path)
    assert [finding.what for finding in findings if not finding.ok] == []
    assert any("% known, 3.0 pixels in the median; grey values differ by" in finding.what for finding in findings)


def test_what_only_the_left_view_shows_is_occluded(tmp_path: Path) -> None:
    for name in ("MiddEval3", "eth3d", "kitti2012", "kitti2015"):
        CASES[name].write(tmp_path / name)
        sample = CASES[name].open(tmp_path / name)[0]
        assert np.argwhere(sample["occluded"]).tolist() == [[3, 4]]
    for path in (tmp_path / "eth3d").rglob("mask0nocc.png"):
        path.unlink()
    assert "occluded" not in CASES["eth3d"].open(tmp_path / "eth3d")[0]
    save(next((tmp_path / "MiddEval3").rglob("Adirondack/mask0nocc.png")), np.zeros((H, W + 1), np.uint8))
    with pytest.raises(DataError, match=r"mask0nocc\.png belongs to an image of 12x17"):
        CASES["MiddEval3"].open(tmp_path / "MiddEval3")[0]


def test_archives_may_lie_as_they_unpack(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "MiddEval3/trainingQ", "MiddEval3/testQ")
    assert middlebury.open_evaluation(tmp_path, "train", resolution="Q").ids == ["Adirondack", "Vintage"]
    write_evaluation(tmp_path, "two_view_training", "two_view_test", "two_view_training_gt")
    assert eth3d.open_split(tmp_path, "train", scenes=("Vintage",)).ids == ["Vintage"]
    write_crestereo(tmp_path / "stereo_trainset/crestereo")
    assert len(crestereo.open_split(tmp_path)) == 3
    write_booster(tmp_path / "booster_gt")
    assert booster.scenes_of(tmp_path, "train") == ["Bathroom", "Window"]


def test_splits_without_truth_have_images_alone(tmp_path: Path) -> None:
    for name in ("MiddEval3", "eth3d", "booster", "kitti2012", "spring"):
        CASES[name].write(tmp_path / name)
    for reader, ids in (
        (middlebury.open_evaluation(tmp_path / "MiddEval3", "test", resolution="H"), ["Australia"]),
        (eth3d.open_split(tmp_path / "eth3d", "test"), ["Australia"]),
        (booster.open_split(tmp_path / "booster", "test"), ["Bar/im0", "Bar/im1"]),
        (kitti.open_stereo(tmp_path / "kitti2012", "test", year=2012), ["000000", "000001"]),
        (spring.open_stereo(tmp_path / "spring", "test"), ["0003/disp1_left_0001", "0003/disp1_left_0002"]),
    ):
        assert reader.ids == ids and reader[0].keys() == {"image1", "image2", "id"}
    both = spring.open_stereo(tmp_path / "spring", "test", cameras=spring.CAMERAS)
    assert len(both) == 4
    for one, other in (("image1", "image2"), ("image2", "image1")):
        np.testing.assert_array_equal(both[2][one], both[0][other])


@pytest.mark.slow
def test_scenes_passes_and_every_hundredth(tmp_path: Path) -> None:
    for name in ("2014", "sceneflow", "spring"):
        CASES[name].write(tmp_path)
    some = middlebury.open_scenes(tmp_path, "2014", scenes=("Umbrella-imperfect",))
    assert set(some.groups) == {"Umbrella-imperfect"} and len(some) == 3
    with pytest.raises(DataError, match=r"there is no .*2014/Vintage-perfect; "):
        middlebury.open_scenes(tmp_path, "2014", scenes=middlebury.SELECT_SCENES["2014"])
    assert len(sceneflow.open_split(tmp_path, "train")) == 8 and len(sceneflow.open_split(tmp_path, "test")) == 2
    for number in range(100, 350):
        for path in tmp_path.glob("FlyingThings/*/TEST/B/0003/*/0006.*"):
            path.with_stem(f"{number:04d}").touch()
    ids = sceneflow.open_split(tmp_path, "test1of100", passes=("clean",)).ids
    assert [name[-4:] for name in ids] == ["0006", "0199", "0299"]
    with pytest.raises(UsageError, match="no pass of SceneFlow is called 'albedo'"):
        sceneflow.open_split(tmp_path, "test", passes=("albedo",))
    sample = spring.open_stereo(tmp_path, "train", scenes=spring.SELECT_SCENES)[0]
    assert sample["disparity4_px"].shape == sample["valid4"].shape == (H, W, 4)
    assert sample["disparity4_px"][2, 2].tolist() == [0, 1, 0, 2] and sample["disparity_px"][2, 2] == 1
    assert sample["valid4"][2, 2].tolist() == [True, True, False, True]
