"""The miniature of Taskonomy: its files agree with the geometry of the views, and with the seed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from croco_bench.data.datasets.taskonomy import DOMAINS, open_split
from croco_bench.data.miniatures.taskonomy import TaskonomyMini, write_taskonomy


def test_files_agree_with_the_geometry_of_a_view(tmp_path: Path) -> None:
    write(tmp_path, 1)
    image = cv2.imread(str(next((tmp_path / "principal_curvature").rglob("*.png"))))
    assert image is not None
    assert image.min() == 0  # the channel without meaning
    assert np.unique(image[:, :, 2]).min() == 127  # no curvature is 127, as released
    for index in range(2):
        depth, normals, reshading = (
            open_split(tmp_path, "train", domain=domain)[index]["target"]
            for domain in ("depth", "normals", "reshading")
        )
        meters = depth[:, :, 0] * 8000 / 512
        assert 0.3 < meters.min() < meters.max() < 10
        # Points by the pinhole camera (65 degrees), normals by their differences: both files tell of the same surface.
        rays_xy = (np.mgrid[0:48, 0:48][::-1] - 23.5) / (24 / np.tan(np.radians(32.5)))
        points = np.stack([rays_xy[0] * meters, rays_xy[1] * meters, meters], axis=-1)
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        normal = np.cross(down, across)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        agreement = (normal * (normals[1:-1, 1:-1] * 2 - 1) * (1, -1, -1)).sum(axis=-1)
        assert np.mean(agreement > 0.99) > 0.6
        rays = points / np.linalg.norm(points, axis=-1, keepdims=True)
        cosine = -((normals * 2 - 1) * (1, -1, -1) * rays).sum(axis=-1)
        assert np.allclose(cosine, reshading[:, :, 0], atol=0.02)


def write(folder: Path, workers: int) -> dict[str, bytes]:
    """A miniature of six views in five buildings; its files."""
    with ThreadPoolExecutor(workers) as pool:
        write_taskonomy(
            folder, TaskonomyMini(train=3, val=1, test=2, views_per_building=2, side=48), 7, pool, lambda count: None
        )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    first, second = (write(folder, workers) for folder, workers in zip(folders, (1, 3), strict=True))
    assert first == second
    assert len(first) == 3 + 6 * (len(DOMAINS) + 2)
    assert first["tiny_train.csv"].splitlines()[-1] == b"roomtrain0001,0,0"
    assert first["tiny_test.csv"].splitlines()[1:] == [b"roomtest0000,0,0", b"roomtest0001,0,0"]
