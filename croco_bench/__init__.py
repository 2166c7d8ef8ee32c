"""croco-bench: the downstream benchmark for 3D-vision pre-training. Public names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from croco_bench.backbones import load_backbone
    from croco_bench.records.frames import load_results, load_rows
    from croco_bench.runs.runner import run

_HOMES = {
    "load_backbone": "backbones",
    "run": "runs.runner",
    "load_results": "records.frames",
    "load_rows": "records.frames",
}
__all__ = ["__version__", "load_backbone", "load_results", "load_rows", "run"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from croco_bench.errors import told_in_python

        function = told_in_python(getattr(importlib.import_module(f"croco_bench.{_HOMES[name]}"), name))
        globals()[name] = function  # the same object at every access, so that it can be pickled
        return function
    raise AttributeError(f"module 'croco_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
