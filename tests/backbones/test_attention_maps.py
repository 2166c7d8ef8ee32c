"""Attention from one view to the other, beside the decoder's tokens."""

import pytest
import torch

from croco_bench import load_backbone
from croco_bench.backbones.networks.attention import CrossAttention, rope_tables
from croco_bench.contracts import PairBackbone


@pytest.mark.parametrize("name", ["mini-croco", "mini-croco-cat"])
def test_tokens_stay_the_same_and_attention_is_a_distribution(name: str) -> None:
    """Of joined views, attention to the own view has the rest."""
    backbone = load_backbone(name, image_size=64)
    assert isinstance(backbone, PairBackbone)
    with torch.inference_mode():
        tokens1, tokens2 = backbone.encode(torch.randn(4, 3, 64, 64))[-1].chunk(2)
        expected = backbone.decode_pair(tokens1, tokens2)
        blocks, maps = backbone.decode_with_attention(tokens1, tokens2)
        again = backbone.decode_pair(tokens1, tokens2)
    assert len(maps) == len(blocks) == backbone.decoder_depth
    for one, two, three in zip(expected, blocks, again, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    for weights in maps:
        total = weights.sum(dim=-1)
        assert weights.shape == (2, 64, 64) and (weights >= 0).all() and (total < 1 + 1e-5).all()
        if name == "mini-croco":
            torch.testing.assert_close(total, torch.ones_like(total))


def test_weights_are_those_that_the_layer_applies() -> None:
    """With values that tell tokens of the memory apart, one head's output shows its attention."""
    torch.manual_seed(0)
    layer = CrossAttention(16, 1)
    rope = rope_tables((2, 8), 16, 100.0)
    torch.nn.init.eye_(layer.projv.weight)
    torch.nn.init.eye_(layer.proj.weight)
    for part in (layer.projv, layer.proj):
        torch.nn.init.zeros_(part.bias)
    memory = torch.eye(16)[None]
    tokens = torch.randn(1, 16, 16)
    torch.testing.assert_close(layer(tokens, memory, rope, rope), layer.weights(tokens, memory, rope, rope))
