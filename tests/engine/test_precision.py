"""Precision of products in float32."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from croco_bench.engine import devices
from croco_bench.errors import UsageError


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_what_a_cpu_has_not_is_refused(precision: Any) -> None:
    with pytest.raises(UsageError, match=f"{precision} needs a GPU"):
        devices.start("cpu", precision, 0)


def test_tf32_is_refused_by_gpus_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Turing")
    with pytest.raises(UsageError, match="Turing has no TF32"):
        devices.start("cuda", "tf32", 0)


@pytest.mark.parametrize("before", [(False, True), (True, False)])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_float32_is_exact_unless_tf32_is_asked_for(precision: Any, before: tuple[bool, bool]) -> None:
    with devices.float32_products("fp32"):  # afterwards all is as it was
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        with pytest.raises(KeyError), devices.float32_products(precision):
            assert allowed() == (precision == "tf32",) * 2
            raise KeyError
        assert allowed() == before


def test_kept_features_are_told_apart_by_arithmetic() -> None:
    accelerator: Any = SimpleNamespace(mixed_precision="no")
    with devices.float32_products("tf32"):
        assert devices.arithmetic(accelerator) == "tf32"
    with devices.float32_products("fp32"):
        assert devices.arithmetic(accelerator) == "no"
        accelerator.mixed_precision = "bf16"
        assert devices.arithmetic(accelerator) == "bf16"
