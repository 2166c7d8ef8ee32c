"""Counts floating-point operations of matrix products, convolutions and attention, and the kernels that work launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
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


class _Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts torch's operations but for views, which compute nothing: about as many kernels are launched."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One more, unless the result shares memory with what was given."""
        views = any(out.alias_info is not None and not out.alias_info.is_write for out in func._schema.returns)
        self.count += not (views or func is torch.ops.aten._unsafe_view.default)
        return func(*args, **(kwargs or {}))


def counted(work: Callable[[], object]) -> tuple[float, int]:
    """Operations of one call, and kernels.

    A multiplication and an addition are two operations; element-wise ones aren't counted. Kernels are those without compiling.
    """
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter, _Kernels() as kernels:
        work()
    return float(counter.get_total_flops()), kernels.count
