"""The DPT head of frozen evaluations: its norm, its output, its size."""

import pytest
import torch
import torch.nn.functional as F

from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import CheckpointError
from croco_bench.heads.dpt_probe import DPTProbe, DPTProbeOptions

SPEC = FeatureSpec((12,) * 8, 8, 16, (64, 96))
SMALL = {"layer_widths": (8, 8, 8, 8), "features": 8}


def features(scale: float = 1.0) -> Features:
    torch.manual_seed(1)
    return Features([scale * torch.randn(2, 24, 12) for _ in range(8)], SPEC.grid)


def test_blocks_before_the_last_are_normed_token_by_token() -> None:
    head, given = DPTProbe(SPEC, 3, DPTProbeOptions(**SMALL)), features()  # type: ignore[arg-type]
    assert head.hooks == (1, 3, 5, 7)
    for hook in head.hooks:
        tokens = head.tokens_of(given, hook)
        expected = given.tokens[hook] if hook == 7 else F.layer_norm(given.tokens[hook], (12,))
        assert torch.equal(tokens, expected)
    pair = DPTProbe(FeatureSpec((12,) * 8, 4, 16, (64, 96)), 3, DPTProbeOptions(**SMALL))  # type: ignore[arg-type]
    assert pair.normed == {3, 7}  # the encoder's last block has its norm, too
    plain = DPTProbe(SPEC, 3, DPTProbeOptions(**SMALL, norm=False))  # type: ignore[arg-type]
    assert all(plain.tokens_of(given, hook) is given.tokens[hook] for hook in plain.hooks)


def test_the_output_is_resized_from_eight_times_the_grid() -> None:
    torch.manual_seed(0)
    head = DPTProbe(SPEC, 3, DPTProbeOptions(**SMALL)).eval()  # type: ignore[arg-type]
    sizes: list[torch.Size] = []
    head.before.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape))
    with torch.no_grad():
        output = head(features())
    assert output.shape == (2, 3, 64, 96) and sizes == [torch.Size((2, 3, 32, 48))]


def test_it_has_the_widths_of_pixio_and_no_released_weights() -> None:
    head = DPTProbe(FeatureSpec((32,) * 4, 4, 16, (32, 32)), 150, DPTProbeOptions())
    assert [layer.out_channels for layer in head.embed] == [256, 512, 1024, 1024]
    with pytest.raises(CheckpointError, match="can't take the weights"):
        head.load_released({})
