"""Losses over valid pixels: masked, as on a GPU, they are those of packed arrays, as on a CPU."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from croco_bench import valid_pixels
from croco_bench.tasks.matching.losses import LOSSES
from croco_bench.tasks.nyuv2_depth import NYUv2Depth, NYUv2DepthOptions
from croco_bench.tasks.taskonomy import Taskonomy
from croco_bench.types import Batch

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def _matching(name: str) -> Loss:
    return lambda output, target, valid: LOSSES[name](output if name != "l1" else output[:, :2], target, valid)


def _depth(name: str) -> Loss:
    task = NYUv2Depth(NYUv2DepthOptions(loss=name, target="metres"), (6, 8))  # type: ignore[arg-type]

    def loss(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        batch: Batch = {"depth_m": target[:, 0].abs() + 1, "valid": valid}
        return task.loss(output[:, :1].abs() + 1, batch)

    return loss


def _taskonomy(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    task = Taskonomy.__new__(Taskonomy)
    return task.loss(output[:, :2], {"target": target.movedim(1, -1), "valid": valid})


KINDS = {
    **{f"matching {name}": _matching(name) for name in LOSSES},
    **{f"depth {name}": _depth(name) for name in ("berhu", "l1", "silog", "silog_gradient")},
    "taskonomy": _taskonomy,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_masked_and_packed_losses_and_slopes_agree(kind: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    output, target = (torch.randn(2, count, 6, 8, generator=draw, dtype=torch.float64) for count in (3, 2))
    valid = torch.rand(2, 6, 8, generator=draw) < share
    wild = target.masked_fill(~valid[:, None], 1e4)
    found = []
    for packed in (True, False):
        monkeypatch.setattr(valid_pixels, "packed_on", lambda device, packed=packed: packed)
        leaf = output.clone().requires_grad_()
        loss = KINDS[kind](leaf, wild, valid)
        (slope,) = torch.autograd.grad(loss, leaf)
        assert not slope.movedim(1, -1)[~valid].any()
        found.append((loss.detach(), slope))
    assert math.isfinite(float(found[0][0]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-12)


def test_values_that_are_not_valid_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valid_pixels, "packed_on", lambda device: False)
    pixels = valid_pixels.ValidPixels(torch.tensor([[[True, True, False]]]))
    values = torch.tensor([[[1.0, 3.0, math.nan]]], requires_grad=True)
    kept = pixels.of(values)
    assert float(pixels.mean(kept).detach()) == 2 and float(pixels.variance(kept).detach()) == 2
    assert float(pixels.largest(values).detach()) == 3 and int(pixels.count) == 2
    (slope,) = torch.autograd.grad(pixels.mean(kept), values)
    assert slope.flatten().tolist() == [0.5, 0.5, 0.0]
