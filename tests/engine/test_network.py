"""Backbone and head together: what training sees and what prediction sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.architecture import Decoder
from croco_bench.backbones.networks.paired import with_decoder
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.contracts import Features, FeatureSpec, Head, PairBackbone
from croco_bench.engine.network import Network


@dataclass(frozen=True)
class NoOptions:
    """Nothing to set."""


class TwoVoices(Head):
    """Means of the last block, and half of them as an auxiliary output."""

    Options = NoOptions

    def __init__(self, spec: FeatureSpec, out_channels: int, options: Any) -> None:
        super().__init__(spec, out_channels, options)
        self.main, self.side = (nn.Linear(spec.widths[block], out_channels) for block in (-1, 0))

    def forward(self, features: Features) -> Tensor:
        output: Tensor = self.main(features.tokens[-1].mean(1))
        return output

    def auxiliary(self, features: Features) -> Sequence[tuple[float, Tensor]]:
        return [(0.4, self.side(features.tokens[0].mean(1)))]


def test_auxiliary_outputs_are_there_in_training_only() -> None:
    backbone = load_backbone("random:mini-croco", image_size=32)
    network = Network(backbone, TwoVoices(backbone.feature_spec(), 3, NoOptions()))
    images = torch.rand(2, 3, 32, 32)
    network.train()
    outputs = network(images)
    assert [weight for weight, _ in outputs] == [1.0, 0.4]
    assert all(output.shape == (2, 3) for _, output in outputs)
    assert torch.equal(outputs[0][1], network.eval()(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ckpt", "has_cls"),
    [
        ("random:mini-croco", False),
        ("random:mini-mae", True),
        ("random:mini-multimae", True),
        ("random:vit_tiny_patch16_224", True),
        ("random:vit_base_patch16_siglip_224", False),
    ],
)
def test_the_class_token_reaches_the_head_where_there_is_one(ckpt: str, has_cls: bool) -> None:
    backbone = load_backbone(ckpt, image_size=32)
    assert backbone.feature_spec().has_cls == backbone.has_cls == has_cls
    with torch.no_grad():
        tokens, cls = backbone.encode_with_cls(torch.rand(2, 3, 32, 32))
    count = (32 // backbone.patch_size) ** 2
    assert [tuple(block.shape) for block in tokens] == [(2, count, backbone.embed_dim)] * backbone.depth
    if cls is None:
        assert not has_cls
        return
    assert cls.shape == (2, backbone.embed_dim)
    if backbone.final_norm != "identity":
        assert torch.allclose(cls.mean(1), torch.zeros(2), atol=1e-4)  # a fresh LayerNorm has been passed


def test_timm_class_token_is_timms_own() -> None:
    backbone = load_backbone("random:vit_tiny_patch16_224", image_size=32)
    assert isinstance(backbone, TimmViT)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        _, cls = backbone.encode_with_cls(images)
        expected = backbone.model.forward_features(images)[:, 0]
    assert cls is not None
    assert torch.allclose(cls, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", ["random:mini-croco", "random:mini-croco-cat", "random:vit_tiny_patch16_224"])
def test_both_orders_are_two_passes_whose_images_are_encoded_once(ckpt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    backbone = with_decoder(load_backbone(ckpt, image_size=32), Decoder(32, 2, 2, 64))
    network = Network(backbone, TwoVoices(backbone.pair_spec(), 3, NoOptions()), views=2, symmetric=True)
    one, two = torch.rand(2, 2, 3, 32, 32)
    network.eval()
    with torch.no_grad():
        assert network(one, two).shape == (2, 3)
        expected = torch.cat([network(one, two), network(two, one)])
    assert (expected[:2] - expected[2:]).abs().max() > 1e-3
    encoded: list[int] = []
    encode = backbone.encode
    monkeypatch.setattr(backbone, "encode", lambda images: encoded.append(len(images)) or encode(images))  # type: ignore[func-returns-value]
    (_, output), (_, auxiliary) = network.train()(one, two)
    torch.testing.assert_close(output, expected)
    assert auxiliary.shape == (4, 3) and encoded == [4]
    # Without a way of its own, a backbone encodes each image twice, and the result is the same.
    for found, plain in zip(backbone.encode_both(one, two), PairBackbone.encode_both(backbone, one, two), strict=True):
        torch.testing.assert_close(found, plain)


class Hooked(TwoVoices):
    """Reads the second and the last of the given blocks only."""

    def __init__(self, spec: FeatureSpec, out_channels: int, options: Any) -> None:
        super().__init__(spec, out_channels, options)
        self.hooks = (1, len(spec.widths) - 1)

    def forward(self, features: Features) -> Tensor:
        early, late = (features.tokens[hook].mean(1) for hook in self.hooks or ())
        output: Tensor = self.main(late) + self.side(early)
        return output


@pytest.mark.slow
@pytest.mark.parametrize("head_type", [TwoVoices, Hooked])
@pytest.mark.parametrize(
    "ckpt", ["random:mini-croco", "random:mini-croco-cat", "random:mini-mae", "random:vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_pairs_among_images_are_what_the_pairs_are(
    head_type: type[TwoVoices], ckpt: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = with_decoder(load_backbone(ckpt, image_size=32), Decoder(32, 2, 2, 64))
    network = Network(backbone, head_type(backbone.pair_spec(), 3, NoOptions()), views=2).eval()
    film = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = [0, 1, 2, 3], [1, 2, 3, 0]
    with torch.inference_mode():
        expected = network(film[first], film[second])
        encoded: list[int] = []
        encode = backbone.encode
        monkeypatch.setattr(backbone, "encode", lambda images: encoded.append(len(images)) or encode(images))  # type: ignore[func-returns-value]
        found = network.pairs(film, first, second, at_once=at_once)
    assert sum(encoded) == 4 and max(encoded) <= at_once
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
