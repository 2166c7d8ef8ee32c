"""HPatches' full sequences: six photographs each of a flat scene, from several places (v_) or in several lights (i_).

`H_1_n` maps pixels (x, y, 1) of 1.ppm to those of n.ppm.

Samples: `image1` and `image2` (H, W, 3) uint8 RGB, `homography` (3, 3) float64, `kind` (`viewpoint` or `illumination`), `scene`
and `id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.arrays import read_small
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.formats.layout import is_litter, require
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import AbsentError, DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

LINK = "https://github.com/hpatches/hpatches-dataset"
ARCHIVES = ("hpatches-sequences-release",)
# Sequences of each kind in the release.
SEQUENCES = {"v_": 59, "i_": 57}
# Images of a sequence; the first is the reference of the others.
IMAGES = 6
_LOOKED_AT = 5
Split = Literal["measure", "select", "test"]
# Sequences with images above 1600x1200, which D2-Net's evaluation and later ones leave out, by the split that uses them.
LARGE: dict[str, Split] = {
    "i_contruction": "select",
    "i_crownnight": "measure",
    "i_dc": "select",
    "i_pencils": "measure",
    "i_whitebuilding": "select",
    "v_artisans": "select",
    "v_astronautis": "measure",
    "v_talent": "select",
}
_KINDS = {"v_": "viewpoint", "i_": "illumination"}


class HPatchesReader:
    """The first image of each sequence with each of its others: a `croco_bench.contracts.Reader`. Opening it reads no image.

    Args:
        root: the dataset's folder.
        split: `test` are the sequences that others report; those of large images are for `measure` and `select`, which choose
            and prepare read-outs.

    Raises:
        DataError: a file is missing, a homography is damaged, or the split has no sequence.
    """

    dataset = "hpatches"
    split: str

    def __init__(self, root: Path, split: Split) -> None:
        self.split, self.miniature = split, is_miniature(root)
        self._base, names = find_sequences(root)
        self._names = [name for name in names if LARGE.get(name, "test") == split]
        if not self._names:
            which = [name for name, use in LARGE.items() if use == split]
            raise DataError(
                f"{self._base} holds none of {', '.join(which) or 'the sequences that are reported'}",
                "get the whole release: read-outs are chosen on sequences of large images, which are not reported",
            )
        numbers = range(2, IMAGES + 1)
        self._homographies = [read_homography(self._base / name / f"H_1_{n}") for name in self._names for n in numbers]
        released = [*LARGE.values()].count(split) if split != "test" else sum(SEQUENCES.values()) - len(LARGE)
        self.available = size_of_release(root, len(self), released * len(numbers))

    def __len__(self) -> int:
        return len(self._homographies)

    @property
    def groups(self) -> Sequence[str]:
        """The sequence of each pair."""
        return [name for name in self._names for _ in range(2, IMAGES + 1)]

    def __getitem__(self, index: int) -> Sample:
        homography = self._homographies[index]
        name, n = self._names[index // (IMAGES - 1)], 2 + index % (IMAGES - 1)
        return {
            "image1": read_rgb(self._base / name / "1.ppm"),
            "image2": read_rgb(self._base / name / f"{n}.ppm"),
            "homography": homography,
            "kind": _KINDS[name[:2]],
            "scene": name,
            "id": f"{name}/1 {name}/{n}",
        }

    def fingerprint(self) -> str:
        """Hash of the names of the sequences and of their homographies."""
        content = np.stack(self._homographies).tobytes()
        return fingerprint(f"{self.dataset}:{self.split}", content, "\n".join(self._names))


def find_sequences(root: Path) -> tuple[Path, list[str]]:
    """The folder of the sequences, which is `root` or that of the archive, and their sorted names.

    Raises:
        AbsentError: there is none.
        DataError: an image or a homography is missing.
    """
    for base in (root, *(root / name for name in ARCHIVES)):
        folders = [path for path in sorted(base.glob("[vi]_*")) if path.is_dir()]
        if folders:
            for folder in folders:
                present = {path.name for path in folder.iterdir() if not is_litter(path.name)}
                wanted = [f"{n}.ppm" for n in range(1, IMAGES + 1)] + [f"H_1_{n}" for n in range(2, IMAGES + 1)]
                require(folder, wanted, present, "hpatches-sequences-release.zip")
            return base, [folder.name for folder in folders]
    raise AbsentError(
        f"{root} holds no v_* or i_* folder, directly or in {ARCHIVES[0]}",
        f"croco-bench data get hpatches downloads the full sequences; {LINK} links them as well",
    )


def read_homography(path: Path) -> Array:
    """The matrix (3, 3) in a file of three lines.

    Raises:
        DataError: it can't be read, or maps no plane onto another.
    """
    try:
        matrix = np.array([float(word) for word in read_small(path).split()])
    except ValueError as error:
        raise DataError(f"{path} isn't a homography ({error})", "expected three lines of three numbers") from error
    if matrix.size != 9 or not np.isfinite(matrix).all() or not np.linalg.det(matrix.reshape(3, 3)):
        raise DataError(f"{path} isn't a homography", "expected three lines of three numbers, an invertible matrix")
    return matrix.reshape(3, 3)


def check(root: Path) -> list[Finding]:
    """Findings on the number of sequences, all homographies, and a few images."""
    return run_check(root, _look_at)


def _look_at(root: Path) -> Iterator[Finding]:
    base, names = find_sequences(root)
    counts = {kind: sum(name.startswith(kind) for name in names) for kind in SEQUENCES}
    yield Finding.count(
        is_miniature(root) or counts == SEQUENCES,
        f"{counts['v_']} sequences of viewpoints and {counts['i_']} of lights, {IMAGES} images each",
        f"the release has {SEQUENCES['v_']} and {SEQUENCES['i_']} ({LINK})",
        HPatchesReader(root, "test") if set(names) - set(LARGE) else None,
    )
    for name in names:
        for n in range(2, IMAGES + 1):
            read_homography(base / name / f"H_1_{n}")
    yield Finding(True, "all homographies are invertible")
    chosen = [base / names[i] / f"{n}.ppm" for i in spread_indices(len(names), _LOOKED_AT) for n in (1, IMAGES)]
    sides = [side for path in chosen for side in read_rgb(path).shape[:2]]
    yield Finding(True, f"sides of {len(chosen)} images are {min(sides)} to {max(sides)} pixels")
