"""Parameter groups, weight decay, schedules."""

import pytest
import torch

from croco_bench import load_backbone, registry
from croco_bench.config.recipe import Optim
from croco_bench.engine.network import Network, spec_for
from croco_bench.engine.optim import Schedule, build_optimizer, is_decayed, parameter_groups
from croco_bench.errors import UsageError


def network_of(ckpt: str = "random:mini-mae") -> Network:
    backbone = load_backbone(ckpt, image_size=32)
    head = registry.heads()["dpt"].load()
    options = head.Options(layer_widths=(8, 8, 8, 8), features=8)
    return Network(backbone, head(spec_for(backbone, 1), 1, options))


def test_layer_decay_reaches_the_known_smallest_factor() -> None:
    """Twelve blocks at 0.75: 0.75^13 = 0.023757 for the patch embedding, 1 for the head (MultiMAE's and MAE's rule)."""
    backbone = load_backbone("random:vit_tiny_patch16_224", image_size=32)
    head = registry.heads()["dpt"].load()
    network = Network(backbone, head(spec_for(backbone, 1), 1, head.Options(layer_widths=(8, 8, 8, 8), features=8)))
    scales = {group["lr_scale"] for group in parameter_groups(network, Optim(lr=1.0, layer_decay=0.75))}
    assert min(scales) == pytest.approx(0.023757, rel=1e-4)
    assert max(scales) == 1.0
    assert len(scales) == 14


def test_every_trainable_parameter_is_in_one_group_and_vectors_do_not_decay() -> None:
    network = network_of()
    groups = parameter_groups(network, Optim(lr=1.0, weight_decay=0.1, layer_decay=0.9))
    members = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert sorted(members) == sorted(id(parameter) for parameter in trainable)
    for group in groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0.0) == (
                parameter.ndim == 1 or parameter is network.backbone.get_parameter("prefix")
            )


@pytest.mark.parametrize(
    ("name", "shape", "decayed"),
    [
        ("backbone.blocks.0.attn.qkv.weight", (12, 4), True),
        ("backbone.blocks.0.attn.qkv.bias", (12,), False),
        ("backbone.prefix", (1, 1, 4), False),
        ("output_adapters.depth.mask_token", (1, 1, 4), False),
        ("output_adapters.depth.task_embeddings.rgb", (1, 1, 4), True),
    ],
)
def test_fine_tuning_and_pre_training_decay_the_same_parameters(
    name: str, shape: tuple[int, ...], decayed: bool
) -> None:
    assert is_decayed(name, torch.nn.Parameter(torch.zeros(shape))) is decayed


def test_warm_up_starts_at_zero_and_the_cosine_ends_at_its_floor() -> None:
    """MultiMAE and MAE begin at 0; half-way down the cosine the rate is half of the peak."""
    network = network_of()
    optim = Optim(lr=1e-3, min_lr=0.0, layer_decay=0.5)
    schedule = Schedule(build_optimizer(network, optim), min_lr=0.0, steps=110, warmup=10)
    rates = [schedule.set(step) for step in range(110)]
    assert rates[0] == 0.0
    assert rates[5] == pytest.approx(5e-4)
    assert max(rates) == pytest.approx(1e-3) == rates[10]
    assert rates[60] == pytest.approx(5e-4)
    assert rates[109] < 1e-6


def test_rates_are_a_function_of_the_step_alone() -> None:
    optim = Optim(lr=1e-3, layer_decay=0.7)
    first, second = (build_optimizer(network_of(), optim) for _ in range(2))
    one, two = (Schedule(one, min_lr=0.0, steps=50, warmup=5) for one in (first, second))
    for step in range(30):
        one.set(step)
    two.set(29)
    assert [group["lr"] for group in first.param_groups] == [group["lr"] for group in second.param_groups]


def test_nonsense_is_refused() -> None:
    network = network_of()
    with pytest.raises(UsageError, match="can't be built"):
        build_optimizer(network, Optim(name="nonsense", lr=1.0))
    with pytest.raises(UsageError, match="warm-up"):
        Schedule(build_optimizer(network, Optim(lr=1.0)), min_lr=0.0, steps=5, warmup=5)


def test_a_frozen_network_trains_its_head_only() -> None:
    backbone = load_backbone("random:mini-croco", image_size=32)
    head = registry.heads()["dpt"].load()
    options = head.Options(layer_widths=(8, 8, 8, 8), features=8)
    network = Network(backbone, head(spec_for(backbone, 1), 1, options), frozen=True).train()
    assert not network.backbone.training and network.head.training
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert {group["lr_scale"] for group in parameter_groups(network, Optim(lr=1.0, layer_decay=0.5))} == {1.0}


def test_the_fused_optimizer_takes_the_same_steps() -> None:
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        network = network_of()
        optimizer = build_optimizer(network, Optim(lr=1e-2, weight_decay=0.1))
        assert all(group["fused"] for group in optimizer.param_groups)
        if not fused:
            for group in optimizer.param_groups:
                group["fused"] = False
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        weights.append(network.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-5, atol=1e-5)


def test_only_optimizers_with_fused_kernels_are_fused() -> None:
    optimizer = build_optimizer(network_of(), Optim(name="sgd", lr=1e-2))
    assert not any(group.get("fused") for group in optimizer.param_groups)
