"""From raw network outputs to rotations and translations, and how far these are from the truth; finite gradients everywhere.

All of it in float32 at least, whatever the network runs in.
"""

from __future__ import annotations

from typing import Literal

import roma
import torch
from torch import Tensor

Rotation = Literal["svd9", "r6d", "quaternion"]
# How many numbers stand for a rotation.
WIDTHS: dict[Rotation, int] = {"svd9": 9, "r6d": 6, "quaternion": 4}
# Below this length (or condition) a vector has no direction that could be trusted, nor a gradient that could be followed.
_TINY = 1e-6


def to_rotation(raw: Tensor, code: Rotation) -> Tensor:
    """Raw numbers (B, WIDTHS[code]) -> rotation matrices (B, 3, 3). Zeros are the identity: no motion is where training starts.

    svd9: the rotation that is nearest to the identity plus a matrix (Levinson 2020, without scaling of the rows). r6d:
    Gram-Schmidt on the first two columns of it (Zhou 2019). quaternion: x, y, z, w with 1 added to w, normalised. Where
    that gives no rotation (zeros, parallel columns), it is the identity.
    """
    raw = raw.float()
    eye = torch.eye(3, device=raw.device)
    if code == "svd9":
        # Roma keeps a constant from its first call, which training can't use if it was made in inference mode.
        with torch.inference_mode(False), torch.autocast(raw.device.type, enabled=False):
            found = roma.special_procrustes(eye + raw.reshape(-1, 3, 3))
    elif code == "r6d":
        found = roma.special_gramschmidt(eye[:, :2] + raw.reshape(-1, 2, 3).mT, epsilon=_TINY)
    else:
        whole = raw + raw.new_tensor([0.0, 0.0, 0.0, 1.0])
        found = roma.unitquat_to_rotmat(whole / whole.norm(dim=1, keepdim=True).clamp(min=_TINY))
    degenerate = torch.linalg.det(found.detach()) < 0.5
    return torch.where(degenerate[:, None, None], eye, found)


def to_direction(raw: Tensor) -> Tensor:
    """Vectors (B, 3) -> unit vectors; those of no length stay as short as they are."""
    raw = raw.float()
    direction: Tensor = raw / raw.norm(dim=1, keepdim=True).clamp(min=_TINY)
    return direction


def rotation_distance(one: Tensor, two: Tensor) -> Tensor:
    """Angles (B,) in radians of the rotations between two (B, 3, 3)."""
    between = one.mT @ two
    axis = torch.stack([between[:, i, j] - between[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], dim=1)
    # The sine and the cosine together: the arc cosine alone has no gradient at 0 and half a turn, and no digits near them.
    return torch.atan2(axis.norm(dim=1) / 2, (between.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2)


def angle_between(one: Tensor, two: Tensor) -> Tensor:
    """Angles (B,) in radians between unit vectors (B, 3); a quarter turn, without gradient, where one of them is zero."""
    sine, cosine = torch.linalg.cross(one, two).norm(dim=1), (one * two).sum(dim=1)
    void = sine + cosine.abs() < _TINY
    angle = torch.atan2(sine, torch.where(void, 1.0, cosine))
    return torch.where(void, torch.pi / 2, angle)
