"""NAVI's own pairs for correspondence, `custom_splits/pairwise_pixel_correspondences/pairs-{wild_set,multiview}.txt`.

A line holds the paths of two images of one collection and the angle between their cameras in degrees, which isn't used: it
follows from the poses.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from croco_bench.data.datasets.correspondence.navi import NaviReader, NaviView, find_objects, read_annotations
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.arrays import read_small
from croco_bench.errors import DataError

Listed = Literal["wild_set", "multiview"]
FOLDER = "custom_splits/pairwise_pixel_correspondences"
_UNPACK = "unpack custom_splits of NAVI's release beside its objects, or leave it out of task.also"


class NaviListedPairs(NaviReader):
    """The pairs of a list, in order: a `croco_bench.contracts.Reader` with the samples of `NaviReader`.

    Raises:
        DataError: the list is missing, empty or damaged, or names an image that no annotation describes.
    """

    def __init__(self, root: Path, collections: Listed) -> None:
        self.split, self.miniature = f"pairs-{collections}", is_miniature(root)
        self._base, _ = find_objects(root)
        path = self._base / FOLDER / f"pairs-{collections}.txt"
        views: dict[str, dict[str, NaviView]] = {}
        self._pairs = [
            (first.parts[0], self._view(first, views, path), self._view(second, views, path))
            for first, second in _read(path)
        ]
        self.available = len(self._pairs)

    def _view(self, image: PurePosixPath, views: dict[str, dict[str, NaviView]], listing: Path) -> NaviView:
        """The annotation of an image `<object>/<collection>/images/<name>`; `views` holds those that are read already."""
        folder = "/".join(image.parts[:2])
        if folder not in views:
            views[folder] = {view.name: view for view in read_annotations(self._base, folder)}
        if image.stem not in views[folder]:
            raise DataError(f"{listing} names {image}, which {folder}/annotations.json doesn't describe", _UNPACK)
        return views[folder][image.stem]


def _read(path: Path) -> list[tuple[PurePosixPath, PurePosixPath]]:
    """The images of each pair, `<object>/<collection>/images/<name>`, whatever folders stand before them."""
    try:
        lines = read_small(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} isn't a list of pairs ({error})", _UNPACK) from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        images = [PurePosixPath(*PurePosixPath(word).parts[-4:]) for word in words[:2]]
        if len(words) != 3 or any(len(image.parts) != 4 or image.parts[2] != "images" for image in images):
            raise DataError(
                f"{path}, line {number}: expected two paths <object>/<collection>/images/<name> and an angle, but found "
                f"{line[:80]!r}",
                _UNPACK,
            )
        pairs.append((images[0], images[1]))
    if not pairs:
        raise DataError(f"{path} lists no pairs", _UNPACK)
    return pairs
