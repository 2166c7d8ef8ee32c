"""Flow and stereo as their releases unpack, where that differs from the folders that papers' code expects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.matching import eth3d, flyingthings, kitti, middlebury, sceneflow, sintel
from croco_bench.data.formats.disparity import write_kitti_disparity, write_pfm_disparity
from croco_bench.data.formats.flow import write_flo, write_kitti_flow, write_pfm
from croco_bench.data.formats.images import write_image
from croco_bench.data.mixtures.mixture import Mixture
from croco_bench.errors import DataError
from croco_bench.types import Array

HEIGHT, WIDTH, SHIFT = 24, 64, 3


def scene(height: int = HEIGHT) -> Array:
    pixels = np.random.default_rng(height).integers(0, 256, (height, WIDTH // 4, 3)).repeat(4, axis=1)
    return pixels.astype(np.uint8)


def frame(number: int, height: int = HEIGHT) -> Array:
    """The scene moves by three pixels to the right from frame to frame."""
    return np.roll(scene(height), SHIFT * number, axis=1)


def right_view(height: int = HEIGHT) -> Array:
    return np.roll(scene(height), -SHIFT, axis=1)


def image(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)


def flow(path: Path, u: float, write: Callable[[Path, Array], None] = write_flo) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, np.dstack([np.full((HEIGHT, WIDTH), u), np.zeros((HEIGHT, WIDTH))]).astype(np.float32))


def constant(value: float, height: int = HEIGHT) -> Array:
    return np.full((height, WIDTH), value, np.float32)


def write_subset(root: Path, first: int = 0) -> None:
    """FlowNet 2.0's subset of FlyingThings: two runs of three frames in each part."""
    for part in ("train", "val"):
        for run in (0, 7):
            for number in range(3):
                name = f"{first + run + number:07d}"
                for folder in ("image_clean", "image_final"):
                    image(root / part / folder / f"left/{name}.png", frame(number))
                    image(root / part / folder / f"right/{name}.png", np.roll(frame(number), -SHIFT, axis=1))
                if number < 2:
                    flow(root / part / f"flow/left/into_future/{name}.flo", SHIFT)
                if number > 0:
                    flow(root / part / f"flow/left/into_past/{name}.flo", -SHIFT)
                (root / part / "disparity/left").mkdir(parents=True, exist_ok=True)
                write_pfm(root / part / f"disparity/left/{name}.pfm", constant(-SHIFT))


def screen(name: str, root: Path) -> list[str]:
    findings = dataset_info(name).check(root)
    assert all(finding.ok or not finding.stops for finding in findings), findings
    return [f"{finding.mark}{finding.what}" for finding in findings]


@pytest.mark.parametrize("archive", ["", "FlyingThings3D_subset"])
def test_flow_of_the_subset(tmp_path: Path, archive: str) -> None:
    root = tmp_path / "flyingthings"
    write_subset(root / archive)
    reader = flyingthings.open_split(root, "train")
    assert len(reader) == 2 * 8 and len(set(reader.groups)) == 2
    shifts = {pair.id: (pair.image1[-11:-4], pair.image2[-11:-4]) for pair in reader.pairs}
    assert shifts["cleanpass/train/into_future/left/0000001"] == ("0000001", "0000002")
    assert shifts["finalpass/train/into_past/left/0000008"] == ("0000008", "0000007")
    assert reader.groups[reader.ids.index("cleanpass/train/into_past/left/0000009")] == "0000007"
    assert all(abs(reader[index]["flow_px"][0, 0, 0]) == SHIFT for index in range(len(reader)))
    assert len(flyingthings.open_split(root, "test1024", passes=("clean",))) == 8
    assert "FlowNet 2.0's subset" in reader.assumptions[0]
    assert any("train of the subset, clean: 8 pairs of 2 scenes" in line for line in screen("flyingthings", root))
    (root / archive / "train/image_clean/left/0000002.png").unlink()
    with pytest.raises(DataError, match=r"0000002\.png"):
        flyingthings.open_split(root, "train")


def write_sceneflow(root: Path, part: str, scene_folder: str) -> None:
    for number in (1, 2):
        for name in ("clean", "final"):
            folder = root / part / f"frames_{name}pass" / scene_folder
            image(folder / f"left/{number:04d}.png", scene())
            image(folder / f"right/{number:04d}.png", right_view())
        truth = root / part / "disparity" / scene_folder / f"left/{number:04d}.pfm"
        truth.parent.mkdir(parents=True, exist_ok=True)
        write_pfm_disparity(truth, constant(SHIFT))


def test_stereo_of_the_subset_beside_driving_and_monkaa(tmp_path: Path) -> None:
    write_sceneflow(tmp_path, "Driving", "15mm_focallength/scene_forwards/fast")
    write_sceneflow(tmp_path, "Monkaa", "a_rain_of_stones_x2")
    write_subset(tmp_path / "FlyingThings3D_subset")
    reader = sceneflow.open_split(tmp_path, "train", passes=("clean",))
    assert len(reader) == 2 + 2 + 6 and len(sceneflow.open_split(tmp_path, "test")) == 12
    for index in range(len(reader)):
        sample = reader[index]
        assert (sample["disparity_px"] == SHIFT).all() and sample["valid"].all()
    said = Mixture([reader, reader], [1.0, 1.0], seed=0).assumptions
    assert said[1] == "sceneflow: disparities of the subset have the other sign, which is turned" and len(said) == 2
    assert any(
        "train with the subset of FlyingThings, final: 10 pairs of 4 scenes" in line
        for line in screen("sceneflow", tmp_path)
    )


def write_sintel(root: Path, *, stereo: bool) -> None:
    """The flow part; `stereo`: the stereo part is unpacked over it, as its archive has the same folder `training`."""
    for number in range(1, 5):
        for scene_name in sintel.SELECT_SCENES:
            write_sintel_frame(root / "training", scene_name, number, stereo=stereo)


def write_sintel_frame(training: Path, name: str, number: int, *, stereo: bool) -> None:
    nothing, everything = np.zeros((HEIGHT, WIDTH), np.uint8), np.full((HEIGHT, WIDTH), 255, np.uint8)
    file = f"{name}/frame_{number:04d}"
    for folder in ("clean", "final"):
        image(training / folder / f"{file}.png", frame(number))
    if number < 4:
        flow(training / f"flow/{file}.flo", SHIFT)
        image(training / f"occlusions/{file}.png", nothing)
    image(training / f"invalid/{file}.png", nothing)
    for folder in ("clean_left", "clean_right", "disparities", "occlusions", "outofframe") if stereo else ():
        image(training / folder / f"{file}.png", everything)


def test_sintel_alone_has_masks_of_flow(tmp_path: Path) -> None:
    write_sintel(tmp_path, stereo=False)
    reader = sintel.open_split(tmp_path, "train", passes=("clean",))
    assert not reader[0]["occluded"].any() and reader.assumptions == ()
    assert not any("stereo" in line for line in screen("sintel", tmp_path))


def test_masks_of_sintels_stereo_part_are_not_taken_for_those_of_flow(tmp_path: Path) -> None:
    write_sintel(tmp_path, stereo=True)
    reader = sintel.open_split(tmp_path, "train", passes=("clean",))
    assert len(reader) == 6 and "occluded" not in reader[0] and not reader[0]["invalid"].any()
    (said,) = reader.assumptions
    assert said.startswith("training/occlusions has masks of all frames: they are those of the stereo part")
    assert sintel.BothPasses(tmp_path, "train").assumptions == reader.assumptions
    assert [line for line in screen("sintel", tmp_path) if line.startswith("but ")][-1] == f"but {said}"


@pytest.mark.parametrize(("height", "factor"), [(1110, 1), (555, 2), (370, 3)])
@pytest.mark.parametrize("year", ["2005", "2006"])
def test_middlebury_in_smaller_sizes(tmp_path: Path, year: middlebury.Edition, height: int, factor: int) -> None:
    """Disparity maps of half and third size hold the numbers of full size."""
    folder = tmp_path / year / "Art"
    image(folder / "disp1.png", constant(SHIFT * factor, height).astype(np.uint8))
    for light in (1, 2, 3):
        for exposure in (0, 1, 2):
            image(folder / f"Illum{light}/Exp{exposure}/view1.png", scene(height))
            image(folder / f"Illum{light}/Exp{exposure}/view5.png", right_view(height))
    sample = middlebury.open_scenes(tmp_path, year)[0]
    assert (sample["disparity_px"] == SHIFT).all() and sample["disparity_px"].dtype == np.float32


@pytest.mark.parametrize(("height", "steps"), [(375, 4), (750, 2), (1500, 1)])
@pytest.mark.parametrize(("image_ending", "truth_ending"), [("png", "png"), ("ppm", "pgm")])
def test_middlebury_of_2003(tmp_path: Path, height: int, steps: int, image_ending: str, truth_ending: str) -> None:
    for name in ("cones", "teddy"):
        image(tmp_path / f"2003/{name}/im2.{image_ending}", scene(height))
        image(tmp_path / f"2003/{name}/im6.{image_ending}", right_view(height))
        image(tmp_path / f"2003/{name}/disp2.{truth_ending}", constant(SHIFT * steps, height).astype(np.uint8))
    reader = middlebury.open_scenes(tmp_path, "2003")
    assert len(reader) == 2 and all((reader[index]["disparity_px"] == SHIFT).all() for index in range(2))
    assert screen("middlebury", tmp_path)[0] == "ok  2003: 2 pairs of 2 scenes"


@pytest.mark.parametrize("folder", ["train", "two_view_training"])
@pytest.mark.parametrize("truth", ["_gt", ""])
def test_eth3d_in_one_folder_or_two(tmp_path: Path, folder: str, truth: str) -> None:
    for name in ("delivery_area_1l", "electro_3s"):
        image(tmp_path / folder / name / "im0.png", scene())
        image(tmp_path / folder / name / "im1.png", right_view())
        image(tmp_path / f"{folder}{truth}" / name / "mask0nocc.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
        write_pfm_disparity(tmp_path / f"{folder}{truth}" / name / "disp0GT.pfm", constant(SHIFT))
    reader = eth3d.open_split(tmp_path, "train")
    assert len(reader) == 2 and (reader[1]["disparity_px"] == SHIFT).all() and not reader[1]["occluded"].any()
    assert screen("eth3d", tmp_path)[0].startswith("but train: 2 pairs of 2 scenes")


def test_eth3d_unpacked_where_it_was_downloaded(tmp_path: Path) -> None:
    """All archives hold the scenes' folders alone."""
    for name in ("delivery_area_1l", "electro_3s", "lakeside_1l"):
        image(tmp_path / name / "im0.png", scene())
        image(tmp_path / name / "im1.png", right_view())
        if name != "lakeside_1l":
            write_pfm_disparity(tmp_path / name / "disp0GT.pfm", constant(SHIFT))
    assert eth3d.open_split(tmp_path, "train").ids == ["delivery_area_1l", "electro_3s"]
    assert eth3d.open_split(tmp_path, "test").ids == ["lakeside_1l"]
    screen("eth3d", tmp_path)


KITTI: dict[kitti.Year, tuple[str, str, str]] = {
    2012: ("colored_0", "colored_1", "disp_occ"),
    2015: ("image_2", "image_3", "disp_occ_0"),
}


@pytest.mark.parametrize("year", list(KITTI))
@pytest.mark.parametrize("archive", [True, False])
def test_kittis_stereo_or_flow_alone(tmp_path: Path, year: kitti.Year, archive: bool) -> None:
    left, right, truth = KITTI[year]
    for part in ("stereo", "flow"):
        root = tmp_path / part / (kitti.EDITIONS[year].archive if archive else "")
        for split in ("training", "testing"):
            image(root / split / left / "000000_10.png", frame(0))
            if part == "stereo":
                image(root / split / right / "000000_10.png", right_view())
            else:
                image(root / split / left / "000000_11.png", frame(1))
        (root / "training" / (truth if part == "stereo" else "flow_occ")).mkdir()
        if part == "stereo":
            write_kitti_disparity(root / "training" / truth / "000000_10.png", constant(SHIFT))
        else:
            flow(root / "training/flow_occ/000000_10.png", SHIFT, write_kitti_flow)
    assert len(kitti.open_stereo(tmp_path / "stereo", "train", year=year)) == 1
    assert len(kitti.open_flow(tmp_path / "flow", "train", year=year)) == 1
    stereo, flows = (screen(f"kitti{year}", tmp_path / part) for part in ("stereo", "flow"))
    assert any(", stereo: " in line for line in stereo) and not any("stereo" in line for line in flows)
    assert all(", stereo: " in line or line.startswith("–") for line in stereo)
