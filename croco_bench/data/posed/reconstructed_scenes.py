"""Scenes with a reconstruction in one file: ScanNet++'s `dslr` and `iphone` folders, and COLMAP's own folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from croco_bench.data.posed.reconstruction import View, read_colmap, read_transforms
from croco_bench.data.posed.video import ListedSequence, PosedFrame, depth_size
from croco_bench.errors import AbsentError, DataError

# Where models, images and depth maps lie; the first that is there counts.
_MODELS = ("colmap", "colmap/sparse/0", "sparse/0", "sparse")
_IMAGES = ("images", "rgb", "resized_images")
_DEPTHS = ("render_depth", "depth", "depths")
# ScanNet++'s toolkit undistorts images to a pinhole camera, whose poses it writes as JSON; depth maps can be undistorted with it.
_UNDISTORTED = ("nerfstudio/transforms_undistorted.json", "resized_undistorted_images", "undistorted_images")
_UNDISTORTED_DEPTHS = (
    "resized_undistorted_depths",
    "undistorted_depths",
    "undistorted_depth",
    "render_depth_undistorted",
)
_DEVICES = ("dslr", "iphone")
# Poses of ARKit in a folder `iphone` of ScanNet++. Poses are read from COLMAP's model, which ScanNet++ has of the same frames.
_ARKIT = "pose_intrinsic_imu.json"


def open_reconstruction(folder: Path, name: str) -> ListedSequence | None:
    """The images of a reconstruction at `folder` as a sequence; None if there is no reconstruction.

    Raises:
        AbsentError: there is no folder of images or of depth maps, or no model beside ARKit's poses.
        DataError: it is damaged, its cameras aren't pinhole cameras, or single images or depth maps are missing.
    """
    images, depths = _present(folder, _IMAGES), _present(folder, _DEPTHS)
    if (folder / _UNDISTORTED[0]).is_file() and (undistorted := _present(folder, _UNDISTORTED_DEPTHS)):
        views, images, depths = (
            read_transforms(folder / _UNDISTORTED[0]),
            _present(folder, _UNDISTORTED[1:]),
            undistorted,
        )
    elif model := next((path for path in _MODELS if _holds_model(folder / path)), None):
        views = read_colmap(folder / model)
    elif (folder / _ARKIT).is_file():
        raise AbsentError(
            f"{folder} has ARKit's poses ({_ARKIT}), but no COLMAP model (colmap/cameras.txt and images.txt), which poses are "
            "read from",
            "download the scene's iphone/colmap, which is a part of ScanNet++",
        )
    else:
        return None
    if images is None or depths is None:
        what, wanted = ("images", _IMAGES) if images is None else ("depth maps", _DEPTHS)
        raise AbsentError(
            f"{folder} has poses, but no folder of {what} ({', '.join(wanted)})",
            "ScanNet++'s toolkit writes them: python -m common.render renders depth maps (uint16, millimetres), "
            "python -m iphone.prepare_iphone_data unpacks the video and depth.bin",
        )
    frames = _frames(images, depths, views)
    scene = name.rpartition("/")[0] if folder.name in _DEVICES and "/" in name else name
    return ListedSequence(
        folder,
        name,
        scene,
        None,
        "COLMAP",
        tuple(range(len(frames))),
        ".png",
        frames[0].K,
        frames[0].size,
        frames=frames,
    )


def _present(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _holds_model(folder: Path) -> bool:
    return any((folder / f"images.{ending}").is_file() for ending in ("txt", "bin"))


def _frames(images: Path, depths: Path, views: Sequence[View]) -> tuple[PosedFrame, ...]:
    """The frames of all views.

    Raises:
        DataError: there is none, or one lacks its image or depth map.
    """
    paths = [(images / view.name, depths / Path(view.name).with_suffix(".png")) for view in views]
    missing = [path for pair in paths for path in pair if not path.is_file()]
    if missing or not views:
        lacking = f"{len(missing)} files of {len(views)} views are missing" if views else "its model has no images"
        raise DataError(f"there is no {missing[0] if missing else images}: {lacking}", "unpack or render all of them")
    sizes = {view.camera.size: depth_size(depth) for view, (_, depth) in reversed(list(zip(views, paths, strict=True)))}
    return tuple(
        PosedFrame(image, depth, view.camera.resized(sizes[view.camera.size]), view.cam2world, sizes[view.camera.size])
        for view, (image, depth) in zip(views, paths, strict=True)
    )
