"""Activation checkpointing: the backward pass computes blocks again instead of keeping their activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from croco_bench.errors import FitError


class _Again:
    """A forward pass whose activations aren't kept for the backward pass."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def __call__(self, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*inputs)
        return checkpoint(self._forward, *inputs, use_reentrant=False)


def checkpoint_blocks(blocks: Sequence[nn.Module], name: str) -> None:
    """Checkpoints every block of the network called `name`, in place; random draws are repeated, so that no number changes.

    Raises:
        FitError: there are none.
    """
    if not blocks:
        raise FitError(
            f"{name} doesn't say what its blocks are, which train.checkpointing needs",
            "leave train.checkpointing out, or implement units",
        )
    for block in blocks:
        block.forward = _Again(block.forward)
