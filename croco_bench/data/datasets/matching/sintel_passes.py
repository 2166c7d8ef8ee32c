"""Scenes of Sintel in both passes at once: one item per pair of frames, whose truth both share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco_bench.data.datasets.matching.sintel import PASSES, Split, open_split
from croco_bench.types import Sample


class BothPasses:
    """A reader of pairs: `passes` maps each pass to its two images; `flow_px`, masks and `id` are as Sintel's reader has them.

    So a part of it is the same part in both passes.
    """

    def __init__(self, root: Path, split: Split, scenes: Sequence[str] | None = None) -> None:
        self._readers = {name: open_split(root, split, passes=(name,), scenes=scenes) for name in PASSES}
        first = self._readers[PASSES[0]]
        self.dataset, self.miniature, self.available = first.dataset, first.miniature, len(first)
        self.split = f"{split} ({', '.join(scenes)})" if scenes else split

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        """The scenes."""
        return self._readers[PASSES[0]].groups

    def __getitem__(self, index: int) -> Sample:
        samples = {name: reader[index] for name, reader in self._readers.items()}
        whole: dict[str, Any] = {**samples[PASSES[0]]}
        whole["passes"] = {name: (sample["image1"], sample["image2"]) for name, sample in samples.items()}
        return {key: whole[key] for key in whole if not key.startswith("image")}

    def fingerprint(self) -> str:
        """Of both passes."""
        text = ",".join(reader.fingerprint() for reader in self._readers.values())
        return hashlib.sha256(text.encode()).hexdigest()[:16]
