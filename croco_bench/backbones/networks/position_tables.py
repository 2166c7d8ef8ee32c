"""Absolute position tables: 2D sines and cosines, and resampling to another grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.backbones.networks.architecture import Grid
from croco_bench.backbones.networks.facts import Resampling


def sincos(width: int, grid: Grid) -> Tensor:
    """Fixed table (h*w, width) of MAE and CroCo: the first half of the channels encodes the column, the second the row.

    Each half is [sin, cos] with width/4 frequencies 10000^(-4i/width).
    """
    quarter = width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    halves = []
    for coordinates in (columns, rows):
        angles = coordinates.reshape(-1, 1) * frequency
        halves += [angles.sin(), angles.cos()]
    return torch.cat(halves, dim=1).float()


def resample(table: Tensor, source: Grid, target: Grid, how: Resampling = "bicubic") -> Tensor:
    """Resamples a table (h*w, C) from grid `source` to grid `target`, without aligned corners.

    Args:
        table: of `source`.
        source: grid of the table. If it is `target`, the table itself is returned.
        target: grid of the result.
        how: `bicubic`: as MAE, CroCo and MultiMAE do it; `antialiased`: with a low-pass filter where the table shrinks, as
            in timm and in DINOv2 with registers; `offset`: unfiltered, as in DINOv2 without registers, whose step is
            computed from `target` + 0.1, so that it is a little shorter than source / target.
    """
    if source == target:
        return table
    image = table.reshape(1, *source, -1).permute(0, 3, 1, 2)
    if how == "offset":
        factors = [(there + 0.1) / here for here, there in zip(source, target, strict=True)]
        resized = F.interpolate(image, scale_factor=factors, mode="bicubic")
    else:
        resized = F.interpolate(image, size=target, mode="bicubic", antialias=how == "antialiased")
    return resized.permute(0, 2, 3, 1).reshape(target[0] * target[1], -1)
