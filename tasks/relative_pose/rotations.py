"""Rotations and directions from raw network outputs, and angular distances; all with finite gradients everywhere.

They are computed in float32 or better, whatever the network's precision.
"""

from __future__ import annotations

from typing import Literal

import roma
import torch
from torch import Tensor

Representation = Literal["svd9", "r6d", "quaternion"]
# Network outputs per rotation.
WIDTHS: dict[Representation, int] = {"svd9": 9, "r6d": 6, "quaternion": 4}
# Vectors shorter than this have no usable direction or gradient.
_TINY = 1e-6


def to_rotation(raw: Tensor, representation: Representation) -> Tensor:
    """Raw numbers (B, WIDTHS[representation]) -> rotation matrices (B, 3, 3); zeros give the identity.

    svd9: the rotation nearest to the identity plus a 3x3 matrix (Levinson 2020, without row scaling). r6d: Gram-Schmidt on
    the first two columns of the identity plus a 3x2 matrix (Zhou 2019). quaternion: x, y, z, w with 1 added to w,
    normalised. Degenerate outputs (zero vectors, parallel columns) give the identity.
    """
    raw = raw.float()
    eye = torch.eye(3, device=raw.device)
    if representation == "svd9":
        # Roma caches a constant at its first call; created in inference mode, it couldn't be used in training.
        with torch.inference_mode(False), torch.autocast(raw.device.type, enabled=False):
            found = roma.special_procrustes(eye + raw.reshape(-1, 3, 3))
    elif representation == "r6d":
        found = roma.special_gramschmidt(eye[:, :2] + raw.reshape(-1, 2, 3).mT, epsilon=_TINY)
    else:
        whole = raw + torch.eye(4, device=raw.device)[3]
        found = roma.unitquat_to_rotmat(whole / whole.norm(dim=1, keepdim=True).clamp(min=_TINY))
    degenerate = torch.linalg.det(found.detach()) < 0.5
    return torch.where(degenerate[:, None, None], eye, found)


def to_direction(raw: Tensor) -> Tensor:
    """Vectors (B, 3) -> unit vectors; vectors shorter than 1e-6 stay short."""
    raw = raw.float()
    direction: Tensor = raw / raw.norm(dim=1, keepdim=True).clamp(min=_TINY)
    return direction


def rotation_distance(one: Tensor, two: Tensor) -> Tensor:
    """Angles (B,) in radians between rotations (B, 3, 3)."""
    between = one.mT @ two
    axis = torch.stack([between[:, i, j] - between[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], dim=1)
    # By sine and cosine: the arc cosine alone has no gradient at 0 and 180 degrees, and little precision near them.
    return torch.atan2(axis.norm(dim=1) / 2, (between.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2)


def angle_between(one: Tensor, two: Tensor) -> Tensor:
    """Angles (B,) in radians between unit vectors (B, 3); 90 degrees, without a gradient, if one of them is zero."""
    sine, cosine = torch.linalg.cross(one, two).norm(dim=1), (one * two).sum(dim=1)
    void = sine + cosine.abs() < _TINY
    angle = torch.atan2(sine, torch.where(void, 1.0, cosine))
    return torch.where(void, torch.pi / 2, angle)
