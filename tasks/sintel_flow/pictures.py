"""Optical flow as pictures: hue is direction, saturation is length (Baker et al. 2011), with the wheel as legend."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torchvision.utils import flow_to_image

from croco_bench.data.transforms.color import to_uint8
from croco_bench.data.transforms.colormaps import colored
from croco_bench.types import Array, Sample

_GRAY = 96
# Diameter of the legend as a share of the shorter side; error (px) of the brightest color.
_LEGEND, _WORST_PX = 0.25, 10.0


def panels(sample: Sample, prediction: Array) -> dict[str, Array]:
    """Both images, predicted and true flow in the same colours, the endpoint error; unknown pixels are grey.

    The color wheel in a corner of the true flow is the legend; the title gives the length at its rim.
    """
    truth, valid = sample["flow_px"], sample["valid"]
    longest = _longest(truth[valid])
    guess, real = flow_colors([prediction, truth], longest)
    error = np.linalg.norm(prediction - truth, axis=2)
    return {
        "first image": to_uint8(sample["image1"]),
        "second image": to_uint8(sample["image2"]),
        f"flow, {longest:.1f} px at the rim": guess,
        "true flow": _with_legend(np.where(valid[:, :, None], real, _GRAY).astype(np.uint8), longest),
        f"error, 0 to {_WORST_PX:g} px": colored(error, (0.0, _WORST_PX), cv2.COLORMAP_INFERNO, valid),
    }


def flow_colors(flows: list[Array], longest: float) -> list[Array]:
    """Flows (H, W, 2) of one size as RGB (H, W, 3) uint8; vectors of `longest` pixels and more are fully saturated."""
    # torchvision scales by the longest vector of its input, hence one more row of vectors of that length.
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
    """98th percentile of the lengths of true vectors, at least one pixel."""
    return max(float(np.percentile(np.linalg.norm(truth, axis=1), 98)), 1.0) if truth.size else 1.0


def _with_legend(shown: Array, longest: float) -> Array:
    """Draws the color wheel into the lower right corner."""
    size = max(round(min(shown.shape[:2]) * _LEGEND), 3)
    rows, columns = np.mgrid[:size, :size]
    disc = (np.stack([columns, rows], axis=2) - (size - 1) / 2) / (size / 2) * longest
    inside = np.linalg.norm(disc, axis=2) <= longest
    corner = shown[-size:, -size:]
    corner[inside] = flow_colors([disc], longest)[0][inside]
    return shown
