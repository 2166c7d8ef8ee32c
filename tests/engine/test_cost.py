"""The cost of a network: parameters and operations, counted by hand for a small one."""

import pytest
import torch

from croco_bench import registry
from croco_bench.backbones import load_backbone
from croco_bench.config.load import options_of
from croco_bench.engine.cost import cost_of
from croco_bench.engine.network import Network, spec_for

SIZE = (32, 48)


def network(*, frozen: bool = False) -> Network:
    backbone = load_backbone("random:mini-mae", image_size=SIZE)
    head_type = registry.heads()["linear"].load()
    return Network(
        backbone, head_type(spec_for(backbone, 1), 10, options_of(head_type.Options, {}, "head")), frozen=frozen
    )


def test_operations_of_a_vit_by_hand() -> None:
    net = network()
    backbone = net.backbone
    width, patch, depth = backbone.embed_dim, backbone.patch_size, len(backbone.encode(torch.zeros(1, 3, *SIZE)))
    patches = (SIZE[0] // patch) * (SIZE[1] // patch)
    tokens = patches + 1  # with the class token
    block = 2 * tokens * width * width * (3 + 1 + 4 + 4) + 2 * 2 * tokens * tokens * width
    expected = 2 * patches * 3 * patch**2 * width + depth * block + 2 * width * 10
    assert cost_of(net, SIZE).flops == expected


def test_frozen_parameters_are_not_trained() -> None:
    whole, frozen = cost_of(network(), SIZE), cost_of(network(frozen=True), SIZE)
    assert whole.flops == frozen.flops and whole.backbone_parameters == frozen.backbone_parameters
    assert whole.trained_parameters - frozen.trained_parameters == whole.backbone_parameters
    assert frozen.trained_parameters == pytest.approx(10 * network().backbone.embed_dim, abs=10)


def test_counting_leaves_the_network_in_its_mode() -> None:
    net = network().train()
    cost_of(net, SIZE)
    assert net.training
