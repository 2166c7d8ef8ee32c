"""Networks with frozen parts: gradients, optimiser states, modes, and what a step costs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from croco_bench import load_backbone, registry
from croco_bench.config.recipe import Optim
from croco_bench.contracts import PairBackbone
from croco_bench.engine.network import Frozen, Network
from croco_bench.engine.optim import build_optimizer
from croco_bench.errors import FitError


def network_of(frozen: Frozen, ckpt: str = "random:mini-croco") -> Network:
    torch.manual_seed(0)
    backbone = load_backbone(ckpt, image_size=32)
    assert isinstance(backbone, PairBackbone)
    head: Any = registry.heads()["dpt"].load()
    options = head.Options(layer_widths=(8, 8, 8, 8), features=8)
    return Network(backbone, head(backbone.pair_spec(), 2, options), views=2, frozen=frozen, symmetric=True)


def step(network: Network) -> tuple[torch.optim.Optimizer, int]:
    """One step of training; the optimiser and the floating-point operations."""
    optimizer = build_optimizer(network, Optim(lr=1e-2, weight_decay=0.1, layer_decay=0.9))
    images = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as counter:
        output: Tensor = network.train()(*images)
        torch.autograd.backward(output.square().mean())
    optimizer.step()
    return optimizer, counter.get_total_flops()


@pytest.mark.parametrize("frozen", [True, "encoder"])
def test_frozen_parts_have_no_gradient_no_state_and_the_same_bits(frozen: Frozen) -> None:
    network = network_of(frozen)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer, _ = step(network)
    trained = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert isinstance(network.backbone, PairBackbone)
    for name, parameter in network.named_parameters():
        part, _, rest = name.partition(".")
        fixed = part == "backbone" and (frozen is True or not network.backbone.in_decoder(rest))
        if fixed:
            assert parameter.grad is None and id(parameter) not in trained and parameter not in optimizer.state, name
            assert torch.equal(parameter, before[name]), name
        elif parameter.requires_grad:
            assert id(parameter) in trained and not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("frozen", [True, "encoder"])
def test_frozen_parts_stay_in_evaluation_mode(frozen: Frozen) -> None:
    network = network_of(frozen)
    network.backbone.set_drop_path(0.9)
    for mode in (True, False):
        network.train(mode)
        assert isinstance(network.backbone, PairBackbone)
        for name, module in network.backbone.named_modules():
            decodes = frozen == "encoder" and network.backbone.in_decoder(name)
            assert module.training == (mode and decodes), name
        assert network.head.training is mode
    image = torch.rand(1, 3, 32, 32)
    network.train()
    with torch.no_grad():
        first, second = (network.features(image, image).tokens[3] for _ in range(2))
    assert torch.equal(first, second)  # no stochastic depth in the encoder


def test_the_less_is_trained_the_less_a_step_costs() -> None:
    whole, encoder, all_frozen = (step(network_of(frozen))[1] for frozen in (False, "encoder", True))
    assert all_frozen < 0.7 * whole and all_frozen < encoder < whole


def test_outputs_do_not_depend_on_what_is_frozen() -> None:
    image = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        outputs = [network_of(frozen).eval()(*image) for frozen in (False, "encoder", True)]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])


class Silent(PairBackbone):
    """A pair network that doesn't say which parameters its decoder has."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size, self.embed_dim, self.depth, self.image_size = 16, 4, 1, (32, 32)
        self.decoder_dim, self.decoder_depth, self.name = 4, 1, "silent"
        self.embed = nn.Conv2d(3, 4, 16, 16)

    def encode(self, images: Tensor) -> list[Tensor]:
        return [self.embed(images).flatten(2).transpose(1, 2)]

    def encode_pair(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        return self.encode(view1) + self.decode_pair(self.encode(view1)[-1], self.encode(view2)[-1])

    def decode_pair(self, tokens1: Tensor, tokens2: Tensor) -> list[Tensor]:
        return [tokens1 - tokens2]


def test_a_network_that_does_not_name_its_decoder_can_be_frozen_as_a_whole_only() -> None:
    backbone = Silent()
    head: Any = registry.heads()["pose"].load()
    made = head(backbone.pair_spec(), 2, head.Options(width=8))
    network = Network(backbone, made, views=2, frozen=True)
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    with pytest.raises(FitError, match=r"silent doesn't say.*train\.frozen=true"):
        Network(backbone, made, views=2, frozen="encoder")
