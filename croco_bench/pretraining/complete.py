"""Completes hidden patches of one's own images from a second view, with the true and with a wrong reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from croco_bench.backbones.load import load_backbone
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.data.pairs import FilePair
from croco_bench.data.rooms.endless import EndlessRooms
from croco_bench.data.transforms.color import to_unit
from croco_bench.engine import devices
from croco_bench.engine.figures import draw_sheet
from croco_bench.errors import CheckpointError, DataError, FitError, UsageError
from croco_bench.pretraining.checkpoint import PretrainingFile, read_pretraining
from croco_bench.pretraining.completion import CrossViewCompletion, CrossViewOptions
from croco_bench.pretraining.objective import Tensors
from croco_bench.pretraining.start import fill_extra
from croco_bench.pretraining.transforms import Augmentation
from croco_bench.pretraining.validation import to_pictures, visible_only
from croco_bench.seeding import make_rng
from croco_bench.types import Size

_USUAL_SIZE = (224, 224)


@dataclass(frozen=True)
class Completion:
    """Mean error over hidden patches of one view, completed from the true and from a wrong reference."""

    error: float
    error_wrong: float

    @property
    def ratio(self) -> float:
        """Well below 1 where the network looks at the reference."""
        return self.error / self.error_wrong


def complete(
    images: tuple[Path, Path],
    ckpt: str,
    out: Path,
    *,
    wrong: Path | None = None,
    image_size: Size | None = None,
    mask_ratio: float = 0.9,
    seed: int = 0,
    device: str = "auto",
) -> list[Completion]:
    """Draws each image completed from the other into `out`, and from a wrong reference beside it.

    Args:
        images: two views of one place; their central squares are used.
        ckpt: a CroCo checkpoint that still has its mask token and prediction head.
        out: the PNG file.
        wrong: the wrong reference; default: a rendered room.
        image_size: (H, W) of the network; default: that of its pre-training.
        mask_ratio: share of hidden patches.
        seed: of the masks.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.

    Returns:
        The errors of each image.

    Raises:
        BenchError: an image or the checkpoint can't be read, or the checkpoint can't complete images.
    """
    for path in (*images, *([wrong] if wrong else [])):
        if not path.is_file():
            raise DataError(f"there is no image {path}", "check the path")
    if not 0 < mask_ratio < 1:
        raise UsageError(f"a mask ratio of {mask_ratio:g} hides all patches or none", "give one between 0 and 1")
    place = devices.start(device, "fp32", seed).device
    pair = FilePair(images)
    views = [pair.image(number) for number in (1, 2)]
    other = None if wrong is None else FilePair((wrong, wrong)).image(1)
    file = read_pretraining(ckpt)
    size = image_size or file.image_size or _USUAL_SIZE
    objective = _objective(ckpt, file, size, mask_ratio).to(place).eval()
    other = EndlessRooms(max(size), seed=seed)[0]["pair"].image(1) if other is None else other
    first, second, third = (_tensor(view, objective) for view in (*views, other))
    rows, found = [], list[Completion]()
    for number, (view, reference) in enumerate(((first, second), (second, first))):
        visible = objective.sample_mask(make_rng(seed, "complete", number))["visible"][None].to(view.device)
        panels, errors = _completed(objective, {"view1": view, "view2": reference, "visible": visible}, third)
        rows.append((images[number].name, panels))
        found.append(errors)
    ratios = ", ".join(f"{one.error:.3f} / {one.error_wrong:.3f} = {one.ratio:.2f}" for one in found)
    draw_sheet(out, rows, f"{objective.backbone.name}: error / error with the wrong reference: {ratios}")
    return found


def _objective(ckpt: str, file: PretrainingFile, size: Size, mask_ratio: float) -> CrossViewCompletion:
    backbone = load_backbone(ckpt, image_size=size)
    if type(backbone) is not CroCo:
        raise FitError(
            f"{ckpt} is no CroCo network ({backbone.family})", "completion needs both views and CroCo's decoder"
        )
    normalise = bool(file.settings.get("croco", {}).get("normalise", True))
    objective = CrossViewCompletion(backbone, CrossViewOptions(mask_ratio, normalise))
    lacking = fill_extra(objective, file)
    if lacking:
        raise CheckpointError(
            f"{ckpt} can't complete images: it has no {' and no '.join(lacking)}, only the backbone",
            "give a file with both: mini-croco, a released one such as croco-v2-vitb-base, or what pretrain writes",
        )
    return objective


def _tensor(image: Any, objective: CrossViewCompletion) -> torch.Tensor:
    """The middle of an image, resized and normalised: (1, 3, H, W)."""
    backbone = objective.backbone
    height, width = backbone.image_size
    fit = max(height / image.shape[0], width / image.shape[1])
    scaled = (max(round(image.shape[1] * fit), width), max(round(image.shape[0] * fit), height))
    resized = cv2.resize(image, scaled, interpolation=cv2.INTER_AREA if fit < 1 else cv2.INTER_CUBIC)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    pixels = (to_unit(np.ascontiguousarray(Augmentation(backbone.image_size).center_crop(resized))) - mean) / std
    return pixels[None].to(objective.mask_token.device)


def _completed(
    objective: CrossViewCompletion, batch: Tensors, wrong: torch.Tensor
) -> tuple[dict[str, Any], Completion]:
    """One row of the sheet, and the errors."""
    astray = {**batch, "view2": wrong}
    with torch.inference_mode():
        errors = Completion(float(objective(batch)), float(objective(astray)))
        title = "\n(patch mean, contrast: target's)" if objective.options.normalise else ""
        pictures = {
            "visible": visible_only(batch, objective.backbone.patch_size),
            "reference": batch["view2"],
            f"completed{title}": objective.reconstruct(batch)["view1"],
            "wrong reference": wrong,
            f"completed from it{title}": objective.reconstruct(astray)["view1"],
            "target": batch["view1"],
        }
    return {name: to_pictures(tensor, objective)[0] for name, tensor in pictures.items()}, errors
