"""Taskonomy's files: the arrangements of folders that tools make, and which files say what pixels are valid."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from croco_bench.data.formats.layout import is_litter
from croco_bench.errors import DataError

LINK = "https://github.com/StanfordVL/taskonomy/tree/master/data"
IMAGE = "rgb"
# Depth and invalid pixels of one view share a file name.
MASK, DEPTH = "mask_valid", "depth_zbuffer"

# "tasks": domains hold buildings (MultiMAE); "omnidata": with a folder `taskonomy` between (Omnidata's tool); "buildings":
# buildings hold domains (as released); "archives": each archive is unpacked into a folder of its name.
KnownLayout = Literal["tasks", "omnidata", "buildings", "archives"]
MaskSource = Literal["mask_valid", "depth"]
TITLES: dict[KnownLayout, str] = {
    "tasks": "domains that hold buildings",
    "omnidata": "domains that hold a folder taskonomy of buildings",
    "buildings": "buildings that hold domains",
    "archives": "a folder for each archive <building>_<domain>.tar",
}


def folder_of(root: Path, layout: KnownLayout, domain: str, building: str) -> Path:
    """The folder with the files of one domain of one building."""
    match layout:
        case "tasks":
            return root / domain / building
        case "omnidata":
            return root / domain / "taskonomy" / building
        case "buildings":
            return root / building / domain
        case "archives":
            return root / f"{building}_{domain}" / domain


def layout_of(root: Path) -> KnownLayout:
    """The layout under `root`.

    Raises:
        DataError: none is recognized.
    """
    if (root / IMAGE / "taskonomy").is_dir():
        return "omnidata"
    if (root / IMAGE).is_dir():
        return "tasks"
    if any(root.glob(f"*_{IMAGE}/{IMAGE}")):
        return "archives"
    if any(root.glob(f"*/{IMAGE}")):
        return "buildings"
    tars = sorted(path for path in root.glob("*.tar") if not is_litter(path.name))
    if tars:
        raise DataError(
            f"{root} holds archives such as {tars[0].name}",
            f"unpack each <building>_<domain>.tar into {root}/<building>/: it has a folder <domain>",
        )
    raise DataError(
        f"{root} has neither rgb/<building>/ nor <building>/rgb/, nor rgb/taskonomy/<building>/, nor <building>_rgb/rgb/",
        f"get Taskonomy from {LINK}",
    )


def has_domain(root: Path, layout: KnownLayout, domain: str) -> bool:
    """Whether any building has a folder of this domain."""
    return any(root.glob(folder_of(Path(), layout, domain, "*").as_posix()))


def mask_source(root: Path, layout: KnownLayout) -> MaskSource:
    """Masks if there is a folder of them, otherwise depth. Taskonomy was released without masks."""
    return "mask_valid" if has_domain(root, layout, MASK) else "depth"
