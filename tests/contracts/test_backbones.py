"""The contract of backbones: built-in families and pyramids pass it, and careless code is told all that is wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from croco_bench.errors import BenchError
from croco_bench.testing import BackboneContract, check_backbone, check_head, check_task

FILE = Path(__file__).parents[1] / "backbones" / "own_network.py"


class TestOwnCode(BackboneContract):
    code: ClassVar = f"python:{FILE}:Mixer"


class TestOwnPyramid(BackboneContract):
    code: ClassVar = f"python:{FILE}:Pyramid"


class TestResNet(BackboneContract):
    code: ClassVar = "random:resnet18"


class TestCroCo(BackboneContract):
    code: ClassVar = "mini-croco"

    def build(self):  # type: ignore[no-untyped-def]
        backbone = super().build()
        backbone.drop_decoder()
        return backbone


@pytest.fixture
def careless() -> Iterator[str]:
    yield f"python:{FILE}:Careless"


def test_all_that_is_wrong_is_said_at_once(careless: str) -> None:
    with pytest.raises(BenchError, match=r"breaks \d of the rules") as caught:
        check_backbone(careless)
    told = str(caught.value)
    assert "evaluation is deterministic" in told and "no gradient reaches unused.weight" in told
    assert "weights are saved and read" in told and "\n" not in told


def test_what_is_right_passes_in_one_call(tiny_data: Path) -> None:
    check_backbone(f"python:{FILE}:Mixer")
    check_head("linear")
    check_task("nyuv2-depth", tiny_data)


def test_what_can_not_be_found_is_said() -> None:
    with pytest.raises(BenchError, match="no head is called 'lin'"):
        check_head("lin")
