"""Which pairs a split of flow has: folders of empty files, as many as in the releases where that is quick."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.checks import image_pairs
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching import (
    autoflow,
    flyingchairs,
    flyingthings,
    hd1k,
    kitti,
    sintel,
    spring,
    tartanair,
)
from croco_bench.data.datasets.matching.image_pairs import PairPaths
from croco_bench.errors import DataError, UsageError

# Frames of the scenes that haven't 50.
SHORT = {"ambush_2": 21, "ambush_4": 33, "ambush_6": 20, "market_6": 40}


def touch(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def touch_sintel(root: Path, scenes: Iterable[str] = sintel.SCENES, masks: Iterable[str] = ()) -> None:
    for scene in scenes:
        frames = [f"frame_{number:04d}" for number in range(1, SHORT.get(scene, 50) + 1)]
        for name in ("clean", "final"):
            touch(root / "training" / name / scene, (f"{frame}.png" for frame in frames))
        touch(root / "training/flow" / scene, (f"{frame}.flo" for frame in frames[:-1]))
        for mask in masks:
            touch(root / "training" / mask / scene, (f"{frame}.png" for frame in frames[:-1]))


def test_sintel_has_1041_pairs_in_each_pass_of_which_98_select(tmp_path: Path) -> None:
    touch_sintel(tmp_path)
    assert len(sintel.SCENES) == 23 and sintel.scenes_of(tmp_path, "train") == list(sintel.SCENES)
    both = sintel.open_split(tmp_path, "train")
    assert len(both) == 2 * 1041 and len(set(both.ids)) == len(both) and len(set(both.groups)) == 23
    clean, final = (sintel.open_split(tmp_path, "train", passes=(name,)) for name in ("clean", "final"))
    assert both.ids == [*clean.ids, *final.ids]
    assert [name.replace("clean", "final") for name in clean.ids] == final.ids
    assert clean.pairs[0] == PairPaths(
        id="clean/alley_1/frame_0001",
        group="alley_1",
        image1="training/clean/alley_1/frame_0001.png",
        image2="training/clean/alley_1/frame_0002.png",
        truth="training/flow/alley_1/frame_0001.flo",
    )
    assert final.pairs[-1].truth == "training/flow/temple_3/frame_0049.flo"
    select = sintel.open_split(tmp_path, "train", passes=("clean",), scenes=sintel.SELECT_SCENES)
    rest = [scene for scene in sintel.SCENES if scene not in sintel.SELECT_SCENES]
    train = sintel.open_split(tmp_path, "train", passes=("clean",), scenes=rest)
    assert (len(select), len(train)) == (98, 943) and select.available == 98
    assert {*select.ids, *train.ids} == set(clean.ids)
    fingerprints = {reader.fingerprint() for reader in (both, clean, final, select, train)}
    assert len(fingerprints) == 5


def test_sintel_without_truth_has_552_pairs(tmp_path: Path) -> None:
    for scene in range(12):
        for name in ("clean", "final"):
            frames = range(1, (50 if scene else 14) + 1)
            touch(tmp_path / f"test/{name}/scene_{scene}", (f"frame_{number:04d}.png" for number in frames))
    reader = sintel.open_split(tmp_path, "test", passes=("final",))
    assert len(reader) == 552 and {pair.truth for pair in reader.pairs} == {None}
    assert reader.ids[0] == "final/scene_0/frame_0001"


def test_sintels_masks_are_taken_where_their_folders_are(tmp_path: Path) -> None:
    touch_sintel(tmp_path, ["ambush_6"], ["occlusions"])
    pair = sintel.open_split(tmp_path, "train").pairs[3]
    assert pair.occluded == "training/occlusions/ambush_6/frame_0004.png" and pair.invalid is None
    (tmp_path / "training/occlusions/ambush_6/frame_0004.png").unlink()
    with pytest.raises(DataError, match=r"there is no .*occlusions/ambush_6/frame_0004\.png;"):
        sintel.open_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("training/clean/ambush_6/frame_0007.png", "lacks frame 7;"),
        ("training/final/ambush_6/frame_0001.png", "frame_0001.flo belongs to no pair of frames"),
        ("training/final/ambush_6/frame_0020.png", "frame_0019.flo belongs to no pair of frames"),
        ("training/flow/ambush_6/frame_0007.flo", "there is no .*frame_0007.flo;"),
    ],
)
def test_a_gap_in_sintel_is_seen_at_once(missing: str, words: str, tmp_path: Path) -> None:
    touch_sintel(tmp_path, ["ambush_6"])
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=words):
        sintel.open_split(tmp_path, "train")


def test_scenes_and_passes_that_dont_exist(tmp_path: Path) -> None:
    touch_sintel(tmp_path, ["ambush_6"])
    with pytest.raises(UsageError, match="no pass of Sintel is called 'albedo'"):
        sintel.open_split(tmp_path, "train", passes=("albedo",))
    with pytest.raises(UsageError, match="no pass of Sintel is chosen; give some of clean, final"):
        sintel.open_split(tmp_path, "train", passes=())
    with pytest.raises(UsageError, match="no scene of Sintel is called 'ambush_3'; did you mean ambush"):
        sintel.open_split(tmp_path, "train", scenes=("ambush_3",))
    with pytest.raises(UsageError, match="no scene of Sintel is chosen"):
        sintel.open_split(tmp_path, "train", scenes=())
    with pytest.raises(DataError, match=r"there is no .*clean/temple_2 .2 files are missing.; unpack the rest of http"):
        sintel.open_split(tmp_path, "train", scenes=sintel.SELECT_SCENES)
    # The check says so too, and goes no further.
    findings = dataset_info("sintel").check(tmp_path)
    assert not findings[-1].ok and "\n" not in findings[-1].what and findings[-1].advice


def test_checks_expect_the_counts_of_the_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_pairs, "look_at", lambda part, link: [Finding(True, str(part.pairs))])
    for name in ("2005", "2006", "2014", "2021", "MiddEval3_F", "training/colored_1", "training/image_3"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "train/0001/disp1_left").mkdir(parents=True)
    expected: dict[str, list[int | None]] = {
        "sintel": [1041, 1041, 98, 552, 552],
        "flyingchairs": [22_232, 640],
        "flyingthings": [40_302, 40_302, 7_866, 7_866, 1_024, 1_024],
        "tartanair": [306_268],
        "autoflow": [40_000],
        "kitti2012": [194, 195, 194, 195],
        "kitti2015": [200, 200, 200, 200],
        "hd1k": [None],
        "spring": [19_852, 380, 3_960, 5_000, 2_000],
        "middlebury": [54, 189, 138, 355, 15, 15],
        "eth3d": [27, 20],
        "crestereo": [200_000],
        "booster": [228, 191],
        "sceneflow": [35_454, 35_454, 4_370, 4_370],
    }
    found = {name: [finding.what for finding in dataset_info(name).check(tmp_path)] for name in expected}
    assert found == {name: [str(count) for count in counts] for name, counts in expected.items()}


def write_chairs(root: Path, marks: Iterable[str], count: int) -> None:
    touch(
        root / "data",
        (f"{number:05d}_{kind}" for number in range(1, count + 1) for kind in ("img1.ppm", "img2.ppm", "flow.flo")),
    )
    (root / "chairs_split.txt").write_text("\n".join(marks))


def test_flyingchairs_are_numbered_by_the_lines_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = np.ones(22_872, int)
    marks[np.random.default_rng(0).choice(22_872, 640, replace=False)] = 2
    write_chairs(tmp_path, map(str, marks), 0)
    kinds = ("img1.ppm", "img2.ppm", "flow.flo")
    names = [f"{number:05d}_{kind}" for number in range(1, 22_873) for kind in kinds]
    monkeypatch.setattr(flyingchairs, "file_names", lambda *_: names)
    train, val = (flyingchairs.open_split(tmp_path, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (22_232, 640)
    assert [int(name) for name in val.ids] == (np.flatnonzero(marks == 2) + 1).tolist()
    assert not {*train.ids} & {*val.ids}


def test_the_list_of_flyingchairs_must_be_that_of_the_pairs(tmp_path: Path) -> None:
    write_chairs(tmp_path, ["1", "2", "1"], 3)
    assert flyingchairs.open_split(tmp_path, "val").ids == ["00002"]
    (tmp_path / "chairs_split.txt").rename(tmp_path / "FlyingChairs_train_val.txt")
    assert flyingchairs.open_split(tmp_path, "train").ids == ["00001", "00003"]
    for text, words in (
        ("1\n2\n", "has 2 lines, fewer than there are pairs"),
        ("1\n2\n1\n1\n", "there is no .*00004_img1.ppm .3 files are missing."),
        ("1\n0\n1\n", 'line 2: expected 1 or 2, found "0"'),
        ("1\nnan\n1\n", 'line 2: expected 1 or 2, found "nan"'),
    ):
        (tmp_path / "FlyingChairs_train_val.txt").write_text(text)
        with pytest.raises(DataError, match=words) as caught:
            flyingchairs.open_split(tmp_path, "train")
        assert "\n" not in str(caught.value) and "; " in str(caught.value)
    (tmp_path / "FlyingChairs_train_val.txt").write_text("1\n1\n1\n")
    with pytest.raises(DataError, match=r"the val split of flyingchairs .* is empty"):
        flyingchairs.open_split(tmp_path, "val")
    (tmp_path / "FlyingChairs_train_val.txt").unlink()
    with pytest.raises(DataError, match=r"there is no .*chairs_split.txt; get it from http"):
        flyingchairs.open_split(tmp_path, "train")
    assert not dataset_info("flyingchairs").check(tmp_path)[-1].ok


def test_test1024_are_every_seventh_of_the_sorted_list_less_its_end() -> None:
    scenes = [
        f"TEST/{letter}/{number:04d}"
        for letter, count in (("A", 150), ("B", 150), ("C", 137))
        for number in range(count)
    ]
    steps = [(scene, frame) for scene in scenes for frame in range(6, 15)]
    names = [f"{scene}/into_future/{frame:04d}" for scene, frame in steps]
    names += [f"{scene}/into_past/{frame + 1:04d}" for scene, frame in steps]
    assert len(names) == 7_866
    pairs = [PairPaths(name, "scene", "a", "b", name) for name in names]
    chosen = [pair.id for pair in flyingthings.spread(pairs)]
    assert len(chosen) == 1024 and chosen == sorted(names)[: 7_866 - 7_866 % 1024][::7]
    assert [pair.id for pair in flyingthings.spread(pairs[:5])] == sorted(names[:5])
    assert len(flyingthings.spread(pairs[:2048])) == 1024


def touch_things(root: Path, scene: str) -> None:
    for camera in ("left", "right"):
        for name in ("clean", "final"):
            touch(root / f"frames_{name}pass/{scene}/{camera}", (f"{number:04d}.png" for number in range(6, 16)))
        for way in ("Future", "Past"):
            touch(
                root / f"optical_flow/{scene}/into_{way.lower()}/{camera}",
                (f"OpticalFlowInto{way}_{number:04d}_{camera[0].upper()}.pfm" for number in range(6, 16)),
            )


def test_flyingthings_has_18_pairs_of_a_scene_in_each_pass_and_camera(tmp_path: Path) -> None:
    for scene in ("TRAIN/A/0000", "TRAIN/C/0001", "TEST/B/0000"):
        touch_things(tmp_path, scene)
    reader = flyingthings.open_split(tmp_path, "train")
    assert len(reader) == 2 * 2 * 18
    assert len(flyingthings.open_split(tmp_path, "test", cameras=flyingthings.CAMERAS, passes=("final",))) == 2 * 18
    assert flyingthings.open_split(tmp_path, "test1024", passes=("clean",)).ids == sorted(
        flyingthings.open_split(tmp_path, "test", passes=("clean",)).ids
    )
    last = reader.pairs[-1]
    assert last.truth == "optical_flow/TRAIN/C/0001/into_past/left/OpticalFlowIntoPast_0015_L.pfm"
    assert (last.image1, last.image2) == tuple(
        f"frames_finalpass/TRAIN/C/0001/left/{name}.png" for name in ("0015", "0014")
    )
    with pytest.raises(UsageError, match="no camera of FlyingThings is called 'top'"):
        flyingthings.open_split(tmp_path, "train", cameras=("top",))


def touch_flight(folder: Path, frames: int, kinds: Iterable[str] = ("flow", "mask")) -> None:
    touch(folder / "image_left", (f"{number:06d}_left.png" for number in range(frames)))
    touch(
        folder / "flow", (f"{number:06d}_{number + 1:06d}_{kind}.npy" for number in range(frames - 1) for kind in kinds)
    )


def test_worlds_of_tartanair_may_lie_in_a_folder_of_their_name_or_not(tmp_path: Path) -> None:
    for root, inner in ((tmp_path / "doubled", "ocean/ocean"), (tmp_path / "single", "ocean")):
        touch_flight(root / inner / "Easy/P000", 4)
        touch_flight(root / inner / "Hard/P000", 3)
    one, two = (tartanair.open_split(tmp_path / name) for name in ("doubled", "single"))
    assert one.ids == two.ids and one.groups == two.groups == ["ocean"] * 5
    assert one.pairs[0].truth == "ocean/ocean/Easy/P000/flow/000000_000001_flow.npy"
    assert two.pairs[-1].occluded == "ocean/Hard/P000/flow/000001_000002_mask.npy"
    assert len(tartanair.open_split(tmp_path / "single", difficulties=("Hard",))) == 2
    touch_flight(tmp_path / "single/ocean/ocean/Hard/P000", 3)
    with pytest.raises(DataError, match="single/ocean holds Hard twice, also in another folder ocean; keep one"):
        tartanair.open_split(tmp_path / "single")
    (tmp_path / "doubled/notes").mkdir()
    with pytest.raises(DataError, match="doubled/notes holds no Easy and no Hard, nor does a folder notes in it"):
        tartanair.open_split(tmp_path / "doubled")
    with pytest.raises(UsageError, match="no split of TartanAir is called 'test'"):
        tartanair.open_split(tmp_path / "single", "test")


def test_tartanair_has_masks_where_all_flights_have_them(tmp_path: Path) -> None:
    touch_flight(tmp_path / "ocean/Easy/P000", 4)
    touch_flight(tmp_path / "ocean/Easy/P001", 3, ("flow",))
    assert {pair.occluded for pair in tartanair.open_split(tmp_path).pairs} == {None}


def test_autoflow_is_in_four_parts(tmp_path: Path) -> None:
    for part in range(1, 5):
        touch(tmp_path / f"static_40k_png_{part}_of_4/table_{part}_batch_0", ())
    reader = autoflow.open_split(tmp_path)
    assert reader.groups == ["table_1", "table_2", "table_3", "table_4"]
    with pytest.raises(UsageError, match="no split of AutoFlow is called 'val'"):
        autoflow.open_split(tmp_path, "val")


@pytest.mark.parametrize(("year", "images", "counts"), [(2012, "colored_0", (194, 195)), (2015, "image_2", (200, 200))])
def test_kitti_counts(year: kitti.Year, images: str, counts: tuple[int, int], tmp_path: Path) -> None:
    for part, count in zip(("training", "testing"), counts, strict=True):
        names = [f"{number:06d}" for number in range(count)]
        touch(tmp_path / part / images, (f"{name}_{which}.png" for name in names for which in (10, 11)))
        if part == "training":
            touch(tmp_path / part / "flow_occ", (f"{name}_10.png" for name in names))
    train, test = (kitti.open_flow(tmp_path, split, year=year) for split in ("train", "test"))
    assert (len(train), len(test)) == counts
    assert {pair.truth for pair in test.pairs} == {None} and {pair.occluded for pair in train.pairs} == {None}
    assert set(kitti.SELECT_FLOW_2015) <= set(train.ids) or year == 2012


def test_sequences_of_hd1k_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path / "hd1k_input/image_2", ("000000_0001.png", "000000_0002.png", "000001_0001.png"))
    flows = tmp_path / "hd1k_flow_gt/flow_occ"
    touch(flows, ("000000_0001.png",))
    assert hd1k.open_split(tmp_path, "train").ids == ["000000_0001"]
    touch(flows, ("000000_0002.png", "000001_0001.png"))
    assert hd1k.open_split(tmp_path, "train").ids == ["000000_0001"]
    touch(flows, ("000001_0000.png",))
    with pytest.raises(DataError, match=r"000001_0000\.png belongs to no pair of frames"):
        hd1k.open_split(tmp_path, "train")
    touch(tmp_path / "hd1k_input/image_2", ("readme.png",))
    with pytest.raises(DataError, match=r"readme.png should be called <sequence>_<frame>\.png"):
        hd1k.open_split(tmp_path, "train")


@pytest.mark.slow
def test_spring_has_19852_pairs_of_which_380_select(tmp_path: Path) -> None:
    """37 sequences of 5000 frames, 96 of them in 0041, and a test sequence."""
    frames = {f"{number:04d}": 136 for number in range(1, 37)} | {"0001": 144, "0041": 96}
    assert sum(frames.values()) == 5_000
    for scene, count in {**frames, "0003test": 100}.items():
        part = "test" if scene.endswith("test") else "train"
        for camera in ("left", "right"):
            folder = tmp_path / part / scene.removesuffix("test")
            touch(folder / f"frame_{camera}", (f"frame_{camera}_{number:04d}.png" for number in range(1, count + 1)))
            for way, first in (("FW", 1), ("BW", 2)):
                name = f"flow_{way}_{camera}"
                if part == "train":
                    touch(folder / name, (f"{name}_{number:04d}.flo5" for number in range(first, first + count - 1)))
    reader = spring.open_split(tmp_path, "train")
    assert len(reader) == 19_852 and len(set(reader.ids)) == 19_852
    assert len(spring.open_split(tmp_path, "train", scenes=spring.SELECT_SCENES)) == 380
    assert len(spring.open_split(tmp_path, "test")) == 4 * 99
    for pair in reader.pairs[::1_000]:
        step = 1 if "_FW_" in pair.id else -1
        first, second = (int(re.findall(r"\d{4}", name)[-1]) for name in (pair.image1, pair.image2))
        assert second - first == step and pair.id.endswith(f"{first:04d}") and pair.id.split("_")[2] in pair.image2
    with pytest.raises(DataError, match=r"there is no .*train/0099;"):
        spring.open_split(tmp_path, "train", scenes=("0099",))
