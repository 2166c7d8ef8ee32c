"""Rotations from raw numbers: the right ones, and gradients that are finite everywhere."""

from typing import Any

import numpy as np
import pytest
import roma
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.tasks.relative_pose.rotations import (
    WIDTHS,
    Representation,
    angle_between,
    rotation_distance,
    to_direction,
    to_rotation,
)

REPRESENTATIONS = pytest.mark.parametrize("representation", list(WIDTHS))
EYE = torch.eye(3)


def rotations(count: int, seed: int = 0) -> Tensor:
    found: Tensor = roma.unitquat_to_rotmat(
        F.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)))
    )
    return found


def encoded(rotation: Tensor, representation: Representation, scale: float = 1.0) -> Tensor:
    """Raw numbers (B, WIDTHS[representation]) that stand for rotations (B, 3, 3), written out by hand."""
    if representation == "svd9":
        return (scale * rotation - EYE).flatten(1)
    if representation == "r6d":
        return torch.cat([scale * rotation[:, :, 0] - EYE[0], 3 * scale * rotation[:, :, 1] - EYE[1]], dim=1)
    quaternion: Tensor = scale * roma.rotmat_to_unitquat(rotation) - torch.tensor([0.0, 0.0, 0.0, 1.0])
    return quaternion


@REPRESENTATIONS
def test_zeros_are_the_identity_and_every_rotation_has_numbers(representation: Representation) -> None:
    assert torch.equal(to_rotation(torch.zeros(2, WIDTHS[representation]), representation), EYE.expand(2, 3, 3))
    truth = rotations(200)
    for scale in (1.0, 0.3, 40.0):
        raw = encoded(truth, representation, scale)
        assert raw.shape == (200, WIDTHS[representation])
        torch.testing.assert_close(to_rotation(raw, representation), truth, atol=2e-5, rtol=0)


@REPRESENTATIONS
def test_any_numbers_give_a_rotation(representation: Representation) -> None:
    torch.manual_seed(0)
    for scale in (1e-8, 1e-3, 1.0, 1e3, 1e9):
        found = to_rotation(scale * torch.randn(100, WIDTHS[representation]), representation)
        torch.testing.assert_close(found @ found.mT, EYE.expand(100, 3, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.linalg.det(found), torch.ones(100), atol=1e-5, rtol=0)


def test_nine_numbers_give_the_nearest_rotation() -> None:
    raw = torch.randn(50, 9, generator=torch.Generator().manual_seed(1))
    u, _, vt = np.linalg.svd(np.eye(3) + raw.reshape(-1, 3, 3).double().numpy())
    sign = np.linalg.det(u @ vt)
    assert {round(value) for value in sign} == {-1, 1}
    nearest = u @ np.stack([np.diag([1, 1, value]) for value in sign]) @ vt
    np.testing.assert_allclose(to_rotation(raw, "svd9").numpy(), nearest, atol=1e-5)


@REPRESENTATIONS
def test_half_precision_is_left_before_decoding(representation: Representation) -> None:
    raw = torch.randn(20, WIDTHS[representation], generator=torch.Generator().manual_seed(2)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = to_rotation(raw, representation)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found @ found.mT, EYE.expand(20, 3, 3), atol=1e-5, rtol=0)
    assert to_direction(raw[:, :3]).dtype == torch.float32


@REPRESENTATIONS
def test_training_can_follow_evaluation(representation: Representation) -> None:
    """What is computed once for all must not be made in inference mode."""
    for cached in (value for name, value in vars(roma.mappings).items() if name.startswith("_cached")):
        cached.cache_clear()
    with torch.inference_mode():
        to_rotation(torch.ones(2, WIDTHS[representation]), representation)
    raw = torch.ones(2, WIDTHS[representation], requires_grad=True)
    to_rotation(raw, representation).sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None


def _edge_cases(representation: Representation) -> dict[str, Tensor]:
    offset = encoded(EYE[None], representation, 0.0)[0]  # what makes all numbers zero
    draw = torch.Generator().manual_seed(3)
    noise = torch.randn(16, WIDTHS[representation], generator=draw)
    cases = {"nothing": offset.expand(2, -1), "zeros": 0 * noise}
    cases |= {f"nothing and {scale:g}": offset + scale * noise for scale in (1e-12, 1e-7, 1e-4)}
    cases |= {f"{scale:g}": scale * noise for scale in (1e-12, 1e-4, 1.0, 1e4, 1e12)}
    if representation == "svd9":
        flat, twice = torch.diag(torch.tensor([1.0, 1.0, 0.0])), torch.diag(torch.tensor([1.0, 1.0, -1.0]))
        line = torch.diag(torch.tensor([1.0, 0.0, 0.0]))
        cases |= {
            name: (matrix - EYE).reshape(1, 9) for name, matrix in (("flat", flat), ("mirror", twice), ("line", line))
        }
    if representation == "r6d":
        cases["parallel"] = torch.tensor([[1.0, 2.0, 3.0, 2.0, 4.0, 6.0]]) - torch.tensor([1.0, 0, 0, 0, 1, 0])
    return cases


@REPRESENTATIONS
def test_gradients_are_finite_everywhere(representation: Representation) -> None:
    """Of the angle to a random rotation, to the very same one, and to one half a turn away."""
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    for name, numbers in _edge_cases(representation).items():
        found = to_rotation(numbers, representation)
        for truth in (rotations(len(numbers)), found, found @ half_turn):
            raw = numbers.clone().requires_grad_()
            angle = rotation_distance(to_rotation(raw, representation), truth)
            assert ((angle >= 0) & (angle <= np.pi + 1e-6)).all(), name
            (gradient,) = torch.autograd.grad(angle.sum(), raw)
            assert torch.isfinite(gradient).all(), name


@pytest.mark.slow
@REPRESENTATIONS
def test_gradients_lead_to_the_truth(representation: Representation) -> None:
    raw, truth = torch.zeros(8, WIDTHS[representation], requires_grad=True), rotations(8, seed=4)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = rotation_distance(to_rotation(raw, representation), truth).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss < 0.1


def test_angles_between_rotations_by_hand() -> None:
    axis = torch.tensor([[0.6, 0.0, 0.8]])
    for degrees in (0.0, 1e-3, 1.0, 90.0, 179.0, 180.0):
        turn = roma.rotvec_to_rotmat(axis * np.radians(degrees))
        for one in rotations(3):
            found = torch.rad2deg(rotation_distance(one[None], one @ turn))
            assert found.item() == pytest.approx(degrees, abs=1e-3)


def test_angles_between_directions_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])
    for degrees in (0.0, 1e-3, 30.0, 90.0, 150.0, 180.0):
        turned = np.cos(np.radians(degrees)) * x + np.sin(np.radians(degrees)) * y
        assert torch.rad2deg(angle_between(turned.float(), x)).item() == pytest.approx(degrees, abs=1e-3)
    torch.testing.assert_close(to_direction(torch.tensor([[3.0, 0, 4.0]])), torch.tensor([[0.6, 0, 0.8]]))


@pytest.mark.parametrize("raw", [(0, 0, 0), (1e-30, 0, 0), (1e-7, 1e-7, 0), (1, 0, 0), (-1, 0, 0), (1e9, 2e9, 0)])
def test_directions_have_finite_gradients(raw: tuple[float, float, float]) -> None:
    given = torch.tensor([raw], dtype=torch.float32, requires_grad=True)
    angle: Any = angle_between(to_direction(given), torch.tensor([[1.0, 0, 0]]))
    (gradient,) = torch.autograd.grad(angle.sum(), given)
    assert torch.isfinite(gradient).all() and torch.isfinite(angle).all()
    if not any(raw):
        assert angle.item() == pytest.approx(np.pi / 2)
