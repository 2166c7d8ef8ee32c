"""The hash by which a sweep knows at once that nothing a run reads has changed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from croco_bench.sweeps.cells import Cell, Surroundings
from croco_bench.sweeps.state import signature


@pytest.fixture
def signed(tiny_data: Path, tmp_path: Path) -> Callable[[str], str]:
    around = Surroundings(results=tmp_path / "results", data_root=tiny_data, device="cpu")
    return lambda ckpt: signature(Cell("nyuv2-depth", "smoke", "x", ckpt, 0), around)


@pytest.mark.parametrize("form", ["{}", "random:{}", "random:{}@3", "timm:vit_tiny_patch16_224@{}"])
def test_a_file_that_is_replaced_is_read_again(form: str, signed: Callable[[str], str], tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    missing = signed(form.format(file))
    file.write_bytes(b"one network")
    first = signed(form.format(file))
    assert missing and first != missing and first == signed(form.format(file))
    file.write_bytes(b"another network")
    assert signed(form.format(file)) != first


def test_networks_without_a_file_have_one_too(signed: Callable[[str], str]) -> None:
    assert len({signed(ckpt) for ckpt in ("random:mini-croco", "random:mini-croco@1", "mini-croco", "")}) == 4


def test_torch_is_not_read_for_it() -> None:
    code = "import sys, croco_bench.sweeps.state; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
