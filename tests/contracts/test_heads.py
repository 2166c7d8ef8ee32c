"""The built-in heads against the contract of heads; a new head is one more class here."""

from typing import ClassVar

import pytest

from croco_bench import registry
from croco_bench.testing import HeadContract


class TestConvNeXt(HeadContract):
    name = "convnext"
    options: ClassVar = {"width": 16, "blocks": 2, "preds_per_patch": 4}


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


class TestUPerNet(HeadContract):
    name = "upernet"
    options: ClassVar = {"channels": 8, "aux_channels": 8, "dropout": 0.5}
    unfit = ((16, 64), (32, 64))


@pytest.mark.parametrize("entry", list(registry.heads()), ids=lambda entry: entry.name)
def test_every_head_is_tested(entry: registry.Entry[registry.HeadCard]) -> None:
    assert entry.name in {contract.name for contract in HeadContract.__subclasses__()}
