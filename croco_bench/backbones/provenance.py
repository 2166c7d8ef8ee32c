"""Which data known backbones saw in pre-training, by their papers, and how these overlap with the datasets of tasks. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from croco_bench import registry
from croco_bench.backbones import zoo

# The closest kind first: the very images, other images of the same places, other images of the same kind.
Overlap = Literal["images", "scenes", "domain"]
LEVELS: tuple[Overlap, ...] = ("images", "scenes", "domain")

# Scenes that CroCo's authors rendered with the Habitat simulator (their README on pairs from it).
_HABITAT = ("HM3D", "Habitat test scenes", "Replica", "ReplicaCAD", "ScanNet")
# CroCo v2 adds real pairs (section 3.1 of its paper).
_CROCO_V2 = (*_HABITAT, "ARKitScenes", "MegaDepth", "3DStreetView", "IndoorVL")
# Table of training sets in DUSt3R's paper; it begins with the weights of CroCo v2.
_DUST3R = (*_CROCO_V2, "ScanNet++", "BlendedMVS", "StaticThings3D", "CO3D v2", "Waymo")
_MAST3R = (*_DUST3R, "Map-free", "WildRGB-D", "Virtual KITTI", "Unreal4K", "TartanAir", "an unpublished set")
# Depth and classes of MultiMAE's images are predictions of networks trained on Omnidata and COCO.
_MULTIMAE = ("ImageNet-1K", "Omnidata (as teacher)", "COCO (as teacher)")

TRAINED_ON: dict[str, tuple[str, ...]] = {
    "croco-v1": _HABITAT,
    **dict.fromkeys(("croco-v2-vitb-small", "croco-v2-vitb-base", "croco-v2-vitl-base"), _CROCO_V2),
    **dict.fromkeys(("mae-vitb", "mae-vitl", "mae-vith"), ("ImageNet-1K",)),
    "multimae-vitb": _MULTIMAE,
    **dict.fromkeys(("dust3r-224-linear", "dust3r-512-linear", "dust3r-512-dpt"), _DUST3R),
    "mast3r-512": _MAST3R,
    **dict.fromkeys(zoo.packaged(), ("rendered rooms",)),
}

_INDOOR = (*_HABITAT, "ARKitScenes", "IndoorVL", "ScanNet++")
_OVERLAPS: dict[str, dict[str, Overlap]] = {
    "imagenet": {"ImageNet-1K": "images", "ImageNet-21K": "images", "ImageNet-22K": "images"},
    "ade20k": {"ADE20K": "images", "COCO (as teacher)": "domain"},
    "nyuv2": {"NYUv2": "images", "SUN RGB-D": "images", **dict.fromkeys(_INDOOR, "domain")},
    # Taskonomy's buildings are those of Gibson; Omnidata holds Taskonomy.
    "taskonomy": {
        **{"Taskonomy": "images", "Omnidata": "images", "Omnidata (as teacher)": "scenes", "Gibson": "scenes"},
        **dict.fromkeys(_INDOOR, "domain"),
    },
    "7scenes": {"7-Scenes": "images", **dict.fromkeys((*_INDOOR, "Map-free"), "domain")},
    "sintel": {"Sintel": "images"},
    # StaticThings3D has the objects of FlyingThings, which is no test set; Virtual KITTI and KITTI show the same streets.
    "kitti": {"KITTI": "images", "Virtual KITTI": "scenes", "Waymo": "domain"},
    "middlebury": {"Middlebury": "images"},
}


def training_data(source: str) -> tuple[str, ...] | None:
    """The datasets behind a checkpoint, by the string that named it; None: unknown, as for any local file.

    Random weights saw nothing.
    """
    if source.startswith(("random:", "classical:")):
        return ()
    for entry in zoo.ENTRIES:
        if source in (entry.name, entry.url):
            return TRAINED_ON.get(entry.name)
    return registry.backbones()[source].card.training_data if source in registry.backbones() else None


def overlap(training: Iterable[str], dataset: str) -> tuple[Overlap, str] | None:
    """The closest overlap of training sets with a dataset (its folder's name), and the set that has it; None: none known."""
    known = _OVERLAPS.get(dataset, {})
    found = [(LEVELS.index(known[name]), name) for name in training if name in known]
    if not found:
        return None
    level, name = min(found, key=lambda item: item[0])
    return LEVELS[level], name
