"""The attentive classifier against attention written out."""

import pytest
import torch

from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError
from croco_bench.heads.attentive import Attentive, AttentiveOptions

SPEC = FeatureSpec((12, 12), 2, 16, (32, 48))


def features(images: int = 4) -> Features:
    return Features([torch.randn(images, 6, 12) for _ in range(2)], SPEC.grid)


def test_values_are_averaged_with_the_querys_attention_head_by_head() -> None:
    torch.manual_seed(0)
    head, given = Attentive(SPEC, 5, AttentiveOptions(head_width=4)).eval(), features()
    torch.nn.init.normal_(head.query)
    keys, values = head.keys_values(given.tokens[-1]).chunk(2, dim=2)
    parts = []
    for first in (0, 4, 8):
        part = slice(first, first + 4)
        weights = (keys[:, :, part] @ head.query[0, part] / 2).softmax(dim=1)  # 2: the root of 4 channels
        parts.append((weights[:, :, None] * values[:, :, part]).sum(dim=1))
    torch.testing.assert_close(head(given), head.linear(torch.cat(parts, dim=1)))
    assert head.resolved() == {"heads": 3}


def test_options_of_aim_and_v_jepa() -> None:
    torch.manual_seed(0)
    given = features()
    batch = Attentive(SPEC, 5, AttentiveOptions(4, norm="batch")).train()
    tokens = given.tokens[-1].flatten(0, 1)
    normed = (tokens - tokens.mean(0)) / (tokens.var(0, correction=0) + 1e-6).sqrt()
    plain = Attentive(SPEC, 5, AttentiveOptions(4))
    plain.load_state_dict({name: one for name, one in batch.state_dict().items() if "norm" not in name})
    torch.testing.assert_close(batch(given), plain(Features([normed.view_as(given.tokens[-1])] * 2, SPEC.grid)))
    whole = Attentive(SPEC, 5, AttentiveOptions(4, norm="layer", residual=True))
    assert sum(one.numel() for one in whole.parameters()) == sum(one.numel() for one in plain.parameters()) + (
        2 * 12 + (12 * 12 + 12) + 2 * 12 + (12 * 48 + 48) + (48 * 12 + 12)
    )


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(FitError, match=r"12 channels don't divide into attention heads of 64.*head\.head_width"):
        Attentive(SPEC, 5, AttentiveOptions())
