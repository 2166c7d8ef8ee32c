"""Whole releases of stereo and flow as they unpack, from reader to check: Middlebury 2001, Monkaa, Driving, Spring."""

from pathlib import Path

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.matching import middlebury, sceneflow, spring
from croco_bench.data.formats.disparity import write_dsp5, write_pfm_disparity
from croco_bench.data.formats.flow import write_flo5
from croco_bench.data.formats.images import write_image
from croco_bench.data.mixtures.stereo import training_sets
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Array

HEIGHT, WIDTH, SHIFT = 24, 64, 3


def view(offset: int) -> Array:
    """A scene that lies `offset` pixels to the right of where the first camera sees it at first."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH // 4, 3)).repeat(4, axis=1)
    return np.roll(pixels.astype(np.uint8), offset, axis=1)


def netpbm(path: Path, pixels: Array) -> None:
    """A .ppm or .pgm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "P5" if pixels.ndim == 2 else "P6"
    path.write_bytes(f"{kind}\n{WIDTH} {HEIGHT}\n255\n".encode() + pixels.tobytes())


def png(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)


def constant(value: float) -> Array:
    return np.full((HEIGHT, WIDTH), value, np.float32)


def screen(name: str, root: Path) -> list[str]:
    """The lines of `data check`; none may stop a run."""
    findings = dataset_info(name).check(root)
    assert all(finding.ok or not finding.stops for finding in findings), findings
    return [f"{finding.mark}{finding.what}" for finding in findings]


PLANAR = ("barn1", "barn2", "bull", "poster", "sawtooth", "venus")


def write_middlebury_2001(root: Path) -> None:
    for name in PLANAR:
        for number in range(9):
            netpbm(root / name / f"im{number}.ppm", view(-SHIFT * (number - 2) // 4))
        for number in (2, 6):
            netpbm(root / name / f"disp{number}.pgm", constant(SHIFT * 8).astype(np.uint8))
    for number in range(2):
        netpbm(root / "map" / f"im{number}.pgm", view(-SHIFT * number)[:, :, 0])
        netpbm(root / "map" / f"disp{number}.pgm", constant(SHIFT * 8).astype(np.uint8))
    for column in range(1, 6):
        netpbm(root / "tsukuba" / f"scene1.row3.col{column}.ppm", view(-SHIFT * (column - 3)))
    truth = constant(SHIFT * 16).astype(np.uint8)
    truth[:4] = 0  # unknown at the border
    netpbm(root / "tsukuba/truedisp.row3.col3.pgm", truth)


@pytest.mark.parametrize("folder", ["2001", "2001/data"])
def test_middlebury_of_2001(tmp_path: Path, folder: str) -> None:
    write_middlebury_2001(tmp_path / folder)
    (tmp_path / folder / "imagehtml").mkdir()
    (tmp_path / folder / "imagehtml/venus.html").touch()
    reader = middlebury.open_scenes(tmp_path, "2001")
    assert reader.ids == [*PLANAR[:3], "map", *PLANAR[3:5], "tsukuba", "venus"] and reader.available == 8
    samples = {sample["id"]: sample for sample in (reader[index] for index in range(8))}
    assert all((one["disparity_px"] == SHIFT)[one["valid"]].all() for one in samples.values())
    assert samples["tsukuba"]["valid"].sum() == (HEIGHT - 4) * WIDTH and samples["map"]["valid"].all()
    np.testing.assert_array_equal(samples["bull"]["image1"][:, : WIDTH - SHIFT], view(0)[:, : WIDTH - SHIFT])
    count, truth = screen("middlebury", tmp_path)[:2]
    assert count == "ok  2001: 8 pairs of 8 scenes" and truth.startswith("ok  2001: 100% known, 3.0 pixels")
    assert len(training_sets("F")["middlebury2001"].open(tmp_path)) == 8
    (tmp_path / folder / "bull/im6.ppm").unlink()
    with pytest.raises(DataError, match=r"there is no .*bull/im6\.ppm; unpack the rest of https://vision\.middlebury"):
        middlebury.open_scenes(tmp_path, "2001")


SCENES = {
    "Driving": [
        f"{lens}_focallength/scene_{way}/{pace}"
        for lens in ("15mm", "35mm")
        for way in ("backwards", "forwards")
        for pace in ("fast", "slow")
    ],
    "Monkaa": ["a_rain_of_stones_x2", "eating_camera2_x2", "treeflight_x2"],
    "FlyingThings3D": ["TRAIN/A/0000", "TRAIN/C/0749", "TEST/A/0000", "TEST/B/0149"],
}


def write_part(root: Path, part: str) -> None:
    for scene in SCENES[part]:
        for camera, offset in (("left", 0), ("right", -SHIFT)):
            for kind in ("clean", "final"):
                for number in (1, 2):
                    png(root / part / f"frames_{kind}pass" / scene / camera / f"{number:04d}.png", view(offset))
            for number in (1, 2):  # the release has truth of both cameras
                truth = root / part / "disparity" / scene / camera / f"{number:04d}.pfm"
                truth.parent.mkdir(parents=True, exist_ok=True)
                write_pfm_disparity(truth, constant(SHIFT))


def test_sceneflow_with_all_parts(tmp_path: Path) -> None:
    for part in SCENES:
        write_part(tmp_path, part)
    reader = sceneflow.open_split(tmp_path, "train")
    assert len(reader) == 2 * 2 * (8 + 3 + 2) and reader.assumptions == ()
    assert {group.split("/")[0] for group in reader.groups} == set(SCENES)
    assert len(sceneflow.open_split(tmp_path, "test", passes=("clean",))) == 4
    lines = screen("sceneflow", tmp_path)
    assert lines[0] == "but train, clean: 26 pairs of 13 scenes"
    assert lines[1].startswith("ok  train, clean: 100% known, 3.0 pixels")
    (tmp_path / "Monkaa/disparity/treeflight_x2/left/0002.pfm").unlink()
    with pytest.raises(DataError, match="treeflight_x2"):
        sceneflow.open_split(tmp_path, "train")


@pytest.mark.parametrize("part", ["Driving", "Monkaa"])
def test_driving_or_monkaa_alone(tmp_path: Path, part: str) -> None:
    write_part(tmp_path, part)
    reader = sceneflow.open_split(tmp_path, "train", passes=("final",))
    other = "Monkaa" if part == "Driving" else "Driving"
    assert len(reader) == 2 * len(SCENES[part])
    assert reader.assumptions == (
        f"{other} and FlyingThings of SceneFlow isn't there, so the other parts are used alone",
    )
    lines = screen("sceneflow", tmp_path)
    assert f"but train, final: {len(reader)} pairs of {len(SCENES[part])} scenes" in lines
    assert sum(line.startswith("–   ") and "holds no FlyingThings" in line for line in lines) == 1
    assert lines[-1] == f"but train: {reader.assumptions[0]}"
    selection = training_sets("F")["sceneflow"].selection_split
    assert selection is not None and selection(tmp_path) is None
    with pytest.raises(AbsentError, match="holds no FlyingThings"):
        sceneflow.open_split(tmp_path, "test")


def test_sceneflow_without_any_part(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="holds no Driving, no Monkaa and no FlyingThings"):
        sceneflow.open_split(tmp_path, "train")


def write_spring(root: Path) -> None:
    """Two sequences to train on and one to test, three frames each, with all that the archives hold."""
    for split, scene in (("train", "0001"), ("train", "0041"), ("test", "0003")):
        folder = root / split / scene
        for frame in (1, 2, 3):
            for camera, offset in (("left", 0), ("right", -SHIFT)):
                png(folder / f"frame_{camera}/frame_{camera}_{frame:04d}.png", view(offset + 2 * frame))
                if split == "train":
                    write_spring_truth(folder, camera, frame)
        (folder / "cam_data").mkdir()
        (folder / "cam_data/intrinsics.txt").write_text("1000 1000 960 540\n" * 3)


def write_spring_truth(folder: Path, camera: str, frame: int) -> None:
    whole = np.ones((2 * HEIGHT, 2 * WIDTH), np.float32)
    sign = 1 if camera == "left" else -1
    (folder / f"disp1_{camera}").mkdir(exist_ok=True)
    write_dsp5(folder / f"disp1_{camera}/disp1_{camera}_{frame:04d}.dsp5", sign * SHIFT * whole)
    for way, last, u in (("FW", 3, 2.0), ("BW", 1, -2.0)):
        name = f"flow_{way}_{camera}"
        (folder / name).mkdir(exist_ok=True)
        if frame != last:
            write_flo5(folder / name / f"{name}_{frame:04d}.flo5", np.dstack([u * whole, 0 * whole]))
    maps = folder / f"maps/rigidmap_FW_{camera}"
    png(maps / f"rigidmap_FW_{camera}_{frame:04d}.png", view(0))


@pytest.mark.parametrize("archive", ["", "spring"])
def test_spring_with_flow_and_stereo(tmp_path: Path, archive: str) -> None:
    write_spring(tmp_path / archive)
    flow = spring.open_split(tmp_path, "train")
    assert len(flow) == 2 * 2 * 2 * 2 and len(spring.open_split(tmp_path, "train", scenes=("0041",))) == 8
    assert all(abs(flow[index]["flow_px"][0, 0, 0]) == 2 for index in range(len(flow)))
    stereo = spring.open_stereo(tmp_path, "train")
    assert len(stereo) == 6 and (stereo[0]["disparity_px"] == SHIFT).all() and stereo[0]["valid"].all()
    lines = screen("spring", tmp_path)
    counts = [line for line in lines if line.startswith("but ") and " pairs of " in line]
    assert counts == [
        "but train: 16 pairs of 2 scenes",
        "but the sequence to select by: 8 pairs of 1 scenes",
        "but test: 8 pairs of 1 scenes",
        "but train, stereo: 6 pairs of 2 scenes",
        "but test, stereo: 6 pairs of 1 scenes",
    ]
    assert sum("% known" in line and line.startswith("ok  ") for line in lines) == 3


def test_spring_of_a_damaged_or_missing_file(tmp_path: Path) -> None:
    write_spring(tmp_path)
    truth = tmp_path / "train/0001/disp1_left/disp1_left_0002.dsp5"
    truth.write_bytes(truth.read_bytes()[:200])
    with pytest.raises(DataError, match=r"disp1_left_0002\.dsp5 is truncated, damaged or no HDF5 file"):
        spring.open_stereo(tmp_path, "train")[1]
    (tmp_path / "train/0001/frame_right/frame_right_0003.png").unlink()
    stereo = [finding for finding in dataset_info("spring").check(tmp_path) if "frame_right_0003" in finding.what]
    assert stereo and not any(finding.ok for finding in stereo)
