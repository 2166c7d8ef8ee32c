"""Backbones: checkpoints of many formats behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from croco_bench.backbones.load import load_backbone

__all__ = ["load_backbone"]


def __getattr__(name: str) -> Any:
    # Lazy, because `backbones.zoo` is listed without torch.
    if name == "load_backbone":
        from croco_bench.backbones.load import load_backbone

        return load_backbone
    raise AttributeError(f"module 'croco_bench.backbones' has no attribute {name!r}")
