"""Datasets of stereo, written here in their official layouts: what the left view shows at x, the right one shows at x - 3."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.matching import booster, crestereo, eth3d, kitti, middlebury, sceneflow, spring
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.data.folders import MARKER
from croco_bench.data.formats.flow import write_flo5
from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import DataError, UsageError
from croco_bench.types import Array

H, W, D = 12, 16, 3


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def view(mark: int, camera: int) -> Array:
    """Left (0) or right (1); `mark` tells scenes and lights apart."""
    base = np.random.default_rng(mark).integers(0, 256, (H // 2, W // 2, 3), dtype=np.uint8)
    whole = cv2.resize(base, (W, H), interpolation=cv2.INTER_LINEAR)
    return np.roll(whole, -D * camera, axis=1)


def truth(mark: float, unknown: float) -> Array:
    """D everywhere, but unknown in a corner, and a mark in another."""
    disparity = np.full((H, W), D, np.float32)
    disparity[0, :2], disparity[-1, -1] = unknown, mark
    return disparity


def write_pfm(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"Pf\n{W} {H}\n-1\n".encode() + values[::-1].astype("<f4").tobytes())


def write_views(folder: Path, mark: int, names: Iterable[str] = ("im0.png", "im1.png")) -> None:
    for name, camera in zip(names, (0, 1), strict=True):
        save(folder / name, view(mark, camera))


def write_2005(root: Path, folder: str = "2005/train") -> None:
    for mark, scene in enumerate(("Art", "Reindeer")):
        save(root / folder / scene / "disp1.png", truth(mark + 1, 0).astype(np.uint8))
        for light in (1, 2, 3):
            for exposure in (0, 1, 2):
                inside = root / folder / scene / f"Illum{light}/Exp{exposure}"
                write_views(inside, 9 * mark + 3 * light + exposure, ("view1.png", "view5.png"))
                save(inside / "view3.png", view(99, 0))


def write_2014(root: Path) -> None:
    for mark, scene in enumerate(("Backpack-perfect", "Umbrella-imperfect")):
        folder = root / "2014" / scene
        write_pfm(folder / "disp0.pfm", truth(mark + 1, np.inf))
        write_views(folder, mark)
        for right in ("im1E", "im1L"):
            save(folder / f"{right}.png", view(mark, 1))


def write_2021(root: Path) -> None:
    for mark, scene in enumerate(("artroom1", "traproom1")):
        folder = root / "2021/data" / scene
        write_pfm(folder / "disp0.pfm", truth(mark + 1, np.inf))
        write_views(folder, mark)
        for light, exposures in (("F0", ("",)), ("L1", ("e0", "e1"))):
            for exposure in exposures:
                write_views(folder / "ambient" / light, mark, (f"im0{exposure}.png", f"im1{exposure}.png"))


def write_evaluation(
    root: Path, train: str = "MiddEval3_H/train", test: str = "MiddEval3_H/test", gt: str = ""
) -> None:
    for mark, (folder, scene) in enumerate(((train, "Adirondack"), (train, "Vintage"), (test, "Australia"))):
        write_views(root / folder / scene, mark)
        if folder == train:
            write_pfm(root / (gt or train) / scene / "disp0GT.pfm", truth(mark + 1, np.inf))
            seen = np.full((H, W), 255, np.uint8)
            seen[3, 4], seen[0, :2] = 128, 0
            save(root / (gt or train) / scene / "mask0nocc.png", seen)


def write_crestereo(root: Path) -> None:
    for mark, (kind, name) in enumerate((("hole", "b"), ("shapenet", "a"), ("tree", "c"))):
        write_views(root / kind, mark, (f"{name}_left.jpg", f"{name}_right.jpg"))
        for camera in ("left", "right"):
            save(root / kind / f"{name}_{camera}.disp.png", (truth(mark + 1, 0) * 32).astype(np.uint16))


def write_booster(root: Path) -> None:
    for mark, (part, scene, lights) in enumerate(
        (("train", "Bathroom", 2), ("train", "Window", 1), ("test", "Bar", 2))
    ):
        folder = root / part / "balanced" / scene
        for light in range(lights):
            for camera in (0, 1):
                save(folder / f"camera_0{2 * camera}" / f"im{light}.png", view(mark, camera))
        if part == "train":
            np.save(folder / "disp_00.npy", truth(mark + 1, 0))


def write_sceneflow(root: Path) -> None:
    scenes = (
        "Driving/{}/15mm_focallength/scene_backwards/fast",
        "Driving/{}/35mm_focallength/scene_forwards/slow",
        "Monkaa/{}/a_rain_of_stones_x2",
        "FlyingThings/{}/TRAIN/A/0000",
        "FlyingThings/{}/TEST/B/0003",
    )
    for mark, scene in enumerate(scenes):
        for name in ("frames_cleanpass", "frames_finalpass"):
            for camera, side in enumerate(("left", "right")):
                save(root / scene.format(name) / side / "0006.png", view(mark, camera))
        write_pfm(root / scene.format("disparity") / "left/0006.pfm", truth(mark + 1, 0))


def write_kitti(root: Path, left: str = "image_2", right: str = "image_3", end: str = "_0") -> None:
    for part in ("training", "testing"):
        for mark in range(2):
            name = f"{mark:06d}_10.png"
            for camera, folder in enumerate((left, right)):
                save(root / part / folder / name, view(mark, camera))
            if part == "training":
                numbers = (truth(mark + 1, 0) * 256).astype(np.uint16)
                save(root / part / f"disp_occ{end}" / name, numbers)
                numbers[3, 4] = 0
                save(root / part / f"disp_noc{end}" / name, numbers)


def write_spring(root: Path) -> None:
    for part, scene in (("train", "0001"), ("train", "0041"), ("test", "0003")):
        for mark in (1, 2):
            for camera, side in enumerate(("left", "right")):
                save(root / part / scene / f"frame_{side}/frame_{side}_{mark:04d}.png", view(mark, camera))
                if part == "train":
                    values = truth(mark, np.nan).repeat(2, axis=0).repeat(2, axis=1)
                    values[4:6, 4:6] = [[0, 1], [np.nan, 2]]
                    path = root / part / scene / f"disp1_{side}/disp1_{side}_{mark:04d}.dsp5"
                    path.parent.mkdir(exist_ok=True)
                    with h5py.File(path, "w") as file:
                        file["disparity"] = values


@dataclass(frozen=True)
class Case:
    """A dataset: its name, how it is written and opened, its pairs in order, and the mark of the last one."""

    dataset: str
    write: Callable[[Path], None]
    open: Callable[[Path], MatchingReader]
    ids: list[str]
    mark: float


def grid(scenes: Iterable[str]) -> list[str]:
    return [f"{scene}/Illum{light}/Exp{exposure}" for scene in scenes for light in (1, 2, 3) for exposure in (0, 1, 2)]


CASES = {
    "2005": Case(
        "middlebury", write_2005, partial(middlebury.open_scenes, edition="2005"), grid(("Art", "Reindeer")), 2
    ),
    "2006": Case(
        "middlebury",
        partial(write_2005, folder="2006"),
        partial(middlebury.open_scenes, edition="2006", scenes=("Reindeer",)),
        grid(("Reindeer",)),
        2,
    ),
    "2014": Case(
        "middlebury",
        write_2014,
        partial(middlebury.open_scenes, edition="2014"),
        [
            f"{scene}/{right}"
            for scene in ("Backpack-perfect", "Umbrella-imperfect")
            for right in ("im1", "im1E", "im1L")
        ],
        2,
    ),
    "2021": Case(
        "middlebury",
        write_2021,
        partial(middlebury.open_scenes, edition="2021"),
        [f"{scene}/ambient/{im}" for scene in ("artroom1", "traproom1") for im in ("F0/im0", "L1/im0e0", "L1/im0e1")],
        2,
    ),
    "MiddEval3": Case(
        "middlebury",
        write_evaluation,
        partial(middlebury.open_evaluation, split="train", resolution="H"),
        ["Adirondack", "Vintage"],
        2,
    ),
    "eth3d": Case(
        "eth3d",
        partial(write_evaluation, train="train", test="test", gt="train_gt"),
        partial(eth3d.open_split, split="train"),
        ["Adirondack", "Vintage"],
        2,
    ),
    "crestereo": Case("crestereo", write_crestereo, crestereo.open_split, ["hole/b", "shapenet/a", "tree/c"], 3),
    "booster": Case(
        "booster",
        write_booster,
        partial(booster.open_split, split="train"),
        ["Bathroom/im0", "Bathroom/im1", "Window/im0"],
        2,
    ),
    "sceneflow": Case(
        "sceneflow",
        write_sceneflow,
        partial(sceneflow.open_split, split="train", passes=("final",)),
        [
            "finalpass/Driving/15mm_focallength/scene_backwards/fast/0006",
            "finalpass/Driving/35mm_focallength/scene_forwards/slow/0006",
            "finalpass/Monkaa/a_rain_of_stones_x2/0006",
            "finalpass/FlyingThings/TRAIN/A/0000/0006",
        ],
        4,
    ),
    "kitti2012": Case(
        "kitti2012",
        partial(write_kitti, left="colored_0", right="colored_1", end=""),
        partial(kitti.open_stereo, split="train", year=2012),
        ["000000", "000001"],
        2,
    ),
    "kitti2015": Case(
        "kitti2015", write_kitti, partial(kitti.open_stereo, split="train", year=2015), ["000000", "000001"], 2
    ),
    "spring": Case(
        "spring",
        write_spring,
        partial(spring.open_stereo, split="train"),
        [f"{scene}/disp1_left_{frame}" for scene in ("0001", "0041") for frame in ("0001", "0002")],
        2,
    ),
}


# What samples hold: images, disparity, and what some datasets add.
DISPARITY = {
    "image1": f"uint8 {H} {W} 3",
    "image2": f"uint8 {H} {W} 3",
    "disparity_px": f"float32 {H} {W}",
    "valid": f"bool {H} {W}",
    "id": "str",
}
OCCLUDED = {"occluded": f"bool {H} {W}"}
MORE = dict.fromkeys(("MiddEval3", "eth3d", "kitti2012", "kitti2015"), OCCLUDED)
MORE["spring"] = {"disparity4_px": f"float32 {H} {W} 4", "valid4": f"bool {H} {W} 4"}


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
