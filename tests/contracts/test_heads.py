"""The built-in heads against the contract of heads; a new head is one more class here."""

from typing import ClassVar

import pytest
import torch

from croco_bench import registry
from croco_bench.contracts import BankHead, FeatureSpec, Head
from croco_bench.testing import HeadContract


class TestAttentive(HeadContract):
    name = "attentive"
    options: ClassVar = {"head_width": 4, "norm": "layer", "residual": True}


class TestConvNeXt(HeadContract):
    name = "convnext"
    options: ClassVar = {"width": 16, "blocks": 2, "preds_per_patch": 4}


class TestDenseLinear(HeadContract):
    name = "dense-linear"


class TestDenseLinearOnFourBlocks(HeadContract):
    name = "dense-linear"
    options: ClassVar = {"layers": "four", "dropout": 0.5, "upsample": 2}


class TestDPT(HeadContract):
    name = "dpt"
    options: ClassVar = {"layer_widths": (8, 8, 8, 8), "features": 8}
    unfit = ((80, 96), (96, 96))


class TestDPTProbe(HeadContract):
    name = "dpt-probe"
    options: ClassVar = {"layer_widths": (8, 8, 8, 8), "features": 8}
    unfit = ((80, 96), (96, 96))


class TestLinear(HeadContract):
    name = "linear"


class TestPose(HeadContract):
    name = "pose"
    options: ClassVar = {"width": 16}


class TestRetrieval(HeadContract):
    name = "retrieval"
    options: ClassVar = {"bank": 40, "neighbours": 3}

    def build(self, spec: FeatureSpec, out_channels: int = 3) -> Head:
        """A head with a bank of random tokens and classes."""
        head = super().build(spec, out_channels)
        assert isinstance(head, BankHead)
        generator = torch.Generator().manual_seed(2)
        tokens = torch.randn(30, spec.widths[-1], generator=generator)
        head.fill(tokens, torch.rand(30, out_channels, generator=generator))
        return head


class TestUPerNet(HeadContract):
    name = "upernet"
    options: ClassVar = {"channels": 8, "aux_channels": 8, "dropout": 0.5}
    unfit = ((16, 64), (32, 64))


@pytest.mark.parametrize("entry", list(registry.heads()), ids=lambda entry: entry.name)
def test_every_head_is_tested(entry: registry.Entry[registry.HeadCard]) -> None:
    assert entry.name in {contract.name for contract in HeadContract.__subclasses__()}
