"""The cost of a network: parameters, and floating-point operations of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from croco_bench.engine.network import BareNetwork, Network
from croco_bench.types import Size


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs, whatever the machine.

    Attributes:
        backbone_parameters: of the backbone, with its decoder where there are two views.
        trained_parameters: of backbone and head, without frozen ones.
        flops: floating-point operations of a forward pass on one image, or one pair, of the network's size.
    """

    backbone_parameters: int
    trained_parameters: int
    flops: int


def cost_of(network: Network | BareNetwork, size: Size) -> NetworkCost:
    """Counts parameters, and the operations of one input of `size` (H, W) in eval mode."""
    parameters = list(network.parameters())
    return NetworkCost(
        backbone_parameters=_count(network.backbone),
        trained_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        flops=_flops(network, size),
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _flops(network: Network | BareNetwork, size: Size) -> int:
    """Of matrix products, convolutions and attention; a multiplication and an addition are two operations.

    Element-wise operations aren't counted. Attention is computed as plain matrix products, so that the count is the same on
    all devices.
    """
    device = next(network.parameters()).device
    images = [torch.zeros(1, 3, *size, device=device)] * network.views
    training = network.training
    network.eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(*images)
    network.train(training)
    return int(counter.get_total_flops())
