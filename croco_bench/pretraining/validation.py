"""How a pre-training does: held-out error with the true and with a wrong reference view, and reconstructions to look at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.utils.data import default_collate

from croco_bench.engine.dataloading import to_device
from croco_bench.pretraining.objective import Batch, Objective, hidden_patches, patchify, unpatchify
from croco_bench.pretraining.sources import PretrainSource
from croco_bench.seeding import make_rng

ROWS = 8


class Validation:
    """Scores an objective on the held-out items; the same items, crops and masks every time, in every process."""

    def __init__(self, source: PretrainSource, *, batch_size: int, accelerator: Accelerator) -> None:
        self._source, self._size, self._accelerator = source, batch_size, accelerator

    def scores(self, objective: Objective) -> dict[str, float]:
        """`held_out`: the loss; for pairs also `held_out_wrong`, with another scene's view 2, and their `ratio`.

        The ratio tells whether view 2 is used: well below 1, it is; near 1, the network might as well not see it.
        """
        objective.eval()
        totals, count = np.zeros(2), 0
        with torch.inference_mode():
            for batch in self._batches():
                items = len(batch["view1"])
                with self._accelerator.autocast():
                    true = float(objective(batch))
                    wrong = float(objective({**batch, "view2": batch["other"]})) if "other" in batch else 0.0
                totals += np.array([true, wrong]) * items
                count += items
        true, wrong = (float(total) / count for total in totals)
        return {"held_out": true} if not wrong else {"held_out": true, "held_out_wrong": wrong, "ratio": true / wrong}

    def panels(self, objective: Objective) -> dict[str, NDArray[np.float32]]:
        """What is visible of view 1, view 2, the reconstruction and view 1 itself, of a few held-out items.

        Pictures (B, H, W, 3) in [0, 1].
        """
        objective.eval()
        with torch.inference_mode(), self._accelerator.autocast():
            batch = to_device(self._batch(range(0, min(ROWS, len(self)))), self._accelerator.device)
            rebuilt = objective.reconstruct(batch)["view1"]
        images = {"visible": _visible_only(batch, objective.backbone.patch_size)}
        if "view2" in batch:
            images["reference view"] = batch["view2"]
        # Of normalised patches mean and contrast can't be predicted: the picture has them from the target, and says so.
        borrowed = getattr(objective.options, "normalise", False)
        told = "reconstruction\n(patch mean, contrast: target's)" if borrowed else "reconstruction"
        images |= {told: rebuilt, "target": batch["view1"]}
        return {name: _to_pictures(some, objective) for name, some in images.items()}

    def __len__(self) -> int:
        assert self._source.held_out is not None
        return len(self._source.held_out)

    def _batches(self) -> Any:
        for first in range(0, len(self), self._size):
            batch = self._batch(range(first, min(first + self._size, len(self))))
            yield to_device(batch, self._accelerator.device)

    def _batch(self, indices: range) -> Batch:
        """Samples, and for pairs the view 2 of an item of another scene."""
        samples = []
        for index in indices:
            sample = self._sample(index)
            if "view2" in sample:
                sample["other"] = self._sample(self._others[index])["view2"]
            samples.append(sample)
        batch: Batch = default_collate(samples)
        return batch

    @cached_property
    def _others(self) -> list[int]:
        assert self._source.held_out is not None
        return _of_other_groups(self._source.held_out.groups)

    def _sample(self, index: int) -> dict[str, Any]:
        assert self._source.held_out is not None
        return self._source.val_transform(self._source.held_out[index], make_rng(0, "check", index))


def _of_other_groups(groups: Sequence[str]) -> list[int]:
    """For every item the first of another group from half a list away on; just that item where all are of one group."""
    count = len(groups)
    return [
        next(
            (place for step in range(count) if groups[place := (index + count // 2 + step) % count] != group),
            (index + count // 2) % count,
        )
        for index, group in enumerate(groups)
    ]


def _visible_only(batch: Batch, patch: int) -> torch.Tensor:
    """View 1 with its hidden patches in grey, (B, 3, H, W)."""
    images = batch["view1"]
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    count = grid[0] * grid[1]
    # Other modalities' tokens follow those of the colours.
    shown = batch["visible"].clamp(max=count)
    hidden = hidden_patches(shown, count + 1)[:, :count, None]
    return unpatchify(patchify(images, patch) * (1 - hidden), patch, grid)


def _to_pictures(images: torch.Tensor, objective: Objective) -> NDArray[np.float32]:
    """Normalised (B, 3, H, W) -> (B, H, W, 3) in [0, 1]."""
    backbone = objective.backbone
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std)
    )
    whole: NDArray[np.float32] = (images.float() * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return whole
