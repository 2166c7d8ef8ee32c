"""What is known of a dataset, and what a check of its files finds. No torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croco_bench.errors import UsageError


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at. `advice` says what to do when it isn't in order."""

    ok: bool
    what: str
    advice: str = ""


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset. `name` is its folder under the data root.

    `checker` and `preparer` are "module:function", called with that folder: the former looks at what is there, the latter
    makes what a release leaves to its users, if there is such a thing, and says what it made. Where it needs a network,
    `preparer_ckpt` is the one to take unless another is given, and it is called with the folder, checkpoint and device.
    """

    name: str
    title: str
    layout: str
    size: str
    license: str
    link: str
    checker: str
    preparer: str = ""
    preparer_ckpt: str = ""

    def check(self, root: Path) -> list[Finding]:
        """Looks at the files under `root` (this dataset's own folder)."""
        function: Callable[[Path], list[Finding]] = _load(self.checker)
        return function(root)

    def prepare(self, root: Path, ckpt: str | None = None, device: str = "auto") -> str:
        """Makes what is missing under `root`; returns what that was, in a few words.

        Raises:
            UsageError: this dataset needs no preparation, or no network for it.
        """
        if not self.preparer:
            raise UsageError(
                f"{self.name} needs no preparation: it is read as it is published",
                "croco-bench data prepare --help says what can be prepared",
            )
        if ckpt and not self.preparer_ckpt:
            raise UsageError(f"{self.name} is prepared without a network", "leave --ckpt out")
        function: Callable[..., str] = _load(self.preparer)
        return function(root, ckpt or self.preparer_ckpt, device) if self.preparer_ckpt else function(root)


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
