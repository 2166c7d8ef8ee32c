"""The dataset: its reader, its check, and a miniature that is drawn. Samples: `image` (H, W, 3) uint8, `label`, `id`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

CLASSES = ("1", "2", "3")


class ShapesReader:
    """All images of a split, sorted by name; each is a group of its own."""

    dataset = "shapes"

    def __init__(self, root: Path, split: str) -> None:
        self.split, self.miniature = split, is_miniature(root)
        self._paths = sorted((root / split).glob("[123]/*.png"))
        if not self._paths:
            raise DataError(f"{root / split} holds no [123]/*.png", "croco-bench data make-mini DIR --only shapes")
        self.available = len(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def groups(self) -> Sequence[str]:
        """The images' names."""
        return [f"{path.parent.name}/{path.name}" for path in self._paths]

    def __getitem__(self, index: int) -> Sample:
        path, name = self._paths[index], self.groups[index]
        with Image.open(path) as image:
            return {"image": np.array(image.convert("RGB")), "label": CLASSES.index(path.parent.name), "id": name}

    def fingerprint(self) -> str:
        """Hash of the split, names and sizes."""
        listing = [f"{name}:{path.stat().st_size}" for name, path in zip(self.groups, self._paths, strict=True)]
        return fingerprint("\n".join([self.split, *listing]))


def check(root: Path) -> list[Finding]:
    """What `croco-bench data check shapes` prints."""
    return run_check(root, lambda folder: [_count(folder, split) for split in ("train", "test")])


def _count(root: Path, split: str) -> Finding:
    return Finding(True, f"{split}: {len(ShapesReader(root, split))} images")


@dataclass(frozen=True)
class ShapesMini:
    """Images per class and split, and their side in pixels."""

    train: int = 40
    test: int = 20
    side: int = 64


def _write(root: Path, settings: ShapesMini, seed: int, pool: Executor, advance: Advance) -> None:
    jobs = [
        (split, name, i) for split in ("train", "test") for name in CLASSES for i in range(getattr(settings, split))
    ]
    for split, name, i in jobs:
        path = root / split / name / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, split == "test", int(name), i])
        _draw(int(name), settings.side, rng).save(path)
        advance(1)


def _draw(count: int, side: int, rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (side, side), tuple(int(value) for value in rng.integers(0, 100, 3)))
    radius = side // 8
    for k in range(count):
        column, row = (k + 0.5) * side / count, rng.uniform(radius, side - radius)
        box = (column - radius, row - radius, column + radius, row + radius)
        ImageDraw.Draw(image).ellipse(box, fill=tuple(int(value) for value in rng.integers(150, 256, 3)))
    return image


def _items(settings: ShapesMini) -> int:
    return len(CLASSES) * (settings.train + settings.test)


MINIATURES = {"shapes": Miniature("shapes", _write, ShapesMini(), ShapesMini(6, 3, 32), _items)}
