"""Cameras and poses of reconstructions: COLMAP's models, as text or binary, and the JSON of NeRF tools."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.posed.matrices import is_rigid
from croco_bench.errors import DataError
from croco_bench.files import parse_json
from croco_bench.types import Array, Size

# COLMAP's camera models in the order of their numbers, with their numbers of parameters.
_MODELS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
}
# A camera counts as a pinhole camera if its distortion moves no corner by more than this share of the width: two pixels in a
# depth map of 640, as much as ScanNet's images differ from its depth maps.
_LARGEST_SHIFT = 2 / 640


# A camera as it is stored: model, (H, W), parameters.
_Model = tuple[str, Size, Sequence[float]]


class Camera(NamedTuple):
    """A pinhole camera: intrinsics (3, 3), with (0, 0) in the centre of the first pixel, and the size (H, W) of its images."""

    K: Array
    size: Size

    def resized(self, size: Size) -> Array:
        """Intrinsics (3, 3) for images of another size with the same field of view."""
        down, across = size[0] / self.size[0], size[1] / self.size[1]
        K = np.diag([across, down, 1.0]) @ self.K
        K[:2, 2] += (0.5 * across - 0.5, 0.5 * down - 0.5)
        return K


class View(NamedTuple):
    """A registered image: its name, camera, and pose (4, 4), camera to world, OpenCV axes."""

    name: str
    camera: Camera
    cam2world: Array


def read_colmap(folder: Path) -> list[View]:
    """The images of a COLMAP model, sorted by name: `cameras` and `images`, both .txt or both .bin.

    Raises:
        DataError: a file is missing or damaged, a pose isn't finite, or a camera is no pinhole camera.
    """
    binary = (folder / "images.bin").is_file() and not (folder / "images.txt").is_file()
    paths = [folder / f"{name}.{'bin' if binary else 'txt'}" for name in ("cameras", "images")]
    try:
        if binary:
            with paths[0].open("rb") as cameras, paths[1].open("rb") as images:
                known = dict(_binary_cameras(cameras))
                views = list(_binary_images(images))
        else:
            known = dict(_text_cameras(_lines(paths[0])))
            views = list(_text_images(_lines(paths[1])))
        used = {number: _pinhole(paths[0], number, *known[number]) for number in {view[1] for view in views}}
    except OSError as error:
        raise DataError(
            f"there is no readable {error.filename} ({error.strerror})", "it is a part of a COLMAP model"
        ) from error
    except (ValueError, LookupError, struct.error) as error:
        raise DataError(
            f"{folder} holds no whole COLMAP model ({error})", "it is truncated, or of another kind"
        ) from error
    return sorted(
        (View(name, used[number], _cam2world(paths[1], name, pose)) for name, number, pose in views),
        key=lambda view: view.name,
    )


def read_transforms(path: Path) -> list[View]:
    """The images of a JSON file of Nerfstudio with one pinhole camera, sorted by name; its camera axes are OpenGL's.

    Raises:
        DataError: it can't be read, has no pinhole camera, or a pose isn't a rigid motion.
    """
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
        frames = [*facts["frames"], *facts.get("test_frames", ())]
        parameters = [float(facts[key]) for key in ("fl_x", "fl_y", "cx", "cy")]
        size = int(facts["h"]), int(facts["w"])
        poses = [(str(frame["file_path"]), np.array(frame["transform_matrix"], dtype=np.float64)) for frame in frames]
    except OSError as error:
        raise DataError(f"there is no readable {path} ({error.strerror})", "it has the poses") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} holds no cameras and poses ({error})", "it is damaged, or of another kind") from error
    shift = [float(facts.get(key) or 0) for key in ("k1", "k2", "p1", "p2")]
    model = str(facts.get("camera_model", "PINHOLE"))
    # The four numbers are focal lengths and principal point in every model of this file.
    model = "OPENCV" if model in ("PINHOLE", "SIMPLE_PINHOLE") else model
    camera = _pinhole(path, 1, model, size, [*parameters, *shift])
    to_opencv = np.diag([1.0, -1.0, -1.0, 1.0])
    views = [
        View(name, camera, _rigid(path, name, pose @ to_opencv if pose.shape == (4, 4) else pose))
        for name, pose in poses
    ]
    return sorted(views, key=lambda view: view.name)


def _pinhole(path: Path, number: int, model: str, size: Size, parameters: Sequence[float]) -> Camera:
    """The camera of a model whose distortion is too small to matter.

    Raises:
        DataError: it is no pinhole camera.
    """
    single = model.startswith(("SIMPLE", "RADIAL"))
    fx, fy, cx, cy = (parameters[0], *parameters[:3]) if single else parameters[:4]
    rest = parameters[3 if single else 4 :]
    if not np.isfinite(parameters).all() or min(fx, fy, *size) <= 0:
        raise DataError(f"{path}: camera {number} has focal lengths {fx:g} and {fy:g}", "it should be a pinhole camera")
    moved = _largest_shift(model, (fx, fy, cx, cy), size, rest)
    if moved > _LARGEST_SHIFT * size[1]:
        what = f"moves a corner by {moved:.0f} pixels" if np.isfinite(moved) else "isn't a pinhole camera"
        raise DataError(
            f"{path}: camera {number} is {model}, which {what}",
            "undistort images and depth maps to a pinhole camera first (COLMAP's image_undistorter, ScanNet++'s toolkit)",
        )
    return Camera(np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]), size)


def _largest_shift(model: str, pinhole: Sequence[float], size: Size, rest: Sequence[float]) -> float:
    """How far the distortion moves a corner, in pixels; infinite for models other than radial and tangential ones."""
    if model in ("SIMPLE_PINHOLE", "PINHOLE") or not np.any(rest):
        return 0.0 if "FISHEYE" not in model and model != "FOV" else np.inf
    if model not in ("SIMPLE_RADIAL", "RADIAL", "OPENCV"):
        return np.inf
    fx, fy, cx, cy = pinhole
    k1, k2, p1, p2 = [*rest, 0.0, 0.0, 0.0, 0.0][:4]
    x, y = (np.array([0, size[1], 0, size[1]]) - cx) / fx, (np.array([0, 0, size[0], size[0]]) - cy) / fy
    square = x**2 + y**2
    radial = k1 * square + k2 * square**2
    across = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    down = y * radial + 2 * p2 * x * y + p1 * (square + 2 * y**2)
    return float(np.hypot(fx * across, fy * down).max())


def _cam2world(path: Path, name: str, numbers: Sequence[float]) -> Array:
    """From qw, qx, qy, qz, tx, ty, tz of the motion from world to camera."""
    if not np.isfinite(numbers).all() or not np.any(numbers[:4]):
        raise DataError(f"{path} has a pose of {name} that isn't finite", "leave the image out of the model")
    pose = np.eye(4)
    rotation = Rotation.from_quat(np.array(numbers[:4])[[1, 2, 3, 0]]).as_matrix()
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ np.array(numbers[4:])
    return pose


def _rigid(path: Path, name: str, pose: Array) -> Array:
    if pose.shape != (4, 4) or not is_rigid(pose):
        raise DataError(f"{path} has a pose of {name} that isn't a rigid motion of 4x4 numbers", "leave the image out")
    return pose


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _text_cameras(lines: Sequence[str]) -> Iterator[tuple[int, _Model]]:
    for line in lines:
        if words := line.split():
            number, model, width, height, *parameters = words
            _require_parameters(model, len(parameters))
            yield int(number), (model, (int(height), int(width)), [float(word) for word in parameters])


def _text_images(lines: Sequence[str]) -> Iterator[tuple[str, int, list[float]]]:
    """Every other line; those between them list points and may be empty."""
    for line in lines[::2]:
        if line.strip():
            _, *numbers, camera, name = line.split(maxsplit=9)
            yield name.strip(), int(camera), [float(number) for number in numbers]


def _require_parameters(model: str, count: int) -> None:
    if _MODELS.get(model) != count:
        raise ValueError(f"a camera of the model {model} with {count} parameters")


def _binary_cameras(stream: BinaryIO) -> Iterator[tuple[int, _Model]]:
    names = list(_MODELS)
    for _ in range(int(_unpack(stream, "<Q")[0])):
        number, model, width, height = _unpack(stream, "<iiQQ")
        name = names[int(model)]
        parameters = [float(one) for one in _unpack(stream, f"<{_MODELS[name]}d")]
        yield int(number), (name, (int(height), int(width)), parameters)


def _binary_images(stream: BinaryIO) -> Iterator[tuple[str, int, list[float]]]:
    for _ in range(int(_unpack(stream, "<Q")[0])):
        _, *numbers, camera = _unpack(stream, "<i7di")
        name = b""
        while (letter := stream.read(1)) not in (b"\0", b""):
            name += letter
        (points,) = _unpack(stream, "<Q")
        stream.seek(24 * int(points), 1)
        yield name.decode("utf-8"), int(camera), [float(number) for number in numbers]


def _unpack(stream: BinaryIO, kind: str) -> tuple[float, ...]:
    return struct.unpack(kind, stream.read(struct.calcsize(kind)))
