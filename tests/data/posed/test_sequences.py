"""Posed video in the layouts of 7-Scenes and ScanNet: splits, intrinsics, depths, poses, and damaged files."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench.data.miniatures.seven_scenes import SevenScenesMini, write_sevenscenes
from croco_bench.data.posed.sequences import open_posed, seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.errors import DataError, UsageError

SPEC = SevenScenesMini(2, 3, 12, 48, 64)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "7scenes"
    root.mkdir()
    with ThreadPoolExecutor(1) as pool:
        write_sevenscenes(root, SPEC, 0, pool, lambda _: None)
    return root


@pytest.fixture
def sequence(rooms: Path, tmp_path: Path) -> Path:
    """A copy of one sequence, to damage."""
    target = tmp_path / "scene" / "seq-01"
    shutil.copytree(rooms / "room-01" / "seq-01", target)
    return target


@pytest.fixture
def scannet(rooms: Path, tmp_path: Path) -> Path:
    """The same sequence as the official reader of ScanNet would extract it; depth has half the colour's resolution."""
    scene = tmp_path / "scans" / "scene0000_00"
    for folder in ("color", "depth", "pose", "intrinsic"):
        (scene / folder).mkdir(parents=True)
    for number, frame in enumerate(sorted((rooms / "room-01" / "seq-01").glob("*.color.png"))):
        stem = str(frame).removesuffix(".color.png")
        color = cv2.resize(cv2.imread(str(frame)), (128, 96))
        cv2.imwrite(str(scene / f"color/{number}.jpg"), color)
        shutil.copy(f"{stem}.depth.png", scene / f"depth/{number}.png")
        np.savetxt(scene / f"pose/{number}.txt", np.loadtxt(f"{stem}.pose.txt"), fmt="%f")
    for kind, size in (("color", (96, 128)), ("depth", (48, 64))):
        K = np.eye(4)
        K[:3, :3] = seven_scenes_intrinsics(size)
        np.savetxt(scene / f"intrinsic/intrinsic_{kind}.txt", K, fmt="%f")
    return scene


def test_seven_scenes_are_found_with_their_splits(rooms: Path) -> None:
    sequences = open_posed(rooms)
    assert [(one.name, one.scene, one.split) for one in sequences] == [
        (f"room-0{scene}/seq-0{number}", f"room-0{scene}", "test" if number == 3 else "train")
        for scene in (1, 2)
        for number in (1, 2, 3)
    ]
    assert all(len(one) == 12 and one.size == (48, 64) and one.layout == "7-Scenes" for one in sequences)
    assert [one.name for one in open_posed(rooms / "room-02")] == ["seq-01", "seq-02", "seq-03"]
    assert len(open_posed(rooms.parent)) == 6


def test_intrinsics_are_the_official_ones_scaled() -> None:
    full, small = seven_scenes_intrinsics((480, 640)), seven_scenes_intrinsics((120, 160))
    assert np.array_equal(full, [[525, 0, 320], [0, 525, 240], [0, 0, 1]])
    # The left border (x = -0.5) and the principal ray fall on the same place in both.
    assert small[0, 0] == 525 / 4 and (small[0, 2] + 0.5) * 4 == full[0, 2] + 0.5 and (small[1, 2] + 0.5) * 4 == 240.5


def test_depth_and_pose_are_those_of_the_room(rooms: Path) -> None:
    """Rays cast with what the reader says hit where the depth says."""
    for number in (1, 2):
        scene = make_scene(room_seed(0, "7scenes", number))
        for name in (f"room-0{number}/seq-01", f"room-0{number}/seq-03"):
            sequence = next(one for one in open_posed(rooms) if one.name == name)
            for index in (0, 11):
                frame = sequence.frame(index)
                assert frame is not None
                camera = Camera(frame.K, frame.cam2world, frame.size)
                rays = camera.rays()
                truth, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
                depth = frame.depth_m()
                assert depth.dtype == np.float32 and depth.shape == (48, 64)
                known = np.isfinite(depth)
                assert 0.7 < known.mean() < 1
                assert np.abs(depth - truth.reshape(48, 64))[known].max() < 0.002
                # What is unknown lies where depth jumps.
                jumps = np.abs(np.diff(truth.reshape(48, 64), axis=1)) > 0.5
                assert not (known[:, 1:] & known[:, :-1] & jumps).any()


def test_the_camera_moves_smoothly(rooms: Path) -> None:
    for sequence in open_posed(rooms):
        poses = np.stack([frame.cam2world for frame in map(sequence.frame, range(12)) if frame is not None])
        steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        turns = np.einsum("nij,nij->n", poses[:-1, :3, :3], poses[1:, :3, :3])
        assert steps.mean() > 0.005 and steps.max() < 0.25
        assert np.degrees(np.arccos((turns.min() - 1) / 2)) < 15
        assert np.linalg.norm(np.diff(poses[:, :3, 3], 2, axis=0), axis=1).max() < 0.06


@pytest.mark.slow
def test_seeds_and_processes(rooms: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        with ThreadPoolExecutor(2) as pool:
            write_sevenscenes(tmp_path / str(seed), SevenScenesMini(1, 2, 12, 48, 64), seed, pool, lambda _: None)
    for name in ("room-01/seq-01/frame-000011.color.png", "room-01/seq-01/frame-000011.pose.txt"):
        assert (tmp_path / "0" / name).read_bytes() == (rooms / name).read_bytes()
        assert (tmp_path / "1" / name).read_bytes() != (rooms / name).read_bytes()
    with pytest.raises(UsageError, match="sequences must be at least 2"):
        SevenScenesMini(sequences=1)


def test_registered_depth_is_preferred_and_both_marks_are_unknown(sequence: Path) -> None:
    for path in sorted(sequence.glob("*.depth.png")):
        depth = np.full((48, 64), 1500, dtype=np.uint16)
        depth[0, 0], depth[0, 1] = 0, 65535
        cv2.imwrite(str(path).replace(".depth.png", ".depth.proj.png"), depth)
    (found,) = open_posed(sequence.parent)
    frame = found.frame(0)
    assert frame is not None
    depth_m = frame.depth_m()
    assert np.isnan(depth_m[0, :2]).all() and np.isnan(depth_m).sum() == 2 and np.nanmax(depth_m) == np.float32(1.5)
    assert found.split is None  # there is no list beside it


def test_scannet_is_read_in_the_order_of_its_numbers(scannet: Path, rooms: Path) -> None:
    (found,) = open_posed(scannet.parent)
    assert (found.name, found.layout, found.numbers) == ("scene0000_00", "ScanNet", tuple(range(12)))
    assert found.size == (48, 64) and np.allclose(found.K, seven_scenes_intrinsics((48, 64)), atol=1e-5)
    for index in (2, 10):
        frame, same = found.frame(index), open_posed(rooms)[0].frame(index)
        assert frame is not None and same is not None
        assert frame.image == scannet / f"color/{index}.jpg"
        assert np.allclose(frame.cam2world, same.cam2world, atol=1e-5)
        assert np.array_equal(frame.depth_m(), same.depth_m(), equal_nan=True)
    (at_scene,) = open_posed(scannet)
    assert at_scene.name == "scene0000_00"
    assert open_posed(scannet.parent.parent)[0].name == "scans/scene0000_00"


def test_scannet_says_where_tracking_was_lost(scannet: Path) -> None:
    np.savetxt(scannet / "pose/3.txt", np.full((4, 4), -np.inf), fmt="%f")
    (found,) = open_posed(scannet)
    assert found.frame(3) is None and found.frame(4) is not None
    np.savetxt(scannet / "pose/4.txt", np.full((4, 4), np.nan), fmt="%f")
    with pytest.raises(DataError, match=r"4\.txt holds a pose that isn't finite"):
        found.frame(4)


def mirrored(path: Path) -> None:
    np.savetxt(path, np.loadtxt(path) * [[1, 1, -1, 1]])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("frame-000005.depth.png", cut, "frame-000005.depth.png can't be decoded as an image (200 bytes)"),
        ("frame-000000.depth.png", lambda path: path.write_bytes(b""), "frame-000000.depth.png isn't a PNG image"),
        ("frame-000005.depth.png", Path.unlink, "frame 5 has no depth map (1 of 12 frames lack one)"),
        ("frame-000007.color.png", Path.unlink, "frame 7 has no image"),
        ("frame-000005.pose.txt", Path.unlink, "frame 5 has no pose"),
        ("frame-000005.pose.txt", lambda path: np.savetxt(path, np.full((4, 4), np.nan)), "isn't finite"),
        ("frame-000005.pose.txt", lambda path: np.savetxt(path, np.full((4, 4), -np.inf)), "isn't finite"),
        ("frame-000005.pose.txt", lambda path: np.savetxt(path, np.eye(4)[:3]), "4x4 numbers, but holds 12"),
        ("frame-000005.pose.txt", lambda path: path.write_bytes(b"\xff\x00lost"), "holds something else"),
        ("frame-000005.pose.txt", mirrored, "isn't a rigid motion"),
        (
            "frame-000005.depth.png",
            lambda path: cv2.imwrite(str(path), np.ones((24, 32), np.uint16)),
            "has 32x24 pixels, but its sequence began with 64x48",
        ),
        (
            "frame-000005.depth.png",
            lambda path: cv2.imwrite(str(path), np.ones((48, 64), np.uint8)),
            "should be a one-channel uint16 image",
        ),
    ],
)
def test_damage_is_one_sentence(sequence: Path, name: str, damage: Callable[[Path], object], words: str) -> None:
    damage(sequence / name)
    with pytest.raises(DataError) as error:
        for found in open_posed(sequence.parent):
            for frame in map(found.frame, range(len(found))):
                assert frame is not None
                frame.depth_m()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_video_is_said(tmp_path: Path, scannet: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        open_posed(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no posed RGB-D video; expected 7-Scenes"):
        open_posed(tmp_path / "empty")
    (tmp_path / "hollow" / "seq-01").mkdir(parents=True)
    with pytest.raises(DataError, match="seq-01 holds no frames"):
        open_posed(tmp_path)
    (scannet / "intrinsic" / "intrinsic_depth.txt").unlink()
    with pytest.raises(DataError, match=r"there is no readable .*intrinsic_depth.txt"):
        open_posed(scannet)
