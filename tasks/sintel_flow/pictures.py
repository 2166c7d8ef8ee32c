"""Optical flow as pictures: directions as hues, lengths as saturation (Baker et al. 2011), with the wheel as legend."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torchvision.utils import flow_to_image

from croco_bench.data.transforms.colormaps import colored
from croco_bench.tasks.matching.classical import picture
from croco_bench.types import Array, Sample

_GRAY = 96
# The legend's diameter as a share of the picture's shorter side; the error that a picture shows at its brightest.
_LEGEND, _WORST_PX = 0.25, 10.0


def panels(sample: Sample, prediction: Array) -> dict[str, Array]:
    """Both images, predicted and true flow in the same colours, the endpoint error; unknown pixels are grey.

    The wheel in the truth's corner shows what the colours mean; at its rim is the length that the title tells.
    """
    truth, valid = sample["flow_px"], sample["valid"]
    longest = _longest(truth[valid])
    guess, real = flow_colors([prediction, truth], longest)
    error = np.linalg.norm(prediction - truth, axis=2)
    return {
        "first image": picture(sample["image1"]),
        "second image": picture(sample["image2"]),
        f"flow, {longest:.1f} px at the rim": guess,
        "true flow": _with_legend(np.where(valid[:, :, None], real, _GRAY).astype(np.uint8), longest),
        f"error, 0 to {_WORST_PX:g} px": colored(error, (0.0, _WORST_PX), cv2.COLORMAP_INFERNO, valid),
    }


def flow_colors(flows: list[Array], longest: float) -> list[Array]:
    """Flows (H, W, 2) of one size as RGB (H, W, 3) uint8; vectors of `longest` pixels and more are fully saturated."""
    # The library takes the longest vector of what it is given as its measure: a row of such vectors, cut off again.
    scale = np.zeros((1, flows[0].shape[1], 2), np.float32)
    scale[..., 0] = longest
    canvas = torch.from_numpy(np.concatenate([_cut(flow, longest) for flow in flows] + [scale])).float()
    colors = flow_to_image(canvas.permute(2, 0, 1)).permute(1, 2, 0).numpy()
    return np.split(colors[:-1], len(flows))


def _cut(flow: Array, longest: float) -> Array:
    length = np.linalg.norm(flow, axis=2, keepdims=True)
    cut: Array = flow * np.minimum(1.0, longest / np.maximum(length, 1e-9))
    return cut


def _longest(truth: Array) -> float:
    """The length that 98 % of the true vectors don't exceed, at least a pixel."""
    return max(float(np.percentile(np.linalg.norm(truth, axis=1), 98)), 1.0) if truth.size else 1.0


def _with_legend(shown: Array, longest: float) -> Array:
    """The wheel of colours in the lower right corner."""
    size = max(round(min(shown.shape[:2]) * _LEGEND), 3)
    rows, columns = np.mgrid[:size, :size]
    disc = (np.stack([columns, rows], axis=2) - (size - 1) / 2) / (size / 2) * longest
    inside = np.linalg.norm(disc, axis=2) <= longest
    corner = shown[-size:, -size:]
    corner[inside] = flow_colors([disc], longest)[0][inside]
    return shown
