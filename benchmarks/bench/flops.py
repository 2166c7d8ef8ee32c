"""Counts floating-point operations of matrix products, convolutions and attention, whatever kernels compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def _attention_flops(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> int:
    """Of the two products of one attention, from shapes (B, heads, N, d)."""
    batch, heads, count, width = query
    return 2 * batch * heads * count * key[2] * (width + value[3])


def _attention_forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return _attention_flops(query, key, value)


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, out_shape: Any = None, **___: Any) -> int:
    return 2 * _attention_flops(query, key, value)  # what the kernel computes anew isn't work done


# torch doesn't count the CPU's fused kernel, and a network that uses it would seem to have less to do.
_CPU_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flops_of(work: Callable[[], object]) -> float:
    """Operations of one call; a multiplication and an addition are two. Element-wise operations aren't counted."""
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        work()
    return float(counter.get_total_flops())
