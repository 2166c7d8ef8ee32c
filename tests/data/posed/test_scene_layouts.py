"""One video in every layout that is read: ScanNet's two exporters, ScanNet++'s folders, COLMAP's models."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.formats.images import read_rgb, write_image
from croco_bench.data.mining.mine import make_pairs
from croco_bench.data.posed.sequences import find_posed, open_posed
from croco_bench.errors import DataError
from croco_bench.types import Array

SIZE, FOCAL, COUNT = (48, 64), 60.0, 5
K = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])


def pose(number: int) -> Array:
    """The camera looks at a wall two metres away, moves to the right and turns a little about its axis."""
    cam2world = np.eye(4)
    cam2world[:3, :3] = Rotation.from_rotvec([0, 0, 0.02 * number]).as_matrix()
    cam2world[0, 3] = 0.4 * number
    return cam2world


def image(number: int) -> Array:
    return np.full((*SIZE, 3), 40 * number, np.uint8)


def depth(number: int) -> Array:
    millimeters = np.full(SIZE, 2000, np.uint16)
    millimeters[:3] = 0
    return millimeters


def words(matrix: Array) -> str:
    return " ".join(f"{number:.12g}" for number in matrix.ravel())


def four(matrix: Array) -> Array:
    padded = np.eye(4)
    padded[:3, :3] = matrix
    return padded


def write_scannet(scene: Path) -> None:
    """As ScanNet's Python tool exports a `.sens` file."""
    for folder in ("color", "depth", "pose", "intrinsic"):
        (scene / folder).mkdir(parents=True)
    for number in range(COUNT):
        write_image(scene / f"color/{number}.jpg", image(number))
        write_image(scene / f"depth/{number}.png", depth(number))
        (scene / f"pose/{number}.txt").write_text(words(pose(number)))
    for name in ("intrinsic_depth", "intrinsic_color", "extrinsic_depth", "extrinsic_color"):
        (scene / f"intrinsic/{name}.txt").write_text(words(four(K)))


def write_exported(scene: Path) -> None:
    """As ScanNet's C++ tool exports a `.sens` file."""
    scene.mkdir(parents=True)
    for number in range(COUNT):
        stem = scene / f"frame-{number:06d}"
        write_image(Path(f"{stem}.color.jpg"), image(number))
        Path(f"{stem}.depth.pgm").write_bytes(b"P5\n64 48\n65535\n" + depth(number).astype(">u2").tobytes())
        Path(f"{stem}.pose.txt").write_text(words(pose(number)))
    lines = ["m_versionNumber = 4", "m_depthWidth = 64", "m_depthHeight = 48", "m_depthShift = 1000"]
    lines += [f"m_calibrationColorIntrinsic = {words(np.eye(4))}", f"m_calibrationDepthIntrinsic = {words(four(K))}"]
    (scene / "_info.txt").write_text("\n".join(lines))


def write_views(device: Path, images: str, depths: str, ending: str = ".JPG") -> None:
    for folder in (images, depths):
        (device / folder).mkdir(parents=True)
    for number in range(COUNT):
        write_image(device / images / f"DSC{number:05d}.jpg", image(number))
        (device / images / f"DSC{number:05d}.jpg").rename(device / images / f"DSC{number:05d}{ending}")
        write_image(device / depths / f"DSC{number:05d}.png", depth(number))


def world2cam(number: int) -> tuple[list[float], list[float]]:
    """COLMAP's quaternion (w first) and translation."""
    inverse = np.linalg.inv(pose(number))
    x, y, z, w = Rotation.from_matrix(inverse[:3, :3]).as_quat().tolist()
    return [w, x, y, z], inverse[:3, 3].tolist()


def write_text_model(folder: Path, camera: str = "PINHOLE 64 48 60 60 32 24") -> None:
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"# Camera list\n# Number of cameras: 1\n1 {camera}\n")
    lines = ["# Image list", "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME"]
    for number in reversed(range(COUNT)):
        quaternion, translation = world2cam(number)
        numbers = " ".join(f"{one:.12g}" for one in quaternion + translation)
        lines += [f"{number + 1} {numbers} 1 DSC{number:05d}.JPG", "1.5 2.5 -1" if number % 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def write_binary_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, 64, 48, 60, 60, 32, 24))
    content = struct.pack("<Q", COUNT)
    for number in range(COUNT):
        quaternion, translation = world2cam(number)
        content += struct.pack("<i7di", number + 1, *quaternion, *translation, 1) + f"DSC{number:05d}.JPG\0".encode()
        content += struct.pack("<Q", number % 2) + struct.pack("<ddq", 1, 2, -1) * (number % 2)
    (folder / "images.bin").write_bytes(content)


def write_dslr(scene: Path) -> None:
    """As COLMAP undistorts ScanNet++'s photographs, with depth maps of the toolkit."""
    write_views(scene / "dslr", "images", "render_depth")
    write_text_model(scene / "dslr/colmap")


def write_sparse(scene: Path) -> None:
    write_views(scene, "images", "depth")
    write_binary_model(scene / "sparse/0")


def write_undistorted(scene: Path) -> None:
    """As ScanNet++'s toolkit undistorts: axes of the cameras are OpenGL's."""
    write_views(scene / "dslr", "resized_undistorted_images", "resized_undistorted_depths")
    write_text_model(scene / "dslr/colmap", "OPENCV_FISHEYE 64 48 60 60 32 24 0.1 0 0 0")
    flip = np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": f"DSC{n:05d}.JPG", "transform_matrix": (pose(n) @ flip).tolist(), "is_bad": False}
        for n in range(COUNT)
    ]
    facts = {"fl_x": 60, "fl_y": 60, "cx": 32, "cy": 24, "w": 64, "h": 48, "camera_model": "PINHOLE"}
    (scene / "dslr/nerfstudio").mkdir()
    (scene / "dslr/nerfstudio/transforms_undistorted.json").write_text(
        json.dumps({**facts, "frames": frames[:3], "test_frames": frames[3:]})
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "scannet": write_scannet,
    "exported": write_exported,
    "dslr": write_dslr,
    "sparse": write_sparse,
    "undistorted": write_undistorted,
}


@pytest.mark.parametrize("layout", list(WRITERS))
def test_frames_are_equal_in_every_layout(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path / "data" / "scene0000_00")
    (sequence,) = open_posed(tmp_path)
    assert len(sequence) == COUNT and sequence.scene == "data/scene0000_00"
    assert np.allclose(sequence.poses(), [pose(number) for number in range(COUNT)])
    for number in range(COUNT):
        frame = sequence.frame(number)
        assert frame is not None and np.allclose(frame.K, K) and frame.size == SIZE
        assert np.allclose(frame.cam2world, pose(number))
        meters = np.where(depth(number) == 0, np.nan, 2.0)
        assert np.array_equal(frame.depth_m(), meters.astype(np.float32), equal_nan=True)
        assert frame.image == sequence.image(number)
        assert abs(int(read_rgb(frame.image)[0, 0, 0]) - 40 * number) <= 1


def test_pairs_are_equal_in_every_layout(tmp_path: Path) -> None:
    shares = []
    for layout, write in WRITERS.items():
        write(tmp_path / layout / "scene0000_00")
        make_pairs(tmp_path / layout, tmp_path / f"of-{layout}", every=1, covisibility=(0.3, 0.9), workers=1)
        parts = list((tmp_path / f"of-{layout}/parts").rglob("*.json"))
        (part,) = [json.loads(path.read_text()) for path in parts]
        shares.append(sorted(tuple(sorted(pair["covisibility"])) for pair in part["pairs"]))
        assert len(shares[-1]) >= 4
    assert all(other == shares[0] for other in shares)


def test_scans_of_one_scene_by_two_devices_are_of_one_scene(tmp_path: Path) -> None:
    write_dslr(tmp_path / "data/0a5c013435")
    shutil.copytree(tmp_path / "data/0a5c013435/dslr", tmp_path / "data/0a5c013435/iphone")
    (tmp_path / "data/0a5c013435/iphone/images").rename(tmp_path / "data/0a5c013435/iphone/rgb")
    assert [one.scene for one in open_posed(tmp_path)] == ["data/0a5c013435"] * 2


def write_iphone(scene: Path) -> None:
    """As ScanNet++'s toolkit unpacks the video, without the folder colmap."""
    write_views(scene / "iphone", "rgb", "depth")
    (scene / "iphone/pose_intrinsic_imu.json").write_text(
        json.dumps({f"frame_{n:06d}": {"pose": pose(n).tolist(), "intrinsic": K.tolist()} for n in range(COUNT)})
    )


def test_an_iphone_without_colmap_says_what_is_needed(tmp_path: Path) -> None:
    write_iphone(tmp_path / "data/0a5c013435")
    with pytest.raises(
        DataError, match=r"iphone has ARKit's poses .*, but no COLMAP model .*; download .*iphone/colmap"
    ):
        open_posed(tmp_path)
    write_text_model(tmp_path / "data/0a5c013435/iphone/colmap")
    assert len(open_posed(tmp_path)) == 1


def test_the_camera_that_is_not_prepared_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_undistorted(tmp_path / "data/0a5c013435")
    write_iphone(tmp_path / "data/0a5c013435")
    make_pairs(tmp_path / "data", tmp_path / "pairs", every=1, covisibility=(0.3, 0.9), workers=1)
    (note,) = json.loads((tmp_path / "pairs/pairs.json").read_text())["notes"]
    assert note.startswith("1 scan is left out: ") and "ARKit's poses" in note
    assert note in capsys.readouterr().err
    write_text_model(tmp_path / "data/0a5c013435/iphone/colmap")
    shutil.rmtree(tmp_path / "data/0a5c013435/iphone/rgb")
    sequences, (error,) = find_posed(tmp_path)
    assert [one.name for one in sequences] == ["data/0a5c013435/dslr"] and "no folder of images" in error.what


def test_smaller_depth_maps_have_smaller_cameras(tmp_path: Path) -> None:
    """A depth sensor's maps beside a video: the field of view is the same, and so is the ray of the middle."""
    write_dslr(tmp_path / "scene")
    for path in (tmp_path / "scene/dslr/render_depth").iterdir():
        write_image(path, np.full((24, 32), 2000, np.uint16))
    (sequence,) = open_posed(tmp_path)
    frame = sequence.frame(0)
    assert frame is not None and frame.size == (24, 32)
    assert np.allclose(frame.K, np.array([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("camera", "sentence"),
    [
        ("OPENCV_FISHEYE 64 48 60 60 32 24 0.1 0 0 0", "is OPENCV_FISHEYE, which isn't a pinhole camera; undistort"),
        ("OPENCV 64 48 60 60 32 24 0.2 0 0 0", r"is OPENCV, which moves a corner by \d+ pixels; undistort"),
        ("PINHOLE 64 48 -60 60 32 24", "has focal lengths -60 and 60"),
        ("PINHOLE 64 48 60 60 32", "no whole COLMAP model .a camera of the model PINHOLE with 3 parameters"),
    ],
)
def test_other_cameras_are_refused(tmp_path: Path, camera: str, sentence: str) -> None:
    write_dslr(tmp_path)
    (tmp_path / "dslr/colmap/cameras.txt").write_text(f"1 {camera}\n")
    with pytest.raises(DataError, match=sentence):
        open_posed(tmp_path)


def test_a_distortion_below_a_pixel_is_none(tmp_path: Path) -> None:
    write_dslr(tmp_path)
    (tmp_path / "dslr/colmap/cameras.txt").write_text("1 SIMPLE_RADIAL 64 48 60 32 24 0.001\n")
    (sequence,) = open_posed(tmp_path)
    assert np.allclose(sequence.K, K)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("write", "name", "sentence"),
    [
        (write_dslr, "dslr/render_depth", "has poses, but no folder of depth maps .render_depth.*common.render"),
        (write_dslr, "dslr/images", "has poses, but no folder of images .images, rgb"),
        (write_dslr, "dslr/render_depth/DSC00002.png", "there is no .*DSC00002.png: 1 files of 5 views are missing"),
        (write_dslr, "dslr/colmap/cameras.txt", "there is no readable .*cameras.txt"),
        (write_exported, "_info.txt", "holds no posed RGB-D video"),
        (write_exported, "frame-000003.depth.pgm", "frame 3 has no depth map"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, write: Callable[[Path], None], name: str, sentence: str) -> None:
    write(tmp_path / "scene")
    remove(tmp_path / "scene" / name)
    with pytest.raises(DataError, match=sentence):
        open_posed(tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
@pytest.mark.parametrize("left", [0, 20, 60])
def test_a_truncated_model_is_a_sentence(tmp_path: Path, name: str, left: int) -> None:
    write_sparse(tmp_path)
    path = tmp_path / "sparse/0" / name
    path.write_bytes(path.read_bytes()[: left if name == "images.bin" else left // 2])
    with pytest.raises(DataError, match="holds no whole COLMAP model"):
        open_posed(tmp_path)


def test_damaged_numbers_are_sentences(tmp_path: Path) -> None:
    write_dslr(tmp_path / "a")
    path = tmp_path / "a/dslr/colmap/images.txt"
    path.write_text("1 nan 0 0 0 0 0 0 1 DSC00000.JPG\n\n")
    with pytest.raises(DataError, match=r"a pose of DSC00000\.JPG that isn't finite"):
        open_posed(tmp_path / "a")
    path.write_text("")
    with pytest.raises(DataError, match="its model has no images"):
        open_posed(tmp_path / "a")
    write_undistorted(tmp_path / "b")
    transforms = tmp_path / "b/dslr/nerfstudio/transforms_undistorted.json"
    transforms.write_text(transforms.read_text().replace("1.0", "2.0"))
    with pytest.raises(DataError, match="isn't a rigid motion"):
        open_posed(tmp_path / "b")
    transforms.write_text(transforms.read_text().replace('"w": 64', '"w": 1e999'))
    with pytest.raises(DataError, match="holds no cameras and poses"):
        open_posed(tmp_path / "b")
    transforms.write_text("[]")
    with pytest.raises(DataError, match="holds no cameras and poses"):
        open_posed(tmp_path / "b")
    write_exported(tmp_path / "c")
    (tmp_path / "c/_info.txt").write_text("m_versionNumber = 4\n")
    with pytest.raises(DataError, match="should have a line m_calibrationDepthIntrinsic"):
        open_posed(tmp_path / "c")
